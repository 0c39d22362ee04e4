"""Position 0 through depth: norms, variance across inputs, and the split of hidden states.

Source: docs/method.md, sections 3 and 5; the split is that of Song & Zhong (arXiv 2310.04861).
"""

from __future__ import annotations

import numpy as np
import xarray as xr


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


def hidden_split(total: np.ndarray, square: np.ndarray, inputs: int) -> xr.Dataset:
    """Mean, position and remaining (context and residual) energy of hidden states by depth.

    With h the hidden state of an input at a position: the grand mean mu, the position part
    pos_t = mean over inputs of h less mu, and what remains. Squared norms, averaged over
    positions; they add up to the mean squared norm. Position 0 is left out, as its norm would
    drown the rest.

    Args:
        total: sum over inputs (depth, position, hidden).
        square: sum over inputs of squared norms (depth, position).
        inputs: N.
    """
    parts = np.empty((3, len(total)))
    for depth, (summed, squared) in enumerate(zip(total, square, strict=True)):
        mean_t = summed[1:].astype(np.float64) / inputs
        mu = mean_t.mean(0)
        mean = mu @ mu
        mean_t -= mu
        position = np.vdot(mean_t, mean_t) / len(mean_t)
        whole = (squared[1:].astype(np.float64) / inputs).mean()
        parts[:, depth] = mean, position, whole - mean - position
    names = ["mean", "position", "context"]
    return xr.Dataset({"hidden_split": (("part", "depth"), parts)}, coords={"part": names})


def trajectory(activations: xr.Dataset) -> xr.Dataset:
    """What is kept of position 0 through depth, and the split of hidden states elsewhere.

    ``state_norm`` and ``state_massive`` (depth, input), ``state_variance`` (depth),
    ``hidden_split`` (part, depth).
    """
    state0 = activations["state0"].values
    split = hidden_split(
        activations["total"].values, activations["square"].values, activations.sizes["input"]
    )
    split["state_norm"] = (("depth", "input"), state_norm(state0))
    split["state_variance"] = ("depth", state_variance(state0))
    split["state_massive"] = (("depth", "input"), massive(state0))
    return split
