"""The split of hidden states, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from abspos.hidden import hidden_split, moments


def states(seed=0, depth=3, inputs=4, length=5, hidden=6):
    return np.random.default_rng(seed).normal(size=(depth, inputs, length, hidden))


def split_of(h):
    """The split as an extraction and a decomposition make it, one after the other."""
    found = [moments(total, h.shape[1]) for total in h.sum(1)]
    grand_mean, by_position = (np.stack(part) for part in zip(*found, strict=True))
    square = (h**2).sum((1, 3))
    return hidden_split(grand_mean, by_position, square, h.shape[1])["hidden_split"]


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
    expected = split_of(h).sel(part="position")
    np.testing.assert_allclose(split_of(h + 1e4).sel(part="position"), expected, rtol=1e-9)


def test_hidden_split_by_loops():
    h = states()
    split = split_of(h)
    for depth in range(h.shape[0]):
        kept = h[depth, :, 1:]
        mu = kept.mean((0, 1))
        position = kept.mean(0) - mu
        rest = kept - kept.mean(0)
        expected = {
            "mean": (mu**2).sum(),
            "position": np.mean([(p**2).sum() for p in position]),
            "context": np.mean([(r**2).sum() for row in rest for r in row]),
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
    np.testing.assert_allclose(split_of(h).sel(part="context"), 0, atol=1e-12)
