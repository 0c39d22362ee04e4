"""Verdicts: each one, their bounds, and that they are total and monotone (docs/method.md, 5)."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from abspos.claims import verdicts
from abspos.claims.verdicts import (
    ABSENT,
    BY_CONSTRUCTION,
    DIRECTION_ONLY,
    INCONCLUSIVE,
    LARGER,
    NOT_TESTABLE,
    OPPOSITE,
    POSITIVE,
    REDUCTION,
    REPRODUCED,
    SMALLER,
    SWAP,
    VIOLATED,
    Claimed,
    excludes,
    n_decides,
    theorem,
    verdict,
)

NAN, INF = math.nan, math.inf
#: Verdicts of an interval in the order of the method.
RANK = {
    OPPOSITE: 0,
    ABSENT: 1,
    INCONCLUSIVE: 1,
    DIRECTION_ONLY: 2,
    SMALLER: 2,
    LARGER: 2,
    REPRODUCED: 3,
}


@pytest.mark.parametrize(
    ("low", "high", "claimed", "wanted"),
    [
        # a sign without a least effect: nothing is absent
        (0.5, 1.5, POSITIVE, REPRODUCED),
        (1e-12, 2e-9, POSITIVE, REPRODUCED),
        (-0.1, 2.0, POSITIVE, INCONCLUSIVE),
        (-2.0, 0.1, POSITIVE, INCONCLUSIVE),
        (0.0, 2.0, POSITIVE, INCONCLUSIVE),
        (-2.0, 0.0, POSITIVE, INCONCLUSIVE),
        (-1.5, -0.5, POSITIVE, OPPOSITE),
        # a sign from a tenth on
        (0.101, 0.15, REDUCTION, REPRODUCED),
        (0.10, 0.15, REDUCTION, DIRECTION_ONLY),
        (0.05, 0.15, REDUCTION, DIRECTION_ONLY),
        (0.05, 5.0, REDUCTION, DIRECTION_ONLY),
        (0.072, 0.084, REDUCTION, ABSENT),
        (0.05, 0.10, REDUCTION, ABSENT),
        (-0.10, 0.10, REDUCTION, ABSENT),
        (-0.09, -0.01, REDUCTION, ABSENT),
        (-0.11, 0.05, REDUCTION, INCONCLUSIVE),
        (-0.01, 1.01, REDUCTION, INCONCLUSIVE),
        (-0.11, -0.01, REDUCTION, OPPOSITE),
        (-0.6, -0.4, REDUCTION, OPPOSITE),
        (-0.11, 0.0, REDUCTION, INCONCLUSIVE),
        # a size, covered within ten points
        (0.35, 0.45, SWAP, REPRODUCED),
        (0.32, 0.40, SWAP, REPRODUCED),
        (0.40, 0.48, SWAP, REPRODUCED),
        (0.3125, 0.4875, SWAP, REPRODUCED),
        (0.29, 0.51, SWAP, DIRECTION_ONLY),
        (0.15, 0.25, SWAP, SMALLER),
        (0.05, 0.25, SWAP, SMALLER),
        (0.50, 0.70, SWAP, LARGER),
        (1.39, 1.41, SWAP, LARGER),
        (0.60, 1.60, SWAP, INCONCLUSIVE),
        (-0.20, 0.60, SWAP, INCONCLUSIVE),
        (-0.01, 0.11, SWAP, INCONCLUSIVE),
        (-0.033, -0.0004, SWAP, ABSENT),
        (0.01, 0.09, SWAP, ABSENT),
        (-0.148, -0.065, SWAP, OPPOSITE),
        # no interval
        (NAN, 0.5, SWAP, NOT_TESTABLE),
        (0.3, NAN, SWAP, NOT_TESTABLE),
        (-INF, INF, POSITIVE, NOT_TESTABLE),
        (INF, INF, POSITIVE, NOT_TESTABLE),
        (-INF, -0.5, POSITIVE, NOT_TESTABLE),
    ],
)
def test_verdict(low, high, claimed, wanted):
    assert verdict(low, high, claimed) == wanted


def test_an_interval_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match=r"low 0.5 lies above high 0.3; swap them"):
        verdict(0.5, 0.3, SWAP)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"value": 0.2}, "size 0.2 must exceed 0.2; claim a sign"),
        ({"value": 0.3, "least": 0.3}, "size 0.3 must exceed 0.3"),
        ({"least": -0.1}, "least effect -0.1 is negative"),
    ],
)
def test_claims_that_no_interval_could_decide_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Claimed(**fields)


# the plain table, and why it needs repairs


def plain(low, high, claimed):
    """Verdicts of the method's table as it stands, each by its own condition."""
    least, size = claimed.least, claimed.value
    covered = size is not None and low <= size <= high and (high - low) / 2 <= 0.10
    carried = covered or (size is None and low > least)
    held = {
        REPRODUCED: carried,
        DIRECTION_ONLY: low > 0 and high > least and not carried,
        ABSENT: -least < low and high < least,
        OPPOSITE: high < 0 and low < -least,
    }
    return [name for name, holds in held.items() if holds] or [INCONCLUSIVE]


