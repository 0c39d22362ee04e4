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
GRAMS = 8  # Gram matrices to a step


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
    between: Float[np.ndarray, "*axes unit unit"], sizes: Float[np.ndarray, " unit"]
) -> Float[np.ndarray, "*axes half"]:
    """Energies of first halves of all splits, then of second ones, (..., 2 SPLITS) float64.

    NaN where a half has fewer than 2 units. With B the Gram, m its row and column sums together and
    e = +-1 a row of the Hadamard matrix, the sum over the first half is (S + e'm + e'Be) / 4.

    Args:
        between: Gram between units, their own pairs left out (..., unit, unit).
        sizes: inputs of each unit (unit).
    """
    members = in_first_half(len(sizes))
    folded = fold(fold(between, -1), -2)
    signs = np.where(in_first_half(folded.shape[-1]), 1.0, -1.0)
    rows = folded.sum(axis=-1)
    margins, total = rows + folded.sum(axis=-2), rows.sum(axis=-1, keepdims=True)
    odd, even = margins @ signs.T, total + forms(folded)
    sums = np.concatenate([even + odd, even - odd], axis=-1) / 4
    both = np.concatenate([members, ~members]).astype(np.float64)
    pairs = (both @ sizes) ** 2 - both @ sizes**2
    pairs[both.sum(axis=-1) < 2] = np.nan
    return sums / pairs


def forms(gram: Float[np.ndarray, "*axes unit unit"]) -> Float[np.ndarray, "*axes split"]:
    """e'Ge of Grams for every row e = +-1 of the Hadamard matrix but the first.

    e_i e_j is the entry of the same row at i XOR j, so that sums over pairs of equal XOR are all
    that a form needs: N^2 additions and one product with the matrix.

    Args:
        gram: of at most ORDER units.
    """
    size = gram.shape[-1]
    flat = gram.reshape(-1, size, size)
    order = 1 << (size - 1).bit_length()
    rows, columns = np.arange(1, ORDER)[:, None], np.arange(order)[None, :]
    signs = np.where(np.bitwise_count(rows & columns) % 2 == 0, 1.0, -1.0)
    sums = np.empty((len(flat), order))
    for first in range(0, len(flat), GRAMS):  # which stay in the cache
        part = slice(first, first + GRAMS)
        sums[part] = xor_sums(flat[part], order)
    return (sums @ signs.T).reshape(*gram.shape[:-2], SPLITS)


def xor_sums(
    gram: Float[np.ndarray, "gram unit unit"], order: int
) -> Float[np.ndarray, "gram {order}"]:
    """Sums over all pairs (i, j) with the same i XOR j.

    Halves of either axis differ in the highest bit of an index, so that one step after the other
    adds quarters: those of equal bits to one matrix, those of unequal bits to a second.

    Args:
        gram: of at most ``order`` units.
        order: a power of two.
    """
    missing = order - gram.shape[-1]
    blocks = (
        np.pad(gram, [(0, 0), (0, missing), (0, missing)])[:, None] if missing else gram[:, None]
    )
    while (size := blocks.shape[-1]) > 1:
        number, half = blocks.shape[1], size // 2
        quarters = blocks.reshape(-1, number, 2, half, 2, half)
        sums = np.empty((len(blocks), number, 2, half, half))
        np.add(quarters[..., 0, :, 0, :], quarters[..., 1, :, 1, :], out=sums[:, :, 0])
        np.add(quarters[..., 0, :, 1, :], quarters[..., 1, :, 0, :], out=sums[:, :, 1])
        blocks = sums.reshape(len(blocks), 2 * number, half, half)
    return blocks.reshape(len(blocks), order)


def fold(values: np.ndarray, axis: int) -> np.ndarray:
    """Sums of units that always stay together: at most ORDER of them along an axis."""
    if values.shape[axis] <= ORDER:
        return values
    values = np.moveaxis(values, axis, -1)
    missing = -values.shape[-1] % ORDER
    if missing:
        values = np.concatenate([values, np.zeros((*values.shape[:-1], missing))], axis=-1)
    values = values.reshape(*values.shape[:-1], -1, ORDER).sum(axis=-2)
    return np.moveaxis(values, -1, axis)


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
