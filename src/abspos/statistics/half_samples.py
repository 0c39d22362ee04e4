"""Balanced half-samples: how far an estimate moves from one half of the inputs to the other.

The rows of a Hadamard matrix split units, documents of inputs, in halves (McCarthy, 1969).
Source: docs/method.md, section 3.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

ORDER = 128  # of the Hadamard matrix whose rows split the units in halves
SPLITS = ORDER - 1  # its rows but the first, which splits nothing


@lru_cache(maxsize=16)
def in_first_half(units: int) -> Bool[np.ndarray, "split {units}"]:
    """Balanced halves: whether each unit stands in the first half, (SPLITS, units) bool.

    Columns of a Hadamard matrix: over all splits any two units stand together as often as apart,
    so that the halves of a mean differ by exactly its variance. Beyond ORDER units, every
    ORDER-th stays together. Read-only: every interval over so many units shares it.
    """
    rows, columns = np.arange(1, ORDER)[:, None], np.arange(units)[None, :] % ORDER
    found = np.bitwise_count(rows & columns) % 2 == 0
    found.setflags(write=False)
    return found


def energies_of_halves(
    margins: Float[np.ndarray, "*axes unit"],
    classes: Float[np.ndarray, "*axes order"],
    sizes: Float[np.ndarray, " unit"],
) -> Float[np.ndarray, "*axes half"]:
    """Energies of first halves of all splits, then of second ones, (..., 2 SPLITS) float64.

    NaN where a half has fewer than 2 units. With B the Gram between units, m its row and column
    sums together, S its sum and e = +-1 a row of the Hadamard matrix, the sum over the first half
    is (S + e'm + e'Be) / 4. As e_i e_j is the entry of the same row at i XOR j, sums over pairs of
    equal XOR give e'Be.

    Args:
        margins: m (..., unit).
        classes: sums over pairs of units by their XOR, modulo ORDER (..., ORDER).
        sizes: inputs of each unit (unit).
    """
    members = in_first_half(len(sizes))
    signs, crossed = (np.where(first, 1.0, -1.0) for first in (members, in_first_half(ORDER)))
    total = margins.sum(axis=-1, keepdims=True) / 2
    odd, even = margins @ signs.T, total + classes @ crossed.T
    sums = np.concatenate([even + odd, even - odd], axis=-1) / 4
    both = np.concatenate([members, ~members]).astype(np.float64)
    pairs = (both @ sizes) ** 2 - both @ sizes**2
    pairs[both.sum(axis=-1) < 2] = np.nan
    return sums / pairs


def half_variance(
    estimate: np.ndarray, halved: np.ndarray, number: int, smooth: bool
) -> np.ndarray:
    """se^2 of `abspos.statistics.energies.interval` from the estimates (..., 2 SPLITS) of halves.

    NaN where a half of 2 or more units has no estimate, or where there are no such halves.
    """
    size = in_first_half(number).sum(axis=-1)
    size, used = size.astype(np.float64), (size >= 2) & (number - size >= 2)
    if not used.any():
        return np.full(estimate.shape, np.nan)
    a, first, second = size[used], halved[..., :SPLITS][..., used], halved[..., SPLITS:][..., used]
    b = number - a
    weight = a * b / (a * b).sum()
    variance = ((first - second) ** 2 * (a * b / number**2)) @ weight
    if not smooth:
        return variance
    curved = estimate[..., None] - (a * first + b * second) / number
    curved -= (curved @ weight)[..., None]
    return variance - np.minimum(curved**2 @ weight, variance / 2) / 2