def test_the_plain_table_is_not_monotone_for_wide_intervals_around_a_size():
    """A half-width of 0.5: moved from 1.1 down to the claimed 0.4, direction only is lost."""
    assert plain(0.6, 1.6, SWAP) == [DIRECTION_ONLY]
    assert plain(-0.1, 0.9, SWAP) == [INCONCLUSIVE]
    assert verdict(0.6, 1.6, SWAP) == verdict(-0.1, 0.9, SWAP) == INCONCLUSIVE


def test_the_plain_table_decides_more_from_a_wider_interval_at_the_least_effect():
    assert plain(0.05, 0.10, REDUCTION) == [INCONCLUSIVE]
    assert plain(0.05, 0.11, REDUCTION) == [DIRECTION_ONLY]
    assert verdict(0.05, 0.10, REDUCTION) == ABSENT


def test_the_plain_table_reproduces_small_sizes_from_intervals_with_zero():
    tiny = object.__new__(Claimed)
    object.__setattr__(tiny, "value", 0.15)
    object.__setattr__(tiny, "least", 0.10)
    assert plain(-0.02, 0.14, tiny) == [INCONCLUSIVE]
    assert plain(-0.02, 0.16, tiny) == [REPRODUCED]


#: Multiples of 1/64 are exact, so that bounds are met and a shift keeps the width.
numbers = st.integers(-192, 192).map(lambda n: n / 64)
widths = st.integers(0, 192).map(lambda n: n / 64)


@st.composite
def claims(draw):
    """A sign or a size, with a least effect."""
    least = draw(st.integers(0, 32).map(lambda n: n / 64))
    size = draw(st.none() | st.integers(13, 96).map(lambda n: n / 64))
    if size is not None:
        assume(size > least)
    return Claimed(size, least)


@given(low=numbers, width=widths, claimed=claims())
def test_every_interval_gets_one_verdict_that_the_plain_table_allows(low, width, claimed):
    found = verdict(low, low + width, claimed)
    expected = plain(low, low + width, claimed)
    assert len(expected) == 1, "the plain table's conditions exclude each other"
    at_bound = claimed.least in (abs(low), abs(low + width))
    too_wide = claimed.value is not None and width / 2 >= claimed.value
    if not at_bound and not too_wide:
        assert found.removesuffix(", smaller").removesuffix(", larger") == expected[0]


@given(low=st.floats(), high=st.floats(), claimed=claims())
def test_any_numbers_get_a_verdict(low, high, claimed):
    assume(not low > high)
    found = verdict(low, high, claimed)
    assert found in verdicts.VERDICTS
    assert (found == NOT_TESTABLE) == (not (math.isfinite(low) and math.isfinite(high)))


@given(low=numbers, width=widths, shift=widths, claimed=claims())
def test_a_shift_towards_the_claim_never_makes_a_verdict_worse(low, width, shift, claimed):
    """Up for a sign; towards the size, and not past it, where one is claimed."""
    if claimed.value is not None:
        away = claimed.value - (low + width / 2)
        shift = max(-shift, away) if away < 0 else min(shift, away)
    before = verdict(low, low + width, claimed)
    after = verdict(low + shift, low + shift + width, claimed)
    assert RANK[after] >= RANK[before]


