"""Position 0 through depth, against plain sums."""

from __future__ import annotations

import numpy as np
import xarray as xr

from abspos.components.trajectory import massive, state_norm, state_variance, trajectory


def states(seed=0, depth=3, inputs=4, length=5, hidden=6):
    return np.random.default_rng(seed).normal(size=(depth, inputs, length, hidden))


def test_state_norm():
    state0 = np.zeros((2, 3, 4), dtype=np.float32)
    state0[1, 2] = [1, 2, 2, 4]
    np.testing.assert_array_equal(state_norm(state0), [[0, 0, 0], [0, 0, 5]])


def test_identical_states_have_exactly_no_variance():
    state0 = np.repeat(np.float32(25000 * states()[:, :1, 0]), 7, axis=1)
    assert (state_variance(state0) == 0).all()


def test_state_variance_is_summed_over_features():
    state0 = (1e4 + states()[:, :, 0]).astype(np.float32)
    expected = state0.astype(np.float64).var(axis=1).sum(-1)
    np.testing.assert_allclose(state_variance(state0), expected, rtol=1e-9)


def test_trajectory_of_a_store():
    h = states(3).astype(np.float32)
    store = xr.Dataset(
        {
            "state0": (("depth", "input", "hidden"), h[:, :, 0]),
            "grand_mean": (("depth", "hidden"), h[:, :, 1:].mean((1, 2))),
            "by_position": (("depth", "position"), np.ones((3, 5))),
            "square": (("depth", "position"), (h**2).sum((1, 3))),
            "by_input": (("depth", "input"), np.ones((3, 4))),
            "median": (("depth", "input"), np.full((3, 4), 0.5)),
            "largest": (("depth", "input"), np.full((3, 4), 600.0)),
        }
    )
    found = trajectory(store)
    assert {name: found[name].dims for name in found.data_vars} == {
        "hidden_split": ("part", "depth"),
        "state_massive": ("depth", "input"),
        "later_massive": ("depth", "input"),
        "state_contrast": ("depth", "input"),
        "state_norm": ("depth", "input"),
        "state_variance": ("depth",),
    }
    np.testing.assert_allclose(found["state_norm"], np.linalg.norm(h[:, :, 0], axis=-1), rtol=1e-6)
    np.testing.assert_allclose(found["state_contrast"], 2 * np.abs(h[:, :, 0]).max(-1), rtol=1e-6)
    assert not found["state_massive"].any()
    assert found["later_massive"].all()


def test_massive_needs_magnitude_and_contrast() -> None:
    largest, median = np.array([2000.0, 90.0, 900.0]), np.array([1.0, 0.0001, 1.0])
    np.testing.assert_array_equal(massive(largest, median), [True, False, False])


def test_a_state_that_is_large_all_over_is_massive_among_smaller_ones() -> None:
    """The median is that of all positions, not of the large one alone."""
    state = np.full((1, 1, 8), 50.0, dtype=np.float32)
    state[..., 3] = -24000.0
    store = xr.Dataset(
        {
            "state0": (("depth", "input", "hidden"), state),
            "grand_mean": (("depth", "hidden"), np.zeros((1, 8))),
            "by_position": (("depth", "position"), np.zeros((1, 4))),
            "by_input": (("depth", "input"), np.zeros((1, 1))),
            "square": (("depth", "position"), np.zeros((1, 4))),
            "median": (("depth", "input"), [[2.0]]),
            "largest": (("depth", "input"), [[90.0]]),
        }
    )
    found = trajectory(store)
    assert found["state_massive"].item()
    assert not found["later_massive"].item()
