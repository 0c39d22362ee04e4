"""Energies, their intervals and tests, from Gram matrices alone (docs/method.md, section 3).

A Gram matrix G[n, m] = <X^n, Y^m> of one bin holds all that an energy and its error need: nothing
here touches an activation. Grams are arrays of shape (..., N, N) over N inputs; the leading axes
(layer, head, bin, ...) are carried along, and a DataArray keeps its labels there. All sums run in
float64, whatever the Gram's dtype. Energies carry the square of the field's unit: nats^2 in the log
lens, squared probability in the probability lens.

The unit of resampling is the document. `documents` (N,) labels the document of each input; left
out, every input is a document of its own. Inputs of one document never form a pair, and are
deleted or flipped together. Units stand in the order in which they first appear.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from abspos.documents import require_documents, unit_codes
from abspos.statistics.half_samples import SPLITS, energies_of_halves, half_variance
from abspos.statistics.packing import inputs_of, symmetric
from abspos.statistics.unit_sums import UnitSums, unit_sums

REPLICATE = "replicate"  # the trailing dimension that `leave_one_out` gives to a DataArray

Array = TypeVar("Array", np.ndarray, xr.DataArray)


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval: five arrays (or DataArrays) of one shape, float64.

    `freedom` is that of the t distribution, units less one. `influence` is the share of the
    influence variance that the five most influential units carry; above 0.5 the interval rests on
    a handful of inputs and is to be flagged.
    """

    estimate: Any
    low: Any
    high: Any
    se: Any
    influence: Any
    freedom: int


def _sums(packed: np.ndarray, documents: ArrayLike | None, least: int) -> UnitSums:
    codes, sizes = unit_codes(documents, inputs_of(packed))
    require_documents("energy", len(sizes), least)
    return unit_sums(packed, codes, sizes)


def energy(gram: Array, documents: ArrayLike | None = None) -> Array:
    """U-statistic sum_{n != m} G_nm / (N (N - 1)) of a Gram: (..., N, N) -> (...), float64.

    Unbiased for the inner product of the mean fields, so it can be negative; never clipped. The
    Gram of two arms (not symmetric) gives U(X, Y). With `documents` the sum and its denominator run
    over pairs from different documents. The diagonal is not read; NaN elsewhere propagates.
    Raises ValueError below 2 documents. Source: docs/method.md, section 3.
    """
    sums = _sums(symmetric(gram), documents, least=2)
    return relabel(sums.total[..., 0] / sums.pairs, gram)


def leave_one_out(gram: Array, documents: ArrayLike | None = None) -> Array:
    """Energies without one unit each, exactly: (..., N, N) -> (..., D), float64; D = N documents.

    With row sums r and column sums c off the diagonal, U_(-n) = (S - r_n - c_n) / ((N-1)(N-2)). A
    DataArray gets the trailing dimension "replicate". Several inputs of a document leave together,
    which makes D < N. Raises ValueError below 3 documents. Source: docs/method.md, section 3.
    """
    return relabel(_leave_one_out(_sums(symmetric(gram), documents, least=3)), gram, REPLICATE)


def _leave_one_out(sums: UnitSums) -> Float[np.ndarray, "*axes unit"]:
    sizes = sums.sizes
    return (sums.total - sums.margins) / (sums.pairs - 2 * sizes * (sizes.sum() - sizes))


def halves(gram: Array, documents: ArrayLike | None = None) -> Array:
    """Energies of both halves of each split: (..., N, N) -> (..., 2 SPLITS), float64.

    First halves of all splits, then second ones; NaN where a half has fewer than 2 documents. A
    DataArray gets the trailing dimension "replicate". Source: docs/method.md, section 3.
    """
    sums = _sums(symmetric(gram), documents, least=2)
    return relabel(_halves(sums), gram, REPLICATE)


def _halves(sums: UnitSums) -> Float[np.ndarray, "*axes half"]:
    return energies_of_halves(sums.margins, sums.classes, sums.sizes)


def replicates(gram: Array, documents: ArrayLike | None = None) -> Array:
    """Energies of all inputs, without one unit each, and of halves: (..., N, N) -> (..., R).

    A DataArray gets the trailing dimension "replicate". Raises ValueError below 3 documents.
    """
    return relabel(packed_replicates(symmetric(gram), documents), gram, REPLICATE)


def packed_replicates(
    packed: Float[np.ndarray, "*axes pair"], documents: ArrayLike | None = None
) -> Float[np.ndarray, "*axes replicate"]:
    """`replicates` of packed Grams (..., N(N+1)/2), see abspos.statistics.packing."""
    sums = _sums(packed, documents, least=3)
    whole = sums.total / sums.pairs
    return np.concatenate([whole, _leave_one_out(sums), _halves(sums)], axis=-1)


