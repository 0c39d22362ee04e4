"""Position 0 through depth: norms, variance across inputs, and the split of hidden states.

Source: docs/method.md, sections 3 and 5.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from abspos.activations.states import hidden_split


def state_norm(state0: Float[np.ndarray, "depth input hidden"]) -> Float[np.ndarray, "depth input"]:
    """Euclidean norm of the residual stream at position 0, (depth, input).

    Args:
        state0: (depth, input, hidden) float32.
    """
    return np.linalg.norm(state0.astype(np.float64), axis=-1)


def state_variance(state0: Float[np.ndarray, "depth input hidden"]) -> Float[np.ndarray, " depth"]:
    """Variance across inputs of the state at position 0, summed over features, (depth).

    Taken about the first input, so that identical states give exactly zero.
    """
    moved = state0.astype(np.float64) - state0[:, :1]
    spread = moved - moved.mean(1, keepdims=True)
    return (spread**2).sum(-1).mean(1)


def massive(
    largest: Float[np.ndarray, "*axes"], median: Float[np.ndarray, "*axes"]
) -> Bool[np.ndarray, "*axes"]:
    """Whether there is a massive activation, (depth, input) bool.

    By the definition of Sun et al. (arXiv 2402.17762): a magnitude above 100 and above a thousand
    times the median magnitude of the hidden state, which is one of all positions.

    Args:
        largest: magnitude (depth, input), of the chosen positions.
        median: of all positions and features (depth, input).
    """
    return (largest > 100) & (largest > 1000 * median)


def trajectory(activations: xr.Dataset) -> xr.Dataset:
    """Variables of position 0 through depth, and the split of hidden states elsewhere.

    ``state_norm``, ``state_massive`` at position 0 and ``later_massive`` at others,
    ``state_contrast``, the largest magnitude at position 0 over the median of the hidden state
    (depth, input); ``state_variance`` (depth), ``hidden_split`` (part, depth).
    """
    state0 = activations["state0"].values
    first = np.abs(state0).max(-1)
    later, median = activations["largest"].values, activations["median"].values
    split = hidden_split(
        activations["grand_mean"].values,
        activations["by_position"].values,
        activations["by_input"].values,
        activations["square"].values,
    )
    split["state_norm"] = (("depth", "input"), state_norm(state0))
    split["state_variance"] = ("depth", state_variance(state0))
    split["state_massive"] = (("depth", "input"), massive(first, median))
    split["later_massive"] = (("depth", "input"), massive(later, median))
    split["state_contrast"] = (("depth", "input"), first / np.maximum(median, 1e-30))
    return split
