"""Sums over the pairs of a Gram matrix: all that energies of any part of the inputs need.

An energy without one unit, or of one half of the units, is linear in the entries of the Gram. Which
entry counts where is a sparse matrix, made once for all heads of all arms.
Source: docs/method.md, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy import sparse

from abspos.statistics.half_samples import ORDER


@dataclass(frozen=True)
class UnitSums:
    """Sums over ordered pairs of inputs that stand in different units, float64.

    Attributes:
        margins: of the pairs with each unit, on either side (..., unit).
        classes: of the pairs by the XOR of both units' numbers, modulo ORDER (..., ORDER).
        sizes: inputs of each unit (unit).
    """

    margins: Float[np.ndarray, "*axes unit"]
    classes: Float[np.ndarray, "*axes order"]
    sizes: Float[np.ndarray, " unit"]

    @property
    def total(self) -> Float[np.ndarray, "*axes 1"]:
        """Sum over all pairs."""
        return self.margins.sum(axis=-1, keepdims=True) / 2

    @property
    def pairs(self) -> float:
        """Number of pairs."""
        return float(self.sizes.sum() ** 2 - (self.sizes**2).sum())


def unit_sums(
    packed: Float[np.ndarray, "*axes pair"], codes: np.ndarray, sizes: np.ndarray
) -> UnitSums:
    """Sums of packed Gram matrices by unit and by XOR of units.

    What stands within a unit is not read, NaN included.

    Args:
        packed: upper triangles with diagonal (..., N(N+1)/2), see abspos.statistics.packing.pack.
        codes: number of each input's unit (N,).
        sizes: inputs of each unit.
    """
    found = sums_by(_by_unit(codes.astype(np.intp).tobytes()), packed)
    margins, classes = np.split(found, [len(sizes)], axis=-1)
    return UnitSums(margins, classes, sizes)


def sums_by(
    members: sparse.csc_array, packed: Float[np.ndarray, "*axes pair"]
) -> Float[np.ndarray, "*axes group"]:
    """Sums of entries by group, float64.

    Args:
        members: how often an entry counts in a group (group, pair).
        packed: entries.
    """
    flat = packed.reshape(-1, packed.shape[-1])
    return np.ascontiguousarray((members @ flat.T).T).reshape(*packed.shape[:-1], -1)


@lru_cache(maxsize=16)
def _by_unit(codes: bytes) -> sparse.csc_array:
    """Membership of entries in units, then in classes of XOR; see unit_sums."""
    unit = np.frombuffer(codes, dtype=np.intp)
    entry, first, second = between(unit)
    first, second, units = unit[first], unit[second], 1 + unit.max()
    group = np.concatenate([first, second, units + (first ^ second) % ORDER])
    return membership(np.tile(entry, 3), group, units + ORDER, len(unit))


def between(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries of a packed Gram that are of two different units, and both inputs of each.

    Args:
        codes: number of each input's unit (N,).
    """
    rows, columns = np.triu_indices(len(codes))
    entry = np.flatnonzero(codes[rows] != codes[columns])
    return entry, rows[entry], columns[entry]


def membership(entry: np.ndarray, group: np.ndarray, groups: int, number: int) -> sparse.csc_array:
    """Membership (group, pair) of entries of packed Grams over ``number`` inputs in groups.

    Each counts twice, for it stands for two ordered pairs.
    """
    shape = (groups, number * (number + 1) // 2)
    return sparse.csc_array((np.full(len(entry), 2.0), (group, entry)), shape=shape)