def interval(
    estimate: Array,
    left_out: Array,
    halved: Array | None = None,
    *,
    smooth: bool = False,
    confidence: float = 0.95,
) -> Interval:
    """t-interval of an estimate from balanced half-samples, or from the delete-one jackknife.

    estimate (...), left_out (..., N) without one unit each, halved (..., 2 SPLITS) as `halves`
    gives them -> Interval of (...). With A and B the halves of a split, of a and b units,

        se^2 = mean over splits of (a b / N^2) (theta_A - theta_B)^2   less, where `smooth`, half of
        the variance over splits of theta - (a theta_A + b theta_B) / N, at most a quarter of it

    (splits weigh a b, which makes the first exact for a mean) and theta +- t_{N-1} se. Without
    `halved`, or where one of a, b >= 2 is NaN, se^2 is the jackknife's ((N-1)/N) sum
    (theta_(-n) - mean)^2. NaN in left_out propagates.

    Raises ValueError for fewer than 2 of them or a confidence outside (0, 1).
    Source: docs/method.md, section 3.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1; give 0.95 for 95 %")
    values = np.asarray(left_out, dtype=np.float64)
    number = values.shape[-1]
    if number < 2:
        raise ValueError(f"jackknife: {number} replicates, needs at least 2; give more inputs")
    center = np.asarray(estimate, dtype=np.float64)
    # numpy's var divides by N, so (N-1)/N times the sum of squares is (N-1) var
    variance = (number - 1) * values.var(axis=-1)
    if halved is not None:
        by_half = half_variance(center, np.asarray(halved, dtype=np.float64), number, smooth)
        variance = np.where(np.isnan(by_half) | np.isnan(variance), variance, by_half)
    se = np.sqrt(variance)
    # Student's t; scipy.stats gives the same number and takes half a second to import
    reach = special.stdtrit(number - 1, (1 + confidence) / 2) * se
    fields = {
        "estimate": center,
        "low": center - reach,
        "high": center + reach,
        "se": se,
        "influence": influence(values),
    }
    if isinstance(estimate, xr.DataArray):
        fields = {name: estimate.copy(data=field) for name, field in fields.items()}
    return Interval(**fields, freedom=number - 1)


def of_replicates(values: Array, *, smooth: bool = False, confidence: float = 0.95) -> Interval:
    """Interval of a statistic along a last axis of replicates (..., 1 + N + 2 SPLITS) -> (...).

    All inputs, then without one unit each, then both halves of each split: see `interval`.
    """
    last = values.shape[-1] - 2 * SPLITS
    if last < 2:
        raise ValueError(
            f"replicates: {values.shape[-1]}, needs more than {2 * SPLITS + 1}; keep all"
        )
    return interval(
        values[..., 0],
        values[..., 1:last],
        values[..., last:],
        smooth=smooth,
        confidence=confidence,
    )


def paired(
    *grams: Array,
    statistic: Callable[..., Array] | None = None,
    smooth: bool = False,
    confidence: float = 0.95,
    documents: ArrayLike | None = None,
) -> Interval:
    """Interval of a function of energies, the arms paired by input.

    One Gram (..., N, N) without `statistic`: the interval of its energy. Otherwise `statistic(U_1,
    U_2, ...)` gets one array of energies per Gram with a trailing axis of replicates (see
    `of_replicates`), "replicate" in a DataArray. It must keep that axis and treat its replicates
    alike; any other axis may go:

        paired(swap, bos, statistic=lambda s, b: np.median(1 - s / b, axis=-2))   # arrays, heads
        paired(swap, bos, statistic=lambda s, b: (1 - s / b).median("head"))      # DataArrays

    Give ``smooth=True`` where no median or other choice between heads is made.

    Raises ValueError where the Grams differ in N, `statistic` loses the axis or is missing for
    several Grams, or there are fewer than 3 documents. Source: docs/method.md, section 3.
    """
    numbers = sorted({np.shape(gram)[-1] for gram in grams})
    if len(numbers) != 1:
        raise ValueError(f"paired: Grams over {numbers} inputs, must be one; pair the arms")
    if statistic is None and len(grams) != 1:
        raise ValueError(f"paired: {len(grams)} Grams, no statistic; give statistic=f(U_1, ...)")
    given = [replicates(gram, documents) for gram in grams]
    result = given[0] if statistic is None else statistic(*given)
    if isinstance(result, xr.DataArray):
        if REPLICATE not in result.dims:
            raise ValueError(f"paired: statistic lost {REPLICATE!r} of {result.dims}; keep it")
        result = result.transpose(..., REPLICATE)
    elif np.shape(result)[-1:] != given[0].shape[-1:]:
        raise ValueError(
            f"paired: statistic gave shape {np.shape(result)}, "
            f"its last axis must be the {given[0].shape[-1]} replicates it was given; keep it"
        )
    return of_replicates(result, smooth=smooth or statistic is None, confidence=confidence)


def jackknife(
    gram: Array, documents: ArrayLike | None = None, confidence: float = 0.95
) -> Interval:
    """Delete-one jackknife interval of the energy of a Gram: (..., N, N) -> Interval of (...).

    What `paired` gives for one Gram is nearly the same; this is the textbook one, to check against.
    Raises ValueError below 3 documents. Source: docs/method.md, section 3.
    """
    return interval(energy(gram, documents), leave_one_out(gram, documents), confidence=confidence)


def influence(left_out: Array, top: int = 5) -> Array:
    """Share of the influence variance that the `top` most influential units carry.

    left_out (..., N) -> (...) in [0, 1]; NaN where they do not vary at all.
    Source: docs/method.md, section 3 (flag above 0.5).
    """
    values = np.asarray(left_out, dtype=np.float64)
    squares = np.sort((values - values.mean(axis=-1, keepdims=True)) ** 2, axis=-1)
    total = squares.sum(axis=-1)
    carried = squares[..., -top:].sum(axis=-1)
    share = np.divide(carried, total, out=np.full_like(total, np.nan), where=total > 0)
    return relabel(share, left_out, dropped=1)


def benjamini_hochberg(p: Array) -> Array:
    """Benjamini-Hochberg adjusted p-values over all entries, any shape; NaN stays, uncounted.

    Raises ValueError for p outside [0, 1]. Source: docs/method.md, section 3 (over heads).
    """
    from scipy.stats import false_discovery_control  # slow to import, and tables alone need it

    return _adjust(p, lambda given: false_discovery_control(given, method="bh"))


def holm(p: Array) -> Array:
    """Holm adjusted p-values over all entries, any shape; NaN stays, uncounted.

    Raises ValueError for p outside [0, 1]. Source: docs/method.md, section 3 (over claims).
    """

    def step_down(given: np.ndarray) -> np.ndarray:
        order = np.argsort(given)
        adjusted = np.empty_like(given)
        adjusted[order] = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
        return adjusted.clip(max=1.0)

    return _adjust(p, step_down)


def slope(x: ArrayLike, y: Array, axis: int | str = -1) -> Array:
    """Least-squares slope of y on x: x (L,), y (..., L) along `axis` -> (...), float64.

    `axis` may name a dimension of a DataArray. In units of y per unit of x; NaN in y propagates.
    Raises ValueError where lengths differ or x does not vary. Source: docs/method.md, section 5.
    """
    along = np.asarray(x, dtype=np.float64)
    labelled = y if isinstance(y, xr.DataArray) else None
    if isinstance(axis, str):
        if labelled is None:
            raise ValueError(f"slope: axis {axis!r} of an array without names; give its number")
        axis = labelled.dims.index(axis)
    values = np.moveaxis(np.asarray(y, dtype=np.float64), axis, -1)
    if along.shape != values.shape[-1:]:
        raise ValueError(f"slope: x has shape {along.shape}, must be {values.shape[-1:]} as y")
    centered = along - along.mean()
    spread = centered @ centered
    if not spread > 0:
        raise ValueError(f"slope: x = {along.tolist()} does not vary; give 2 distinct values")
    result: np.ndarray = values @ (centered / spread)
    if labelled is not None:
        return labelled.isel({labelled.dims[axis]: 0}, drop=True).copy(data=result)
    return result


def relabel(values: np.ndarray, like: Array, *new: str, dropped: int = 2) -> Array:
    """Give values the labels of `like` less its last `dropped` dimensions, plus new dimensions."""
    if not isinstance(like, xr.DataArray):
        return values
    kept: tuple[Hashable, ...] = like.dims[: like.ndim - dropped]
    coords = {name: c for name, c in like.coords.items() if set(c.dims) <= set(kept)}
    return xr.DataArray(values, dims=(*kept, *new), coords=coords, name=like.name)


def _adjust(p: Array, method: Callable[[np.ndarray], np.ndarray]) -> Array:
    values = np.array(p, dtype=np.float64)
    known = ~np.isnan(values)
    if not ((values[known] >= 0) & (values[known] <= 1)).all():
        wrong = values[known][(values[known] < 0) | (values[known] > 1)][0]
        raise ValueError(f"p-value: {wrong} lies outside [0, 1]; give p-values, NaN for none")
    if known.any():
        values[known] = method(values[known])
    return relabel(values, p, dropped=0)
