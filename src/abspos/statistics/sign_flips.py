"""The sign-flip test of energy > 0, from Gram matrices alone (docs/method.md, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import sparse

from abspos.documents import require_documents, unit_codes
from abspos.statistics.energies import Array, relabel
from abspos.statistics.packing import inputs_of, symmetric
from abspos.statistics.unit_sums import between, membership, sums_by

BLOCK_BYTES = 2**21  # of Grams, or of flips, per step: what a cache holds
#: Pairs of units up to which products of all signs are held, in which quadratic forms are one
#: product of matrices; of more pairs they would be read from memory for every step.
FEW_PAIRS = 2**13


def sign_flip_p(
    gram: Array, flips: int = 10_000, seed: int = 0, documents: ArrayLike | None = None
) -> Array:
    """One-sided sign-flip p-value of energy > 0: (..., N, N) -> (...), float64, at least 1 / flips.

    Under the null the fields are symmetric about zero, so sum_{n != m} e_n e_m G_nm has one law for
    every choice of signs e. The signs are the same for all leading axes and depend on `seed`,
    `flips` and the number of documents alone; inputs of one document flip together.

    *Product flips*: the units are split into two halves, K = ceil(sqrt(flips)) sign vectors a_i are
    drawn for the first and K vectors b_j for the second, a_0 = b_0 = 1, and all K^2 combinations
    are taken: T_ij = a_i'G11 a_i + b_j'G22 b_j + a_i'(G12 + G21') b_j. That is many times cheaper
    than K^2 separate flips and as exact: under the null G may be flipped by random signs first,
    which makes a_0 and b_0 random draws like the others; T is then row- and column-exchangeable,
    so T_00 is as likely to have any rank as another cell, and p = #{T_ij >= T_00} / K^2 is valid.
    (Cells share their rows and columns, so p has more Monte-Carlo noise than with separate flips:
    a standard deviation of about 0.01 at p = 0.05 with 10 000 flips.)

    Ties within rounding count against the energy: a Gram of zeros has p = 1. NaN propagates.
    Raises ValueError for flips < 1 or below 2 documents. Source: docs/method.md, section 3.
    """
    return relabel(packed_sign_flip_p(symmetric(gram), flips, seed, documents), gram)


def packed_sign_flip_p(
    packed: Float[np.ndarray, "*axes pair"],
    flips: int = 10_000,
    seed: int = 0,
    documents: ArrayLike | None = None,
) -> Float[np.ndarray, "*axes"]:
    """`sign_flip_p` of packed Grams (..., N(N+1)/2), see abspos.statistics.packing."""
    signs = _signs(inputs_of(packed), flips, seed, documents)
    heads = packed.reshape(-1, packed.shape[-1])
    block = max(1, BLOCK_BYTES // (8 * max(heads.shape[-1], signs.flips)))
    p = np.empty(len(heads))
    for start in range(0, len(heads), block):
        within = slice(start, start + block)
        p[within] = _product_flip_p(signs.between_units(heads[within]), signs)
    return p.reshape(packed.shape[:-1])


def sign_flip_summary_p(
    packed: Float[np.ndarray, "layer head pair"],
    summary: Callable[[np.ndarray], np.ndarray],
    flips: int = 10_000,
    seed: int = 0,
    documents: ArrayLike | None = None,
) -> float:
    """One-sided sign-flip p-value of a summary of energies, such as a mean of medians, > 0.

    Args:
        packed: Grams (layer, head, N(N+1)/2), see abspos.statistics.packing.
        summary: takes energies, up to one factor, (head, cell) of one layer to (cell).
        flips, seed, documents: as in sign_flip_p, whose signs are the same.

    The signs are the same for all heads, so the summary's flipped values are as exchangeable as
    an energy's. A model is the mean of its layers. Source: docs/method.md, section 3.
    """
    signs = _signs(inputs_of(packed), flips, seed, documents)
    total, slack = np.zeros(signs.flips), 0.0
    for layer in packed:
        sums = signs.between_units(layer)
        flipped, own = signs.flipped(sums)
        flipped += own[:, None, :]
        total += summary(flipped.reshape(len(layer), -1))
        slack += float(_slack(sums).max())
    return float("nan") if np.isnan(total[0]) else float((total >= total[0] - slack).mean())


@dataclass(frozen=True)
class Signs:
    """Sign vectors of both halves of the units, the first of each all ones.

    Attributes:
        first: of the first half (K, half).
        second: of the others (K, others).
        members: entries of packed Grams in sums between two units (pair of units, pair): both units
            in the first half, both in the second, one in each (half, others). Where each sum has
            one entry, these entries, which are taken several times as fast as they are summed.
    """

    first: np.ndarray
    second: np.ndarray
    members: sparse.csc_array | np.ndarray

    @property
    def flips(self) -> int:
        """Combinations of two vectors, K^2."""
        return len(self.first) * len(self.second)

    def between_units(self, packed: np.ndarray) -> Float[np.ndarray, "head pair_of_units"]:
        """Sums of packed Grams (head, pair) over two units, up to a factor.

        What stands within a unit is not read, NaN included.
        """
        if isinstance(self.members, np.ndarray):
            return packed.take(self.members, axis=-1).astype(np.float64, copy=False)
        return sums_by(self.members, packed)

    def flipped(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T_ij (head, K, K) less its term b_j'G22 b_j, and that term (head, K), up to a factor.

        a_i'G11 a_i joins the product over units as a further one, whose sign is 1.
        """
        half, others = self.first.shape[1], self.second.shape[1]
        own = np.split(sums, np.cumsum([half * (half - 1) // 2, others * (others - 1) // 2]), -1)
        left = np.empty((len(sums), len(self.first), others + 1))
        left[..., :others] = self.first @ own[2].reshape(-1, half, others)
        left[..., others] = self.quadratic(0, own[0])
        right = np.vstack([self.second.T, np.ones(len(self.second))])
        flipped = left.reshape(-1, others + 1) @ right
        return flipped.reshape(len(sums), len(self.first), -1), self.quadratic(1, own[1])

    def quadratic(self, which: int, sums: np.ndarray) -> Float[np.ndarray, "head sign"]:
        """Sums of a_n a_m S_nm over two units of one half, of sums S (head, pair of units)."""
        if sums.shape[1] <= FEW_PAIRS:
            return sums @ self.of_pairs[which]
        signs = (self.first, self.second)[which]
        upper = np.zeros((len(sums), signs.shape[1], signs.shape[1]))
        rows, columns = np.triu_indices(signs.shape[1], 1)
        upper[:, rows, columns] = sums
        return np.einsum("hku,ku->hk", signs @ upper, signs)

    @cached_property
    def of_pairs(self) -> list[np.ndarray]:
        """Products of the signs of two units of one half (pair of units, K), for each half."""
        found = []
        for signs in (self.first, self.second):
            rows, columns = np.triu_indices(signs.shape[1], 1)
            found.append(np.ascontiguousarray((signs[:, rows] * signs[:, columns]).T))
        return found


def _signs(size: int, flips: int, seed: int, documents: ArrayLike | None) -> Signs:
    """The signs of Grams over so many inputs; ValueError for flips < 1 or below 2 documents."""
    if flips < 1:
        raise ValueError(f"flips: {flips} is not a positive number; give 10000")
    codes, sizes = unit_codes(documents, size)
    units = len(sizes)
    require_documents("sign flips", units, 2)
    side = math.isqrt(flips - 1) + 1
    draw = np.random.default_rng(seed)
    half = units // 2
    first, second = (draw.choice([-1.0, 1.0], size=(side, k)) for k in (half, units - half))
    first[0], second[0] = 1.0, 1.0
    return Signs(first, second, _members(codes.astype(np.intp).tobytes()))


@lru_cache(maxsize=16)
def _members(codes: bytes) -> sparse.csc_array | np.ndarray:
    """Membership of entries in sums between two units; see Signs."""
    unit = np.frombuffer(codes, dtype=np.intp)
    units = 1 + int(unit.max())
    half = units // 2
    of_first, of_second = np.triu_indices(half, 1), np.triu_indices(units - half, 1)
    rows, columns = np.divmod(np.arange(half * (units - half)), units - half)
    group = np.empty((units, units), dtype=np.intp)
    one = np.concatenate([of_first[0], of_second[0] + half, rows])
    other = np.concatenate([of_first[1], of_second[1] + half, columns + half])
    group[one, other] = group[other, one] = np.arange(len(one))
    entry, n, m = between(unit)
    which = group[unit[n], unit[m]]
    if units == len(unit):
        return entry[np.argsort(which)]
    return membership(entry, which, len(one), len(unit))


def _slack(sums: np.ndarray) -> np.ndarray:
    """What counts as a tie (head): rounding grows with the terms, not with their sum, which can
    cancel to nothing."""
    return 1e-12 * np.abs(sums).sum(axis=-1)


def _product_flip_p(sums: np.ndarray, signs: Signs) -> np.ndarray:
    """p (head) of sums between units (head, pair of units)."""
    flipped, own = signs.flipped(sums)
    level = flipped[:, 0, 0] + own[:, 0] - _slack(sums)
    reached = flipped >= (level[:, None] - own)[:, None, :]
    p = np.array([np.count_nonzero(head) for head in reached]) / signs.flips
    return np.where(np.isnan(level), np.nan, p)
