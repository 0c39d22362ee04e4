"""Hidden states split into their mean, what position adds to it, and what remains.

The split is that of Song & Zhong (arXiv 2310.04861), in part; source: docs/method.md, sections 3
and 6. An extraction keeps only what the split reads: sums over inputs, at every position, would be
most of a store of long inputs.
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def moments(total: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """What the split needs of the mean over inputs of the hidden states of one depth.

    Args:
        total: sum over inputs (position, hidden).
        inputs: N.

    Returns:
        the grand mean over inputs and positions (hidden); and of every position the squared
        distance of its mean over inputs from that (position). Both float64. Position 0 is no part
        of the grand mean, as its norm would drown the rest.
    """
    mean_t = total.astype(np.float64)
    mean_t /= inputs
    grand_mean = mean_t[1:].mean(0)
    mean_t -= grand_mean
    return grand_mean, np.vecdot(mean_t, mean_t)


def hidden_split(
    grand_mean: np.ndarray, by_position: np.ndarray, square: np.ndarray, inputs: int
) -> xr.Dataset:
    """Mean, position and remaining (context and residual) energy of hidden states by depth.

    With h the hidden state of an input at a position: the grand mean mu, the position part
    pos_t = mean over inputs of h less mu, and what remains. Squared norms, averaged over
    positions; they add up to the mean squared norm. Position 0 is left out.

    Args:
        grand_mean: mu (depth, hidden).
        by_position: squared norms of pos_t (depth, position).
        square: sum over inputs of squared norms (depth, position).
        inputs: N.

    Returns:
        ``hidden_split`` (part, depth) float64, parts mean, position and context.
    """
    mean = (grand_mean**2).sum(-1)
    position = by_position[:, 1:].mean(-1)
    whole = (square[:, 1:] / inputs).mean(-1)
    parts = np.stack([mean, position, whole - mean - position])
    names = ["mean", "position", "context"]
    return xr.Dataset({"hidden_split": (("part", "depth"), parts)}, coords={"part": names})
