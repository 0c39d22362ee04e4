"""The claim both-present: mask and R carry position, in every variant.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xarray as xr

from abspos.claims.evidence import Evidence, Row, measured, not_testable
from abspos.claims.verdicts import SHARE
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import SUMMARIES, by_kind, over_heads, over_model
from abspos.statistics.store import Arm


def both_present(evidence: Evidence) -> Iterator[Row]:
    """Energies of mask and of R, early, in every variant, and their shares of mask + R, alone and
    above those of untrained weights; of a hybrid's kinds of layers beside."""
    trained = evidence.trained()
    if not any(evidence.has(evidence.arm(variant)) for variant in trained):
        for lens in LENSES:
            yield not_testable(f"needs a trained variant under {evidence.base}", lens, SHARE)
    for variant in evidence.variants:
        arm = evidence.arm(variant)
        if not evidence.has(arm):
            continue
        twin = untrained_twin(evidence, variant)
        for lens in LENSES:
            if not (twin or evidence.untrained(arm)):
                why = "needs untrained weights of the same shape and window"
                yield not_testable(why, lens, SHARE, [arm])
            for component in ("mask", "residual"):
                energies = {
                    a: evidence.energies(a, "early", lens, component) for a in (arm, twin) if a
                }
                yield from present(evidence, component, energies, lens)


def untrained_twin(evidence: Evidence, variant: str) -> Arm | None:
    """The arm of untrained weights that a trained variant is compared with, if it was run."""
    if variant not in evidence.trained():
        return None
    twins = evidence.twins(evidence.variants[variant].get("window"))
    return next((twin for twin in twins if evidence.has(twin)), None)


def present(
    evidence: Evidence, component: str, energies: dict[Arm, xr.DataArray], lens: str
) -> Iterator[Row]:
    """Rows of one component of an arm: its energy, and its share of mask + R.

    The share of R must also exceed that of untrained weights. That of the mask need not: the two
    shares of an arm add up to 1, so that both cannot, and the mask acts in random weights too.

    Args:
        evidence: of the model.
        component: by which its sign-flip test is known.
        energies: (layer, head, replicate) of an arm, and of its untrained twin if there is one.
        lens: of the energies.
    """
    (arm, own), *others = energies.items()
    kinds = evidence.kinds(arm)
    for summary in SUMMARIES:
        about: dict[str, Any] = {"lens": lens, "summary": summary}
        first = lens == "log" and summary == "median" and arm.variant in evidence.trained()
        energy = over_model(own, summary)
        row = measured(evidence, [arm], f"{component} energy", energy, None, **about)
        yield row | {"p_value": evidence.p_value(arm, lens, component, summary)}
        share = evidence.share(arm, lens, summary, own)
        number = f"{component} share of mask + R"
        yield measured(evidence, [arm], number, share, SHARE, primary=first, **about)
        for twin, untrained in others:
            above = share - evidence.share(twin, lens, summary, untrained)
            claimed = None if component == "mask" else SHARE
            deciding = first and claimed is not None
            yield measured(
                evidence,
                [arm, twin],
                f"{number}, difference",
                above,
                claimed,
                primary=deciding,
                **about,
            )
        for kind, layers in by_kind(kinds).items() if len(set(kinds)) > 1 else ():
            if len(layers) < len(kinds):
                yield measured(
                    evidence,
                    [arm],
                    f"{component} energy, {kind}",
                    over_heads(own, summary).isel(layer=layers).mean("layer"),
                    None,
                    layers=f"{len(layers)} of {len(kinds)} layers",
                    **about,
                )
