"""Verdicts: each one, their order, and their bounds (docs/method.md, section 5)."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from abspos.claims import verdicts
from abspos.claims.verdicts import (
    BY_CONSTRUCTION,
    CONTRADICTED,
    DIRECTION_ONLY,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Claimed,
    theorem,
    verdict,
)

POSITIVE, TENTH, FORTY = Claimed(), Claimed(least=0.10), Claimed(0.40)
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("estimate", "low", "high", "claimed", "wanted"),
    [
        # only a sign is claimed
        (1.0, 0.5, 1.5, POSITIVE, REPRODUCED),
        (1e-9, 1e-12, 2e-9, POSITIVE, REPRODUCED),
        (1.0, -0.1, 2.0, POSITIVE, NOT_REPRODUCED),
        (-1.0, -2.0, 0.1, POSITIVE, NOT_REPRODUCED),
        (-1.0, -1.5, -0.5, POSITIVE, CONTRADICTED),
        # no effect is in the interval, its ends included
        (1.0, 0.0, 2.0, POSITIVE, NOT_REPRODUCED),
        (-1.0, -2.0, 0.0, POSITIVE, NOT_REPRODUCED),
        (0.0, 0.0, 0.0, POSITIVE, NOT_REPRODUCED),
        # an effect from a tenth on
        (0.10, 0.05, 0.15, TENTH, REPRODUCED),
        (0.0999, 0.05, 0.15, TENTH, DIRECTION_ONLY),
        (0.5, -0.01, 1.01, TENTH, NOT_REPRODUCED),
        (-0.5, -0.6, -0.4, TENTH, CONTRADICTED),
        # a number, covered within ten points
        (0.40, 0.35, 0.45, FORTY, REPRODUCED),
        (0.36, 0.32, 0.40, FORTY, REPRODUCED),
        (0.44, 0.40, 0.48, FORTY, REPRODUCED),
        (0.40, 0.3125, 0.4875, FORTY, REPRODUCED),
        (0.40, 0.29, 0.51, FORTY, DIRECTION_ONLY),
        (0.20, 0.15, 0.25, FORTY, DIRECTION_ONLY),
        (0.60, 0.50, 0.70, FORTY, DIRECTION_ONLY),
        (1.40, 1.39, 1.41, FORTY, DIRECTION_ONLY),
        (0.20, -0.20, 0.60, FORTY, NOT_REPRODUCED),
        (0.05, -0.01, 0.11, FORTY, NOT_REPRODUCED),
        (-0.40, -0.45, -0.35, FORTY, CONTRADICTED),
        # no number at all comes before anything else
        (NAN, 0.3, 0.5, FORTY, NOT_TESTABLE),
        (0.4, NAN, 0.5, FORTY, NOT_TESTABLE),
        (0.4, 0.3, NAN, FORTY, NOT_TESTABLE),
        (0.4, -INF, INF, POSITIVE, NOT_TESTABLE),
        (INF, INF, INF, POSITIVE, NOT_TESTABLE),
        (-1.0, -INF, -0.5, POSITIVE, NOT_TESTABLE),
    ],
)
def test_verdict(estimate, low, high, claimed, wanted):
    assert verdict(estimate, low, high, claimed) == wanted


def test_the_widest_interval_that_confirms_a_number():
    claimed = Claimed(0.5)
    assert verdict(0.5, 0.5 - 0.0999, 0.5 + 0.0999, claimed) == REPRODUCED
    assert verdict(0.5, 0.5 - 0.1001, 0.5 + 0.1001, claimed) == DIRECTION_ONLY
    assert verdicts.HALF_WIDTH == 0.10


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (0.0, BY_CONSTRUCTION),
        (1e-3, BY_CONSTRUCTION),
        (1.001e-3, CONTRADICTED),
        (INF, CONTRADICTED),
        (NAN, NOT_TESTABLE),
    ],
)
def test_theorem(error, wanted):
    assert theorem(error, 1e-3) == wanted


def test_a_tolerance_of_zero_allows_exactly_zero():
    assert theorem(0.0, 0.0) == BY_CONSTRUCTION
    assert theorem(5e-324, 0.0) == CONTRADICTED


@pytest.mark.parametrize(
    ("claimed", "text"), [(POSITIVE, "> 0"), (TENTH, "> 0"), (FORTY, "0.4"), (Claimed(1.0), "1")]
)
def test_a_claim_as_text(claimed, text):
    assert str(claimed) == text


def test_the_names_of_the_method_in_their_order():
    assert verdicts.VERDICTS == (
        "not testable",
        "holds by construction",
        "not reproduced",
        "contradicted",
        "reproduced",
        "direction only",
    )


numbers = st.floats(-3, 3, allow_subnormal=False)
claims = st.builds(
    Claimed,
    value=st.none() | st.floats(0.01, 2),
    least=st.floats(0, 1),
)


def conditions(estimate, low, high, claimed):
    """Each verdict's own condition, without any order between them."""
    clear = low > 0
    if claimed.value is None:
        as_claimed = estimate >= claimed.least
    else:
        as_claimed = low <= claimed.value <= high and (high - low) / 2 <= 0.10
    return {
        NOT_REPRODUCED: low <= 0 <= high,
        CONTRADICTED: high < 0,
        REPRODUCED: clear and as_claimed,
        DIRECTION_ONLY: clear and not as_claimed,
    }


@given(bounds=st.tuples(numbers, numbers, numbers), claimed=claims)
def test_one_verdict_holds_and_no_other(bounds, claimed):
    low, estimate, high = sorted(bounds)
    held = [v for v, holds in conditions(estimate, low, high, claimed).items() if holds]
    assert held == [verdict(estimate, low, high, claimed)]


@given(bounds=st.tuples(*[st.floats(allow_nan=True)] * 3), claimed=claims)
def test_any_numbers_get_a_verdict_always_the_same(bounds, claimed):
    found = verdict(*bounds, claimed)
    assert found in verdicts.VERDICTS
    assert verdict(*bounds, claimed) == found
    assert (found == NOT_TESTABLE) == (not all(map(math.isfinite, bounds)))


@given(bounds=st.tuples(numbers, numbers, numbers), claimed=claims, factor=st.floats(0.01, 1))
def test_a_narrower_interval_never_takes_back_an_effect(bounds, claimed, factor):
    low, estimate, high = sorted(bounds)
    assume(low > 0 or high < 0)
    closer = (estimate + factor * (low - estimate), estimate + factor * (high - estimate))
    assume(closer[0] > 0 or closer[1] < 0)  # rounding can lose what is far below the estimate
    assert (verdict(estimate, *closer, claimed) == CONTRADICTED) == (high < 0)
    assert verdict(estimate, *closer, claimed) != NOT_REPRODUCED


@given(error=st.floats(0, 1), tolerance=st.floats(0, 1))
def test_a_theorem_holds_within_its_tolerance(error, tolerance):
    assert theorem(error, tolerance) == (BY_CONSTRUCTION if error <= tolerance else CONTRADICTED)
