"""The claim fingerprint: what sink readers write from position 0 tells its token.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from abspos.claims.evidence import Evidence
from abspos.claims.rows import Row, constructed, decided, measured, not_testable
from abspos.claims.theorems import TRAJECTORY_TOLERANCE
from abspos.claims.verdicts import SHARE
from abspos.documents import MIN_INPUTS
from abspos.statistics.fingerprint import (
    PERMUTATIONS,
    Design,
    decoded,
    design_of,
    explained,
    over_readers,
    p_value,
    permuted,
)
from abspos.statistics.replicates import mean_replicates
from abspos.statistics.store import Arm


def fingerprint(evidence: Evidence) -> Iterator[Row]:
    """Constancy under bos, and what the token explains in the crossed design."""
    constant = [facts for arm, facts in evidence.facts.items() if arm.condition == "bos"]
    if constant:
        number = "spread of the state at position 0 under bos, relative to the state"
        spread = float(np.max([facts["state_spread"] for facts in constant]))
        # Batches of different sizes may be rounded differently.
        tolerance = max(TRAJECTORY_TOLERANCE[facts["dtype"]] for facts in constant)
        yield constructed(evidence, number, spread, tolerance)
    arms = {
        arm.condition: own.writes
        for arm, own in evidence.arms.items()
        if arm.variant == "standard" and own.writes is not None and evidence.has(arm)
    }
    design = design_of(arms, evidence.seed)
    if len(design.readers):  # a row of one kind of layers is of that kind's heads
        counted = evidence.counting(len(design.readers))
        design = replace(design, readers=design.readers & counted[:, None])
    if why := design.lacks():
        yield not_testable(f"crossed design of bos and swap-token: {why}", claimed=SHARE)
        return
    found = [Arm("standard", condition) for condition in arms]
    yield from design_rows(evidence, design, found[::-1])


def design_rows(evidence: Evidence, design: Design, arms: list[Arm]) -> Iterator[Row]:
    """The token's share of the variance of writes, and its decoding from all sink readers."""
    writes, readers = design.writes(), design.readers
    shares = explained(writes, design.sources)
    chance = permuted(writes, PERMUTATIONS, evidence.seed)
    note = f"{readers.sum()} sink readers, chosen on other texts; {design.tokens} tokens"
    common = {"n_inputs": design.units, "needed": MIN_INPUTS // 2}
    for summary in evidence.summaries:
        share, null = (over_readers(x, readers, summary).mean(0) for x in (shares, chance))
        row = measured(
            evidence,
            arms,
            "variance explained",
            share,
            SHARE,
            summary=summary,
            primary=summary == "median",
        )
        reached = p_value(float(share[0]), null)
        told = f"{note}; permuted within texts: at most {null.max():.2g}, p = {reached:.2g}"
        noted = {"note": "; ".join(filter(None, (row["note"], told)))}
        yield decided(row | common | noted, evidence.confidence)
    right = decoded(writes[readers])
    row = measured(
        evidence,
        arms,
        "decoding accuracy above chance",
        mean_replicates(right, design.sources) - 1 / design.tokens,
        SHARE,
        note=f"{note}; all sink readers together; chance: {1 / design.tokens:.0%}",
    )
    yield decided(row | common, evidence.confidence)
