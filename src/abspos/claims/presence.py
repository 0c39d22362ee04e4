"""The claim both-present: mask and residual stream carry position, in every variant.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from abspos.claims.evidence import Evidence
from abspos.claims.rows import Row, measured, not_testable
from abspos.claims.verdicts import SHARE
from abspos.components.lenses import LENSES
from abspos.components.readings import BY_NAME, READINGS
from abspos.statistics.replicates import over_model
from abspos.statistics.store import Arm


def both_present(evidence: Evidence) -> Iterator[Row]:
    """Energies of the mask and of each reading of R, early, in every variant, and their shares of
    mask + R, alone and above those of untrained weights."""
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
            for reading in ("", *(one.name for one in READINGS)):
                yield from present(evidence, arm, twin, lens, reading)


def untrained_twin(evidence: Evidence, variant: str) -> Arm | None:
    """The arm of untrained weights that a trained variant is compared with, if it was run."""
    if variant not in evidence.trained():
        return None
    twins = evidence.twins(evidence.variants[variant].get("window"))
    return next((twin for twin in twins if evidence.has(twin)), None)


def present(
    evidence: Evidence, arm: Arm, twin: Arm | None, lens: str, reading: str
) -> Iterator[Row]:
    """Rows of one component of an arm: its energy, and its share of mask + R.

    The share of R must also exceed that of untrained weights. That of the mask need not: the two
    shares of an arm add up to 1, so that both cannot, and the mask acts in random weights too.

    Args:
        evidence: of the model.
        arm: of a variant.
        twin: of untrained weights, if there is one.
        lens: of the energies.
        reading: its name where the component is one of R; empty for the mask.
    """
    energies = {
        one: evidence.reading(one, "early", lens, reading)
        if reading
        else evidence.energies(one, "early", lens, "mask")
        for one in (arm, twin)
        if one
    }
    part = "residual" if reading else "mask"
    tested = BY_NAME[reading].joint if reading else "mask"
    for summary in evidence.summaries:
        about: dict[str, Any] = {"lens": lens, "summary": summary, "reading": reading}
        first = lens == "log" and summary == "median" and arm.variant in evidence.trained()
        energy = over_model(energies[arm], summary)
        row = measured(evidence, [arm], f"{part} energy", energy, None, **about)
        tested_p = evidence.p_value(arm, lens, tested, summary)
        yield row if math.isnan(tested_p) else row | {"p_value": tested_p}
        number = f"{part} share of mask + R"
        share = evidence.share(arm, lens, summary, energies[arm])
        yield measured(evidence, [arm], number, share, SHARE, primary=first, **about)
        if twin:
            above = share - evidence.share(twin, lens, summary, energies[twin])
            claimed = SHARE if reading else None
            difference = f"{number}, difference"
            decides = first and bool(reading)
            pair = [arm, twin]
            yield measured(evidence, pair, difference, above, claimed, primary=decides, **about)
