"""The level at which each claim is decided: Holm's step-down over claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abspos.claims.multiplicity import adjusted_p_values, at_levels, claim_p_values, levels
from abspos.claims.rows import SPREAD, WANTED, decided
from abspos.claims.verdicts import POSITIVE, REDUCTION, SWAP
from abspos.statistics.energies import holm

FREEDOM = 127


def row(claim: str, estimate: float, se: float, primary: bool = True, claimed=POSITIVE):
    """A measured row as abspos.claims.rows.measured leaves it, two-sided p and all."""
    return {
        "claim": claim,
        "estimate": estimate,
        "primary": primary,
        "p_value": 2 * stats.t.sf(abs(estimate / se), FREEDOM),
        "n_inputs": FREEDOM + 1,
        WANTED: claimed,
        SPREAD: (se, FREEDOM),
    }


@pytest.mark.parametrize(
    ("p_values", "wanted"),
    [
        ({"a": 0.04}, {"a": 0.95}),
        # 0.05 / 3, 0.05 / 2, 0.05 in the order of their p, not of the claims
        ({"a": 0.03, "b": 0.001, "c": 0.02}, {"b": 1 - 0.05 / 3, "c": 0.975, "a": 0.95}),
        # the first that is not below its share stops it: the rest stay at that share
        ({"a": 0.001, "b": 0.03, "c": 0.04}, {"a": 1 - 0.05 / 3, "b": 0.975, "c": 0.975}),
        ({"a": 0.9, "b": 0.8}, {"a": 0.975, "b": 0.975}),
        ({}, {}),
    ],
)
def test_step_down(p_values, wanted):
    assert levels(p_values, 0.95) == pytest.approx(wanted)


@given(ps=st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), alpha=st.floats(0.01, 0.2))
def test_a_claim_stands_at_its_level_exactly_if_its_adjusted_p_is_below_alpha(ps, alpha):
    found = levels({str(i): p for i, p in enumerate(ps)}, 1 - alpha)
    adjusted = holm(np.array(ps))
    for i, p in enumerate(ps):
        bound = 1 - found[str(i)]
        if abs(p - bound) > 1e-12 and abs(adjusted[i] - alpha) > 1e-12:
            assert (p <= bound) == (adjusted[i] <= alpha)


def test_a_claim_has_the_largest_p_of_its_primary_rows():
    rows = [row("a", 0.5, 0.1), row("a", 0.1, 0.1), row("a", 0.01, 0.1, primary=False)]
    beside = row("b", 0.5, 0.1, claimed=None)
    assert claim_p_values([*rows, beside]) == {"a": rows[1]["p_value"]}
    assert list(adjusted_p_values([*rows, beside])) == ["a"], "no verdict, not counted"


def test_the_interval_at_its_level_contains_zero_exactly_if_the_adjusted_p_is_above_alpha():
    """Clear of 0 at 95 %, but not at the level that five claims leave: inconclusive."""
    rows = [row(f"c{i}", 0.225, 0.1) for i in range(5)]
    assert [decided(one, 0.95)["verdict"] for one in rows] == ["reproduced"] * 5
    found = at_levels(rows, levels(claim_p_values(rows), 0.95))
    assert {one["verdict"] for one in found} == {"inconclusive"}
    assert min(adjusted_p_values(rows).values()) > 0.05
    one = found[0]
    reach = stats.t.ppf(1 - 0.005, FREEDOM) * 0.1
    assert one["level"] == pytest.approx(0.99)
    assert (one["decided_low"], one["decided_high"]) == pytest.approx(
        (0.225 - reach, 0.225 + reach)
    )
    assert one["n_decides"] == int(128 * (reach / 0.225) ** 2) + 1


def test_other_rows_keep_the_level_of_the_study():
    rows = [decided(row(c, 0.5, 0.1, primary=c != "b"), 0.95) for c in "abc"]
    found = at_levels(rows, levels(claim_p_values(rows), 0.95))
    assert [one["level"] for one in found] == pytest.approx([0.975, 0.95, 0.95])


@pytest.mark.parametrize(
    ("claimed", "excluded"), [(SWAP, True), (REDUCTION, None), (POSITIVE, None)]
)
def test_whether_the_deciding_interval_excludes_the_size_is_a_column(claimed, excluded):
    assert decided(row("a", 0.2, 0.01, claimed=claimed), 0.95)["excludes_claimed"] is excluded


def test_what_has_no_claim_gets_no_verdict():
    plain = row("a", 0.2, 0.01, claimed=None) | {"verdict": ""}
    assert decided(plain, 0.95) is plain
