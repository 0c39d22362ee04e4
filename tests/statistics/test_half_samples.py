"""Balanced half-samples: splits, sums over halves, and the error of a mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from abspos.statistics.energies import halves, interval
from abspos.statistics.half_samples import (
    ORDER,
    SPLITS,
    in_first_half,
)

finite = st.floats(-100, 100)


@given(arrays(np.float64, st.sampled_from([8, 13, 45, 64, 100, 127, 128]), elements=finite))
def test_halves_of_a_mean_give_the_t_interval(sample):
    """Exactly: balanced halves lose nothing that the t interval of a mean has."""
    number = len(sample)
    first = in_first_half(number)
    some = first.any(1) & ~first.all(1)
    halved = np.full((2, SPLITS), np.nan)
    halved[:, some] = [(m[some] @ sample) / m[some].sum(1) for m in (first, ~first)]
    without = (sample.sum() - sample) / (number - 1)
    for smooth in (False, True):
        found = interval(sample.mean(), without, halved.ravel(), smooth=smooth)
        assert found.se == pytest.approx(sample.std(ddof=1) / np.sqrt(number), abs=1e-7)


def test_of_more_inputs_than_the_order_the_error_of_a_mean_is_right_on_average():
    draws = np.random.default_rng(0).normal(size=(400, 300))
    first = in_first_half(300)
    halved = np.concatenate([draws @ m.T / m.sum(1) for m in (first, ~first)], axis=1)
    without = (draws.sum(1, keepdims=True) - draws) / 299
    se = interval(draws.mean(1), without, halved).se
    assert np.mean(se**2) == pytest.approx(1 / 300, rel=0.03)
    assert np.std(se**2) < 1.5 * np.sqrt(2 / 126) / 300


def test_any_two_inputs_stand_together_in_half_of_the_splits():
    first = in_first_half(128)
    assert (first.sum(1) == 64).all()
    together = (first[:, :, None] == first[:, None, :]).sum(0)
    assert (together[~np.eye(128, dtype=bool)] == 63).all()  # of 127


@pytest.mark.parametrize("number", [5, 17, 128, 130, 300])
def test_energies_of_halves_are_sums_over_their_pairs(number):
    """Of matrices that are not symmetric, too: those of two arms."""
    rng = np.random.default_rng(number)
    documents = np.repeat(np.arange(number), rng.integers(1, 4, number))
    gram = rng.normal(size=(2, len(documents), len(documents)))
    apart = documents[:, None] != documents
    found = halves(gram, documents)
    first = in_first_half(number)
    for split, chosen in enumerate(np.concatenate([first, ~first])):
        if chosen.sum() < 2:
            assert np.isnan(found[:, split]).all()
            continue
        kept = chosen[documents]
        pairs = apart & kept & kept[:, None]
        wanted = gram[:, pairs].mean(-1)
        np.testing.assert_allclose(found[:, split], wanted, rtol=1e-9, atol=1e-12)


def test_beyond_the_order_units_of_one_column_stay_together():
    first = in_first_half(ORDER + 3)
    np.testing.assert_array_equal(first[:, :3], first[:, ORDER:])
