"""Energies of all inputs and of parts of them, from a component store: what every error needs.

A *replicate* axis holds a statistic of all inputs (replicate 0), of the inputs without one document
each, and of both halves of each balanced split, so that any function of energies, paired across
arms, has its interval (abspos.statistics.energies.of_replicates).
Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS, Reading
from abspos.statistics import energies as statistics
from abspos.statistics.energies import Interval, of_replicates
from abspos.statistics.half_samples import SPLITS, in_first_half
from abspos.statistics.packing import pack, positions, symmetric

SUMMARIES = ("median", "mean")


def documents_of(store: xr.Dataset) -> np.ndarray | None:
    """Document labels (input), or None where every input is a document of its own."""
    labels = store["document"].values
    return None if len(np.unique(labels)) == len(labels) else labels


def by_document(values: np.ndarray, documents: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums (..., document) of per-input values (..., N), and how many inputs each document has.

    Documents stand in the order in which they first appear, as everywhere in
    abspos.statistics.energies: replicates of any two statistics leave out the same document.
    """
    if documents is None:
        return values, np.ones(values.shape[-1])
    codes, names = pd.factorize(documents)
    member = (codes[:, None] == np.arange(len(names))).astype(float)
    return values @ member, member.sum(0)


def gram_replicates(gram: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Energies (..., replicate) of Gram matrices (..., N, N)."""
    return np.asarray(statistics.replicates(gram, documents))


def no_halves(replicates: np.ndarray) -> np.ndarray:
    """(..., 1 + N) -> (..., R): what has no halves, so that its error is the jackknife's."""
    unknown = np.full((*replicates.shape[:-1], 2 * SPLITS), np.nan)
    return np.concatenate([replicates, unknown], axis=-1)


def margin_replicates(margins: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Energies (..., replicate) from row sums over other documents (..., N).

    Row sums do not give the energies of halves: those are NaN, which leaves the jackknife.
    """
    number = margins.shape[-1]
    margins, sizes = by_document(margins, documents)
    total = margins.sum(-1, keepdims=True)
    pairs = number**2 - (sizes**2).sum()
    without = (total - 2 * margins) / (pairs - 2 * sizes * (number - sizes))
    return no_halves(np.concatenate([total / pairs, without], axis=-1))


def mean_replicates(values: np.ndarray, documents: np.ndarray | None) -> np.ndarray:
    """Means (..., replicate) of per-input values (..., N)."""
    number = values.shape[-1]
    values, sizes = by_document(values, documents)
    total = values.sum(-1, keepdims=True)
    first = in_first_half(len(sizes))
    members = np.concatenate([first, ~first]).astype(float)
    counted = members @ sizes
    counted[counted == 0] = np.nan
    halved = values @ members.T / counted
    return np.concatenate([total / number, (total - values) / (number - sizes), halved], axis=-1)


def bin_columns(store: xr.Dataset, which: str) -> dict[str, Any]:
    """A bin of a component store as tables have it: ``bin``, and the ``window`` it lies beyond.

    Bins beyond windows are one name in tables, ``beyond``; the window of other bins is NaN.
    """
    window = store.attrs["beyond"].get(which)
    return {
        "bin": which if window is None else "beyond",
        "window": float("nan") if window is None else float(window),
    }


def stack(pieces: Mapping[tuple[str, str], np.ndarray]) -> xr.DataArray:
    """Replicates (layer, head, replicate) by (lens, component) as one labelled array.

    Returns:
        (lens, component, layer, head, replicate); NaN where a lens has no such component.
    """
    lenses, components = (list(dict.fromkeys(names)) for names in zip(*pieces, strict=True))
    shape = next(iter(pieces.values())).shape
    values = np.full((len(lenses), len(components), *shape), np.nan)
    for (lens, component), piece in pieces.items():
        values[lenses.index(lens), components.index(component)] = piece
    return xr.DataArray(
        values,
        dims=("lens", "component", "layer", "head", "replicate"),
        coords={"lens": lenses, "component": components},
    )


def pairs(array: xr.DataArray) -> list[tuple[str, str]]:
    """(lens, component) of an array in the tables' order, without what no table shows: the mask at
    a study's anchor, and what a lens does not have."""
    return [
        (str(lens), str(component))
        for lens, component in product(array["lens"].values, array["component"].values)
        if component != "anchored"
        and np.isfinite(array.sel(lens=lens, component=component)[0, 0, 0])
    ]


def read(store: xr.Dataset, bins: Iterable[str]) -> xr.Dataset:
    """What energies of some bins, products with another arm and losses need, in memory."""
    names = {"loss", "document", *(f"gram_{which}" for which in bins)}
    return store[[n for n in store if n in names or str(n).startswith("cross_")]].compute()


def restricted(store: xr.Dataset, inputs: np.ndarray) -> xr.Dataset:
    """A component store in memory on some of its inputs, as far as `read` reads it.

    Args:
        store: see read.
        inputs: their numbers, in that order, or which they are (input) bool.
    """
    where = np.arange(store.sizes["input"])[inputs]
    pair = pack(positions(store.sizes["input"])[where][:, where])
    return store.isel(input=where, input_reference=where, pair=pair, missing_dims="ignore")


def packed_grams(store: xr.Dataset, which: str) -> dict[tuple[str, str], np.ndarray]:
    """Packed Grams (layer, head, pair) of one bin by (lens, component), derived ones included.

    The parts of R are orthogonal, so the rest's Gram is R's less those of row and sink. The rest is
    the pattern in the log lens, and beyond windows, where all keys are ordinary, in both.
    """
    # Read once as it lies on disk: a chunk may hold several components.
    stored = store[f"gram_{which}"].compute().rename({f"component_{which}": "component"})
    return with_rest(
        {
            (str(lens), str(name)): stored.sel(lens=lens, component=name).values
            for lens, name in product(stored["lens"].values, stored["component"].values)
        }
    )


def with_rest(stored: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Grams, or linear functions of them, with the rest of R and the pattern of every lens.

    Args:
        stored: by lens and component, NaN where a lens has no such component.
    """
    found = {key: values for key, values in stored.items() if np.isfinite(values.flat[0])}
    split = any(component == "row" for _, component in found)
    for lens in dict.fromkeys(lens for lens, _ in found) if split else ():
        parts = [found[lens, p].astype(np.float64) for p in ("row", "sink") if (lens, p) in found]
        whole = found[lens, "residual"]
        found[lens, "rest"] = whole - sum(parts) if parts else whole
        found.setdefault((lens, "pattern"), found[lens, "rest"])
    return found


def of_reading(
    grams: Mapping[tuple[str, str], np.ndarray], lens: str, reading: Reading
) -> np.ndarray:
    """Grams of a reading, from those of components: its parts are orthogonal."""
    first, *others = (grams[lens, part] for part in reading.parts)
    return sum((other.astype(np.float64) for other in others), first)


def crossed_grams(store: xr.Dataset) -> dict[tuple[str, str], np.ndarray]:
    """Packed inner products (layer, head, pair) of an arm's early fields with its reference's.

    Of the two products of two inputs it is their mean, since energies are sums over both. By lens
    and the joint component of each reading; empty for an arm without a reference. Row, sink and
    rest of two arms are as orthogonal as those of one: in the log lens the pattern's is what R's
    is more than that of row and sink.
    """
    if "cross_log" not in store:
        return {}
    whole, sink, pattern = (reading.joint for reading in READINGS)
    found = {}
    for lens in LENSES:
        found[lens, whole] = symmetric(store[f"cross_{lens}"].values)
        found[lens, sink] = symmetric(store[f"cross_{lens}_sink"].values)
    found["log", pattern] = found["log", whole] - found["log", sink]
    found["probability", pattern] = symmetric(store["cross_probability_pattern"].values)
    return found


def margins(store: xr.Dataset) -> dict[tuple[str, str], np.ndarray]:
    """Row sums (query_bin, layer, head, input) of narrow bins by (lens, component), as
    packed_grams has them."""
    # Read as it lies on disk: a transposed array would be read number by number.
    stored = store["profile"].compute().transpose("lens", "profile_component", "query_bin", ...)
    found = with_rest(
        {
            (str(lens), str(name)): stored.sel(lens=lens, profile_component=name).values
            for lens, name in product(stored["lens"].values, stored["profile_component"].values)
        }
    )
    return {key: values.astype(np.float64) for key, values in found.items()}


def pooled(kinds: Iterable[str]) -> str:
    """Kinds of layers that a number is a mean over: one, or several joined by ``+``."""
    return "+".join(sorted(set(kinds)))


def by_kind(kinds: Iterable[str]) -> dict[str, np.ndarray]:
    """Layers to take a mean over, by what they are: all, and in hybrids those of each kind."""
    every = np.array(list(kinds))
    found = {pooled(every): np.arange(len(every))}
    return found | {str(name): np.flatnonzero(every == name) for name in sorted(set(every))}


def over_heads(replicates: xr.DataArray, summary: str) -> xr.DataArray:
    """A layer's summary: its median head, or the mean over its heads."""
    # A NaN of one head is one of all: numpy's median, many times as fast as one that skips NaN.
    return replicates.reduce(np.median if summary == "median" else np.mean, "head")


def over_model(replicates: xr.DataArray, summary: str) -> xr.DataArray:
    """A model's summary: the mean of its layers' summaries."""
    return over_heads(replicates, summary).mean("layer")


def replicate_interval(
    replicates: xr.DataArray | np.ndarray, confidence: float = 0.95, summary: str = "mean"
) -> Interval:
    """Interval of anything with a last axis ``replicate``.

    Args:
        replicates: of a number.
        confidence: level.
        summary: over heads; a median takes now this head, now that, and is not smooth.
    """
    if isinstance(replicates, xr.DataArray):
        replicates = replicates.transpose(..., "replicate").values
    return of_replicates(replicates, smooth=summary != "median", confidence=confidence)


def anchored_gram(denominator: np.ndarray, anchor: int, queries: Sequence[int]) -> np.ndarray:
    """Gram matrices (layer, head, input, input) of the mask at another anchor, log lens.

    Args:
        denominator: mean log Z_i of each input (layer, head, input, query).
        anchor: a in mask_i = log Z_a - log Z_i.
        queries: of the bin.
    """
    mask = denominator[..., anchor, None] - denominator[..., list(queries)]
    return mask @ mask.swapaxes(-1, -2) / mask.shape[-1]
