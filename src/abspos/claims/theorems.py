"""The claims that are theorems: mask-denominator and closed-trajectory, on the real model.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from abspos.claims.evidence import Evidence
from abspos.claims.rows import Row, constructed

#: Tolerances of the theorems: in nats for the identity, and relative for the trajectory, where two
#: forward passes of different shapes are compared, by their dtype. In bfloat16 rounding through 30
#: layers made 0.056 of a position 0 without a massive activation (no-bos).
IDENTITY_TOLERANCE, TRAJECTORY_TOLERANCE = 1e-3, {"float32": 1e-3, "bfloat16": 1e-1}


def worst(evidence: Evidence, fact: str, sign: int = 1) -> float:
    """Largest value of a fact over all arms, at least 0; NaN if any is."""
    return float(np.max([0.0, *(sign * facts[fact] for facts in evidence.facts.values())]))


def mask_denominator(evidence: Evidence) -> Iterator[Row]:
    """The identity on the real model, and a mask that is nowhere below 0 and falls."""
    for number, error in (
        ("largest error of the identity", worst(evidence, "identity_error")),
        ("largest mask below 0", worst(evidence, "mask_low", -1)),
        ("largest rise of the mask", worst(evidence, "mask_rise")),
    ):
        yield constructed(evidence, f"{number} [nats]", error, IDENTITY_TOLERANCE, "log")
    sums = worst(evidence, "sum_error")
    number = "largest error of the sum of predicted attention"
    yield constructed(evidence, number, sums, IDENTITY_TOLERANCE, "probability")


def closed_trajectory(evidence: Evidence) -> Iterator[Row]:
    """Position 0 in its context against a forward pass on its token alone."""
    error, number = worst(evidence, "closed_error"), "largest difference, relative to the state"
    tolerance = max(TRAJECTORY_TOLERANCE[facts["dtype"]] for facts in evidence.facts.values())
    yield constructed(evidence, number, error, tolerance)
