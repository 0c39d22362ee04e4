"""The claim both-present: mask and residual stream carry position, in every variant.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xarray as xr

from abspos.claims.evidence import Evidence, Row, measured, not_testable
from abspos.claims.verdicts import POSITIVE
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics.replicates import SUMMARIES, by_kind, over_heads, over_model
from abspos.statistics.store import Arm


def both_present(evidence: Evidence) -> Iterator[Row]:
    """Energies of the mask and of each reading of R, early, in every variant; of a hybrid's kinds
    of layers beside."""
    trained = evidence.trained()
    if not any(evidence.has(evidence.arm(variant)) for variant in trained):
        for lens in LENSES:
            yield not_testable(f"needs a trained variant under {evidence.base}", lens)
    for variant in evidence.variants:
        arm = evidence.arm(variant)
        if not evidence.has(arm):
            continue
        for lens in LENSES:
            energies = evidence.energies(arm, "early", lens, "mask")
            yield from present(evidence, arm, "mask", energies, lens)
            for reading in READINGS:
                energies = evidence.reading(arm, "early", lens, reading.name)
                yield from present(evidence, arm, reading.joint, energies, lens, reading.name)


def present(
    evidence: Evidence,
    arm: Arm,
    tested: str,
    energies: xr.DataArray,
    lens: str,
    reading: str = "",
) -> Iterator[Row]:
    """Rows of one component of an arm.

    Args:
        evidence: of the model.
        arm: of a variant.
        tested: the component by which its sign-flip test is known.
        energies: (layer, head, replicate).
        lens: of the energies.
        reading: its name where the component is one of R; empty for the mask.
    """
    number = "residual energy" if reading else f"{tested} energy"
    kinds = evidence.kinds(arm)
    for summary in SUMMARIES:
        about: dict[str, Any] = {"lens": lens, "summary": summary, "reading": reading}
        first = lens == "log" and summary == "median" and arm.variant in evidence.trained()
        whole = over_model(energies, summary)
        row = measured(evidence, [arm], number, whole, POSITIVE, primary=first, **about)
        yield row | {"p_value": evidence.p_value(arm, lens, tested, summary)}
        for kind, layers in by_kind(kinds).items() if len(set(kinds)) > 1 else ():
            if len(layers) < len(kinds):
                yield measured(
                    evidence,
                    [arm],
                    f"{number}, {kind}",
                    over_heads(energies, summary).isel(layer=layers).mean("layer"),
                    POSITIVE,
                    layers=f"{len(layers)} of {len(kinds)} layers",
                    **about,
                )
