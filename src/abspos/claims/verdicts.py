"""Verdicts: pure functions of an interval and of what is claimed.

Source: docs/method.md, section 5, which also says where these rules fill gaps of the plain table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

VIOLATED = "violated"
OPPOSITE = "opposite"
ABSENT = "absent"
INCONCLUSIVE = "inconclusive"
NOT_TESTABLE = "not testable"
DIRECTION_ONLY = "direction only"
SMALLER = "direction only, smaller"
LARGER = "direction only, larger"
REPRODUCED = "reproduced"
BY_CONSTRUCTION = "holds by construction"

#: Weakest first: of several verdicts on one claim, the first of these counts.
VERDICTS = (
    VIOLATED,
    OPPOSITE,
    ABSENT,
    INCONCLUSIVE,
    NOT_TESTABLE,
    SMALLER,
    LARGER,
    DIRECTION_ONLY,
    REPRODUCED,
    BY_CONSTRUCTION,
)
#: A verdict that needs more inputs than this is not decided by any corpus.
MOST = 10**9
#: Half-width of an interval that can confirm a claimed size.
HALF_WIDTH = 0.10


@dataclass(frozen=True)
class Claimed:
    """Claimed sign of a number, and perhaps its size.

    Attributes:
        value: the claimed size c, or None where only the sign is claimed.
        least: delta, the smallest effect that counts, in the number's unit; 0 where the number has
            no natural unit, so that any effect counts and none can be called absent.

    Raises:
        ValueError: a negative delta, or a size that an interval could cover together with 0.
    """

    value: float | None = None
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.least < 0:
            raise ValueError(f"claimed: least effect {self.least:g} is negative; give 0 or more")
        floor = max(2 * HALF_WIDTH, self.least)
        if self.value is not None and self.value <= floor:
            raise ValueError(f"claimed: size {self.value:g} must exceed {floor:g}; claim a sign")

    def __str__(self) -> str:
        return f"> {self.least:g}" if self.value is None else f"{self.value:g}"


#: A positive number without a natural unit, such as a slope.
POSITIVE = Claimed()
#: A share of at least 1 %, or shares that differ by as much.
SHARE = Claimed(least=0.01)
#: A reduction of at least 10 points.
REDUCTION = Claimed(least=0.10)
#: The claim of bos-swap: a reduction of 40 %.
SWAP_SHARE = 0.40
SWAP = Claimed(SWAP_SHARE, least=0.10)


def verdict(low: float, high: float, claimed: Claimed) -> str:
    """The verdict on an interval [low, high]; the estimate in it plays no part.

    Raises:
        ValueError: low lies above high.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOT_TESTABLE
    if low > high:
        raise ValueError(f"interval: low {low:g} lies above high {high:g}; swap them")
    if -claimed.least <= low and high <= claimed.least:
        return ABSENT
    if high < 0:
        return OPPOSITE
    if low <= 0:
        return INCONCLUSIVE
    size = claimed.value
    if size is None:
        return REPRODUCED if low > claimed.least else DIRECTION_ONLY
    half_width = (high - low) / 2
    if half_width >= size:
        # Centred on the claimed size it would contain 0, so it decides nothing wherever it lies.
        return INCONCLUSIVE
    if high < size:
        return SMALLER
    if low > size:
        return LARGER
    return REPRODUCED if half_width <= HALF_WIDTH else DIRECTION_ONLY


def n_decides(low: float, high: float, number: int, claimed: Claimed) -> int | None:
    """Inputs from which an inconclusive interval around the same centre would be decided.

    The half-width falls with the square root of the number of inputs.

    Args:
        low, high: an interval from ``number`` inputs.
        number: of inputs.
        claimed: what is claimed.

    Returns:
        The smallest such number; None if the verdict is not inconclusive, or above `MOST`.
    """
    if verdict(low, high, claimed) != INCONCLUSIVE:
        return None
    center, half_width = (low + high) / 2, (high - low) / 2
    # Clear of 0, where a size is claimed also narrow enough for it; or within the least effect.
    clear = abs(center) if claimed.value is None else min(abs(center), claimed.value)
    wanted = max(abs(center) if center < 0 else clear, claimed.least - abs(center))
    if half_width**2 * number > MOST * max(wanted, 0) ** 2:
        return None

    def still_open(inputs: int) -> bool:
        reach = half_width * math.sqrt(number / inputs)
        return verdict(center - reach, center + reach, claimed) == INCONCLUSIVE

    needed = max(number + 1, math.floor(number * (half_width / wanted) ** 2))
    while still_open(needed):  # a step or two, at the very bound
        needed += 1
    return needed


def excludes(low: float, high: float, claimed: Claimed) -> bool | None:
    """Whether an interval excludes the claimed size; None where no size is claimed."""
    if claimed.value is None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    return not low <= claimed.value <= high


def theorem(error: float, tolerance: float) -> str:
    """The verdict of a theorem: within tolerance it holds by construction."""
    if math.isnan(error):
        return NOT_TESTABLE
    return BY_CONSTRUCTION if error <= tolerance else VIOLATED