@given(low=numbers, width=widths, more=st.tuples(widths, widths), claimed=claims())
def test_a_wider_interval_never_decides_what_a_narrower_one_left_open(low, width, more, claimed):
    assume(verdict(low, low + width, claimed) == INCONCLUSIVE)
    assert verdict(low - more[0], low + width + more[1], claimed) == INCONCLUSIVE


@given(low=numbers, width=widths, claimed=claims())
def test_smaller_and_larger_lie_on_one_side_of_the_size(low, width, claimed):
    found = verdict(low, low + width, claimed)
    if RANK[found] == RANK[DIRECTION_ONLY]:
        size = low if claimed.value is None else claimed.value
        side = (low > size) - (low + width < size)
        assert {-1: SMALLER, 0: DIRECTION_ONLY, 1: LARGER}[side] == found


# the number of inputs that would decide


@pytest.mark.parametrize(
    ("low", "high", "claimed", "wanted"),
    [
        # a half-width of 0.3 around 0.1 must fall below 0.1: more than 9 times the inputs
        (-0.2, 0.4, POSITIVE, 1153),
        (-0.4, 0.2, POSITIVE, 1153),
        # around 0.02: within a tenth at 0.08 sooner than clear of 0 at 0.02
        (-0.14, 0.18, REDUCTION, 512),
        # around 1.1: wider than the size, which 0.52 must fall below
        (0.58, 1.62, SWAP, 217),
        # never: nothing there, and any effect counts
        (-0.2, 0.2, POSITIVE, None),
        # decided already
        (0.3, 0.5, POSITIVE, None),
        (-0.05, 0.05, REDUCTION, None),
    ],
)
def test_the_number_of_inputs_that_decides(low, high, claimed, wanted):
    assert n_decides(low, high, 128, claimed) == wanted


@given(
    center=st.floats(-1, 1), half_width=st.floats(0.001, 1), claimed=claims(), n=st.integers(8, 512)
)
def test_it_is_the_first_number_that_decides(center, half_width, claimed, n):
    def at(inputs):
        reach = half_width * math.sqrt(n / inputs)
        return verdict(center - reach, center + reach, claimed)

    low, high = center - half_width, center + half_width
    needed = n_decides(low, high, n, claimed)
    if at(n) != INCONCLUSIVE:
        assert needed is None
    elif needed is None:
        assert at(verdicts.MOST - 1) == INCONCLUSIVE
    else:
        # half-widths are sums of the bounds again, which rounds: a share of 1e-9 either way
        assert at(needed * (1 + 1e-9)) != INCONCLUSIVE
        assert needed == n + 1 or at((needed - 1) * (1 - 1e-9)) == INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "claimed", "wanted"),
    [
        (0.3, 0.5, SWAP, False),
        (0.4, 0.5, SWAP, False),
        (0.1, 0.39, SWAP, True),
        (0.3, 0.5, POSITIVE, None),
        (NAN, 0.5, SWAP, None),
    ],
)
def test_whether_an_interval_excludes_the_claimed_size(low, high, claimed, wanted):
    assert excludes(low, high, claimed) is wanted


# theorems


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (0.0, BY_CONSTRUCTION),
        (1e-3, BY_CONSTRUCTION),
        (1.001e-3, VIOLATED),
        (INF, VIOLATED),
        (NAN, NOT_TESTABLE),
    ],
)
def test_theorem(error, wanted):
    assert theorem(error, 1e-3) == wanted


def test_a_tolerance_of_zero_allows_exactly_zero():
    assert theorem(0.0, 0.0) == BY_CONSTRUCTION
    assert theorem(5e-324, 0.0) == VIOLATED


@pytest.mark.parametrize(
    ("claimed", "text"), [(POSITIVE, "> 0"), (REDUCTION, "> 0.1"), (SWAP, "0.4")]
)
def test_a_claim_as_text(claimed, text):
    assert str(claimed) == text


def test_verdicts_stand_weakest_first():
    ranks = [RANK[name] for name in verdicts.VERDICTS if name in RANK]
    assert ranks == sorted(ranks)
    assert len(set(verdicts.VERDICTS)) == len(verdicts.VERDICTS) == 10
