"""The claim both-present: mask and R carry position, in every variant.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

from abspos.claims.evidence import Evidence, Row, measured, not_testable
from abspos.claims.verdicts import POSITIVE
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import SUMMARIES, by_kind, over_heads, over_model


def both_present(evidence: Evidence) -> Iterator[Row]:
    """Energies of mask and of R, early, in every variant; of a hybrid's kinds of layers beside."""
    trained = evidence.trained()
    if not any(evidence.has(evidence.arm(variant)) for variant in trained):
        for lens in LENSES:
            yield not_testable(f"needs a trained variant under {evidence.base}", lens)
    for variant in evidence.variants:
        arm = evidence.arm(variant)
        if not evidence.has(arm):
            continue
        for lens in LENSES:
            for component in ("mask", "residual"):
                replicates = evidence.energies(arm, "early", lens, component)
                for summary in SUMMARIES:
                    primary = lens == "log" and summary == "median" and variant in trained
                    row = measured(
                        evidence,
                        [arm],
                        f"{component} energy",
                        over_model(replicates, summary),
                        POSITIVE,
                        lens=lens,
                        summary=summary,
                        primary=primary,
                    )
                    yield row | {"p_value": evidence.p_value(arm, lens, component, summary)}
                    kinds = evidence.kinds(arm)
                    for kind, layers in by_kind(kinds).items() if len(set(kinds)) > 1 else ():
                        if len(layers) < len(kinds):
                            yield measured(
                                evidence,
                                [arm],
                                f"{component} energy, {kind}",
                                over_heads(replicates, summary).isel(layer=layers).mean("layer"),
                                POSITIVE,
                                lens=lens,
                                summary=summary,
                                layers=f"{len(layers)} of {len(kinds)} layers",
                            )
