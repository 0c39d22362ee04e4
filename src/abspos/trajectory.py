"""Position 0 through depth: norms, variance across inputs, and the split of hidden states.

Source: docs/method.md, sections 3 and 5.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from abspos.hidden import hidden_split


def state_norm(state0: np.ndarray) -> np.ndarray:
    """Euclidean norm of the residual stream at position 0, (depth, input).

    Args:
        state0: (depth, input, hidden) float32.
    """
    return np.linalg.norm(state0.astype(np.float64), axis=-1)


def state_variance(state0: np.ndarray) -> np.ndarray:
    """Variance across inputs of the state at position 0, summed over features, (depth).

    Taken about the first input, so that identical states give exactly zero.
    """
    moved = state0.astype(np.float64) - state0[:, :1]
    spread = moved - moved.mean(1, keepdims=True)
    return (spread**2).sum(-1).mean(1)


def massive(state0: np.ndarray) -> np.ndarray:
    """Whether the state at position 0 holds a massive activation, (depth, input) bool.

    By the definition of Sun et al. (arXiv 2402.17762): a magnitude above 100 and above a thousand
    times the median magnitude of that hidden state.
    """
    magnitude = np.abs(state0.astype(np.float64))
    largest = magnitude.max(-1)
    return (largest > 100) & (largest > 1000 * np.median(magnitude, axis=-1))


def trajectory(activations: xr.Dataset) -> xr.Dataset:
    """What is kept of position 0 through depth, and the split of hidden states elsewhere.

    ``state_norm`` and ``state_massive`` (depth, input), ``state_variance`` (depth),
    ``hidden_split`` (part, depth).
    """
    state0 = activations["state0"].values
    split = hidden_split(
        activations["grand_mean"].values, activations["by_position"].values,
        activations["square"].values, activations.sizes["input"],
    )  # fmt: skip
    split["state_norm"] = (("depth", "input"), state_norm(state0))
    split["state_variance"] = ("depth", state_variance(state0))
    split["state_massive"] = (("depth", "input"), massive(state0))
    return split
