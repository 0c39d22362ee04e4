"""One arm under another choice than the study's, from its component store.

Source: docs/method.md, section 5 (sensitivity).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from abspos.components.readings import READINGS
from abspos.statistics import replicates as sl
from abspos.statistics.energies import packed_replicates
from abspos.statistics.store import ArmReplicates

#: Components that claims are judged on.
CHOSEN = ("mask", *(part for reading in READINGS for part in reading.parts))


def unchanged(store: xr.Dataset, own: ArmReplicates) -> ArmReplicates:
    """The study's own replicates."""
    return own


def other_early(store: xr.Dataset, own: ArmReplicates, stop: int) -> ArmReplicates:
    """An arm with queries 1 to ``stop`` - 1 as the early bin, from the row sums of narrow bins.

    The inner product of a bin is the mean over its queries, so narrow bins count by theirs.
    Inner products with another arm are stored for the study's own bin alone: they are NaN here.
    """
    edges = store["query_edges"].values
    inside = edges[:, 1] <= stop
    if edges[inside][-1, 1] != stop:
        raise ValueError(f"early bin: no narrow bin of queries ends at {stop - 1}")
    queries = store["query"].values  # not all of them, in long inputs
    held = [((first <= queries) & (queries < end)).sum() for first, end in edges]
    share = np.array(held * inside, dtype=np.float64)
    documents = sl.documents_of(store)
    early = sl.stack(
        {
            key: sl.margin_replicates(np.tensordot(share / share.sum(), rows, 1), documents)
            for key, rows in sl.margins(store).items()
            if key[1] in CHOSEN
        }
    )
    bins = {**own.bins, "early": early}
    if "cross" in bins:
        bins["cross"] = xr.full_like(bins["cross"], np.nan)
    return replace(own, bins=bins)


def other_anchor(store: xr.Dataset, own: ArmReplicates, anchor: int) -> ArmReplicates:
    """An arm whose mask, in the log lens, is set to zero at another query."""
    first, stop = store.attrs["bins"]["early"]
    denominator = store["denominator"].values.astype(np.float64)
    gram = sl.anchored_gram(denominator, anchor, range(first, stop))
    early = own.bins["early"].copy(deep=True)
    early.loc["log", "mask"] = sl.gram_replicates(gram, sl.documents_of(store))
    return replace(own, bins={**own.bins, "early": early})


def some_inputs(store: xr.Dataset, own: ArmReplicates, kept: np.ndarray) -> ArmReplicates:
    """An arm on some of the inputs: every bin, the cross-arm products, the loss. The crossed design
    is measured on them and chooses its heads on all others.

    Args:
        store: the arm's component store, of these inputs alone (see replicates.restricted).
        own: its replicates.
        kept: which of all inputs they are (input) bool.

    Raises:
        ValueError: the store has another number of inputs.
    """
    number = int(kept.sum())
    if store.sizes["input"] != number:
        raise ValueError(f"component store: {store.sizes['input']} inputs, must be {number}")
    documents = sl.documents_of(store)
    bins = {
        which: sl.stack(
            {
                key: packed_replicates(packed, documents)
                for key, packed in sl.packed_grams(store, which).items()
                if key[1] in CHOSEN
            }
        )
        for which in judged_bins(store)
    }
    crossed = sl.crossed_grams(store)
    if crossed:
        found = {key: packed_replicates(packed, documents) for key, packed in crossed.items()}
        bins["cross"] = sl.stack(found)
    loss = sl.mean_replicates(store["loss"].values.astype(np.float64), documents)
    return replace(
        own,
        facts=own.facts | {"inputs": number},
        bins=bins,
        loss=xr.DataArray(loss, dims="replicate"),
        writes=None if own.writes is None else own.writes.assign(measured=("input", kept)),
    )


def judged_bins(store: xr.Dataset) -> list[str]:
    """The bins of a component store that claims are judged on."""
    return [which for which in store.attrs["bins"] if which != "late"]
