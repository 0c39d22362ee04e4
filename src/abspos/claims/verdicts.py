"""Verdicts, and the rules that decide them.

Source: docs/method.md, section 5. Decided in this order: not testable; holds by construction;
not reproduced (the interval contains no effect); contradicted (a clear effect the other way);
reproduced (clear of zero, and where a number is claimed covered with a half-width of at most ten
points); direction only (a clear effect of another size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NOT_TESTABLE = "not testable"
BY_CONSTRUCTION = "holds by construction"
NOT_REPRODUCED = "not reproduced"
CONTRADICTED = "contradicted"
REPRODUCED = "reproduced"
DIRECTION_ONLY = "direction only"

VERDICTS = (
    NOT_TESTABLE,
    BY_CONSTRUCTION,
    NOT_REPRODUCED,
    CONTRADICTED,
    REPRODUCED,
    DIRECTION_ONLY,
)
#: Half-width of an interval that can confirm a claimed number.
HALF_WIDTH = 0.10


@dataclass(frozen=True)
class Claimed:
    """Claimed sign of a number, and perhaps its size.

    Attributes:
        value: the claimed number, or None where only the sign is claimed.
        least: an effect smaller than this is a direction, not a reproduction.
    """

    value: float | None = None
    least: float = 0.0

    def __str__(self) -> str:
        return "> 0" if self.value is None else f"{self.value:g}"


#: What most claims say: a positive number.
POSITIVE = Claimed()
#: What bos-swap says: a reduction of 40 %.
SWAP_SHARE = 0.40
SWAP = Claimed(SWAP_SHARE)


def verdict(estimate: float, low: float, high: float, claimed: Claimed) -> str:
    """The verdict of one number with its interval against what is claimed of it."""
    if not all(math.isfinite(x) for x in (estimate, low, high)):
        return NOT_TESTABLE
    if low <= 0 <= high:
        return NOT_REPRODUCED
    if high < 0:
        return CONTRADICTED
    if claimed.value is not None:
        covered = low <= claimed.value <= high and (high - low) / 2 <= HALF_WIDTH
        return REPRODUCED if covered else DIRECTION_ONLY
    return REPRODUCED if estimate >= claimed.least else DIRECTION_ONLY


def theorem(error: float, tolerance: float) -> str:
    """The verdict of a theorem: within tolerance it holds by construction."""
    if math.isnan(error):
        return NOT_TESTABLE
    return BY_CONSTRUCTION if error <= tolerance else CONTRADICTED
