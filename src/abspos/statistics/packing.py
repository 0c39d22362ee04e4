"""Gram matrices as upper triangles, the form in which stores keep them.

Energies read the symmetric part of a Gram alone. Source: docs/stores.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def pack(gram: ArrayLike) -> np.ndarray:
    """Upper triangle with diagonal of a symmetric Gram: (..., N, N) -> (..., N(N+1)/2), same dtype.

    Row-major, the order of `np.triu_indices(N)`. Symmetry is taken on trust.
    """
    values = square(gram)
    size = values.shape[-1]
    rows, columns = np.triu_indices(size)
    return values.reshape(*values.shape[:-2], size**2).take(rows * size + columns, axis=-1)


def unpack(packed: ArrayLike, n: int | None = None) -> np.ndarray:
    """Inverse of `pack`: (..., N(N+1)/2) -> (..., N, N), same dtype; N is inferred unless given.

    Raises ValueError where the last axis is not N(N+1)/2 long.
    """
    values = np.asarray(packed)
    return values.take(positions(inputs_of(values, n)), axis=-1)


def of_some(packed: np.ndarray, inputs: np.ndarray | Sequence[int]) -> np.ndarray:
    """Packed Grams of some of their inputs: of the numbers given, in that order, or of those where
    a boolean array is True."""
    place = positions(inputs_of(packed))[inputs][:, inputs]
    return packed.take(pack(place), axis=-1)


def positions(size: int) -> np.ndarray:
    """Where each entry of a Gram stands among the packed ones, (size, size) int."""
    rows, columns = np.triu_indices(size)
    found = np.empty((size, size), dtype=np.intp)
    found[rows, columns] = found[columns, rows] = np.arange(len(rows))
    return found


def symmetric(gram: ArrayLike) -> np.ndarray:
    """Upper triangle of the symmetric part of a Gram: (..., N, N) -> (..., N(N+1)/2), float64.

    It has the energies of the whole, that of two arms too.
    """
    values = square(gram)
    size = values.shape[-1]
    flat = values.reshape(*values.shape[:-2], size**2)
    rows, columns = np.triu_indices(size)
    packed = flat.take(rows * size + columns, axis=-1).astype(np.float64)
    packed += flat.take(columns * size + rows, axis=-1)
    packed /= 2
    return packed


def inputs_of(packed: np.ndarray, n: int | None = None) -> int:
    """N of packed Grams (..., N(N+1)/2), which must be `n` where that is given.

    Raises ValueError where the last axis is not N(N+1)/2 long.
    """
    length = packed.shape[-1]
    size = (math.isqrt(8 * length + 1) - 1) // 2 if n is None else n
    if size * (size + 1) // 2 != length:
        wanted = "N(N+1)/2 for some N" if n is None else f"{n * (n + 1) // 2} for n = {n}"
        raise ValueError(f"packed Gram: last axis has length {length}, must be {wanted}")
    return size


def square(gram: ArrayLike) -> np.ndarray:
    """A Gram as an array (..., N, N). Raises ValueError for another shape."""
    values = np.asarray(gram)
    if values.ndim < 2 or values.shape[-1] != values.shape[-2]:
        raise ValueError(f"Gram: shape {values.shape}, must be (..., N, N); unpack a packed one")
    return values
