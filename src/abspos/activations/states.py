"""Hidden states split into mean, position, context and residual, and how large they get.

The split is that of Song & Zhong (arXiv 2310.04861), magnitudes are for the massive activations of
Sun et al. (arXiv 2402.17762); source: docs/method.md, sections 3 and 6. An extraction keeps only
what these read: sums over inputs, at every position, would be most of a store of long inputs.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor


def moments(total: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Moments of the mean over inputs of the hidden states of one depth, for the split.

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


def away(centre: np.ndarray, grand_mean: np.ndarray) -> np.ndarray:
    """Squared distance of each input's mean over positions from the grand mean (input), float64.

    Args:
        centre: means over positions but 0 (input, hidden).
        grand_mean: mu (hidden).
    """
    moved = centre - grand_mean
    return np.vecdot(moved, moved)


def magnitudes(state: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The median magnitude of each input's hidden state, and the largest one but at position 0.

    Args:
        state: of one depth (input, position, hidden).

    Returns:
        both (input) float32; the median over positions and features, of an even number the lower
        of the middle two.
    """
    if state.is_cuda:
        whole = state.abs()
        found = (whole.flatten(1).median(1).values, whole[:, 1:].amax((1, 2)))
        return found[0].cpu().numpy(), found[1].cpu().numpy()
    both = np.empty((2, len(state)), dtype=np.int32)
    for number, one in enumerate(state.numpy()):  # torch's median takes ten times as long here
        # Numbers that are not negative have the order of their bits, which are parted in half
        # the time.
        bits = np.abs(one).ravel().view(np.int32)
        middle, later = (bits.size - 1) // 2, bits[one.shape[-1] :]
        both[1, number] = later.max()
        bits.partition(middle)
        both[0, number] = bits[middle]
    median, largest = both.view(np.float32)
    return median, largest


def hidden_split(
    grand_mean: np.ndarray, by_position: np.ndarray, by_input: np.ndarray, square: np.ndarray
) -> xr.Dataset:
    """Mean, position, context and residual energy of hidden states by depth.

    With h the hidden state of input c at position t: the grand mean mu, the position part
    pos_t = mean over inputs of h less mu, the context part ctx_c = mean over positions of h less
    mu, and the residual h - mu - pos_t - ctx_c. Squared norms, averaged over inputs and positions;
    they add up to the mean squared norm. Position 0 is left out.

    Args:
        grand_mean: mu (depth, hidden).
        by_position: squared norms of pos_t (depth, position).
        by_input: squared norms of ctx_c (depth, input).
        square: sum over inputs of squared norms (depth, position).

    Returns:
        ``hidden_split`` (part, depth) float64.
    """
    mean = (grand_mean**2).sum(-1)
    position = by_position[:, 1:].mean(-1)
    context = by_input.mean(-1)
    whole = square[:, 1:].mean(-1) / by_input.shape[-1]
    parts = np.stack([mean, position, context, whole - mean - position - context])
    names = ["mean", "position", "context", "residual"]
    return xr.Dataset({"hidden_split": (("part", "depth"), parts)}, coords={"part": names})
