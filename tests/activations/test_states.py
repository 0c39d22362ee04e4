"""The split of hidden states, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis.strategies import floats, nothing, sampled_from

from abspos.activations.states import away, hidden_split, magnitudes, moments


def states(seed=0, depth=3, inputs=4, length=5, hidden=6):
    return np.random.default_rng(seed).normal(size=(depth, inputs, length, hidden))


def split_of(h):
    """The split as an extraction and a decomposition make it, one after the other."""
    found = [moments(total, h.shape[1]) for total in h.sum(1)]
    grand_mean, by_position = (np.stack(part) for part in zip(*found, strict=True))
    by_input = np.stack([away(x[:, 1:].mean(1), mu) for x, mu in zip(h, grand_mean, strict=True)])
    return hidden_split(grand_mean, by_position, by_input, (h**2).sum((1, 3)))["hidden_split"]


def test_moments_by_loops():
    h = states(4)[0]
    grand_mean, by_position = moments(h.sum(0), len(h))
    mu = np.mean([state for row in h for state in row[1:]], axis=0)
    np.testing.assert_allclose(grand_mean, mu, rtol=1e-12)
    expected = [((h[:, t].mean(0) - mu) ** 2).sum() for t in range(h.shape[1])]
    np.testing.assert_allclose(by_position, expected, rtol=1e-12)


def test_a_large_common_part_takes_no_digits_from_the_others():
    """Differences are taken before squares, which would lose half of the digits here."""
    h = states(5)
    for part in ("position", "context"):
        expected = split_of(h).sel(part=part)
        np.testing.assert_allclose(split_of(h + 1e4).sel(part=part), expected, rtol=1e-9)


def test_hidden_split_by_loops():
    h = states()
    split = split_of(h)
    for depth in range(h.shape[0]):
        kept = h[depth, :, 1:]
        mu = kept.mean((0, 1))
        position = kept.mean(0) - mu
        context = kept.mean(1) - mu
        rest = kept - mu - position - context[:, None]
        expected = {
            "mean": (mu**2).sum(),
            "position": np.mean([(p**2).sum() for p in position]),
            "context": np.mean([(c**2).sum() for c in context]),
            "residual": np.mean([(r**2).sum() for row in rest for r in row]),
        }
        for part, value in expected.items():
            assert split.sel(part=part)[depth] == pytest.approx(value, rel=1e-9)


def test_hidden_split_adds_up_without_position_0():
    h = states(1)
    whole = (h[:, :, 1:] ** 2).sum(-1).mean((1, 2))
    np.testing.assert_allclose(split_of(h).sum("part"), whole, rtol=1e-9)
    loud = h.copy()
    loud[:, :, 0] *= 1e4
    np.testing.assert_allclose(split_of(loud), split_of(h), rtol=1e-9)


def test_states_that_know_only_their_position():
    h = np.repeat(states(2)[:, :1], 4, axis=1)
    np.testing.assert_allclose(split_of(h).sel(part=["context", "residual"]), 0, atol=1e-12)


def test_states_that_know_only_their_text():
    h = np.repeat(states(3)[:, :, :1], 5, axis=2)
    np.testing.assert_allclose(split_of(h).sel(part=["position", "residual"]), 0, atol=1e-12)


def test_magnitudes_are_of_all_positions_and_features():
    """The median knows position 0, the largest does not."""
    h = torch.tensor(states(6, depth=1)[0]).float()
    h[:, 0] *= 1e4
    median, largest = magnitudes(h)
    np.testing.assert_array_equal(median, h.abs().flatten(1).median(1).values)
    np.testing.assert_array_equal(largest, h[:, 1:].abs().amax((1, 2)))


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=4),
        elements=floats(width=32, allow_nan=False) | sampled_from([0.0, -0.0, 1.0, -1.0]),
        fill=nothing(),  # or nearly all values are one
    )
)
def test_magnitudes_are_exact(state):
    """Of odd and even sizes, with ties, zeros of both signs, subnormal numbers and infinities."""
    median, largest = magnitudes(torch.as_tensor(state))
    magnitude = np.abs(state)
    np.testing.assert_array_equal(median, torch.as_tensor(magnitude).flatten(1).median(1).values)
    np.testing.assert_array_equal(largest, magnitude[:, 1:].max((1, 2)))
    assert median.dtype == largest.dtype == np.float32


@pytest.mark.parametrize("where", [0, 1])
def test_the_largest_magnitude_is_no_number_where_a_state_is_none(where):
    """But at position 0, which it does not know."""
    state = torch.ones(1, 3, 4)
    state[0, where, 2] = -torch.nan
    median, largest = magnitudes(state)
    assert median[0] == 1
    assert bool(np.isnan(largest[0])) == (where > 0)
