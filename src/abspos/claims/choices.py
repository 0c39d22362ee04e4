"""The claims under other choices, from the component stores of one study: no new forward pass.

Each choice replaces slots of the study's evidence by those of another early bin, another anchor or
some of the inputs; the functions that judge the claims are the study's own.
Source: docs/method.md, section 5 (sensitivity).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from abspos.arrays import open_dataset
from abspos.claims.evidence import LENSES, Evidence, Row
from abspos.claims.readers import fingerprint
from abspos.claims.table import bos_swap, both_present, ntk_suppresses, window_accumulates
from abspos.csv_tables import write_csv
from abspos.documents import holdout
from abspos.progress import progress
from abspos.statistics import replicates as sl
from abspos.statistics.arm_tables import stack
from abspos.statistics.store import named

#: Other ends of the early bin, and other anchors, as far as the inputs are long enough.
EARLY, ANCHORS = (16, 32, 64), (15, 31, 47, 63)
#: Of fewer inputs no choice is judged.
FEWEST = 8

COLUMNS = [
    "choice",
    "claim",
    "model",
    "revision",
    "arms",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "verdict",
    "n_inputs",
]

Slots = dict[str, xr.DataArray]
Claim = Callable[[Evidence], Iterator[Row]]


@dataclass(frozen=True)
class Choice:
    """One choice other than the study's.

    Attributes:
        name: as tables show it.
        slots: of a component store, what replaces the study's own, by bin.
        claims: whose numbers it can change.
        inputs: which inputs it keeps (input) bool; None: all.
    """

    name: str
    slots: Callable[[xr.Dataset], Slots]
    claims: tuple[Claim, ...]
    inputs: np.ndarray | None = None


def early_slots(store: xr.Dataset, stop: int) -> Slots:
    """Slots of queries 1 to ``stop`` - 1 as the early bin, from the row sums of narrow bins.

    The inner product of a bin is the mean over its queries, so narrow bins count by theirs.
    Inner products with another arm are kept for the study's own bin alone: they are NaN here.
    """
    profile = store["profile"]
    edges = np.array([[int(x) for x in str(n).split("-")] for n in profile["query_bin"].values])
    inside = edges[:, 1] < stop
    if edges[inside][-1, 1] != stop - 1:
        raise ValueError(f"early bin: no narrow bin of queries ends at {stop - 1}")
    queries = store["query"].values  # not all of them, in long inputs
    held = [((first <= queries) & (queries <= last)).sum() for first, last in edges]
    width = xr.DataArray(held * inside, dims="query_bin")
    documents = sl.documents_of(store)
    whole = (profile.astype(np.float64) * width).sum("query_bin") / float(width.sum())
    pieces = {
        (lens, component): sl.margin_slots(
            whole.sel(lens=lens, profile_component=component)
            .transpose("layer", "head", "input")
            .values,
            documents,
        )
        for lens in LENSES
        for component in ("mask", "residual")
    }
    early = stack(pieces)
    return {"early": early, "cross": early.where(False)}


def bin_slots(store: xr.Dataset, which: str, kept: np.ndarray) -> xr.DataArray:
    """Slots of mask and R in one bin, of some of the inputs (input) bool."""
    packed = sl.packed_grams(store, which)
    return stack(
        {
            key: sl.gram_slots(
                sl.full_gram(packed[key], store.sizes["input"])[..., kept, :][..., kept],
                documents_among(store, kept),
            )
            for key in packed
            if key[1] in ("mask", "residual")
        }
    )


def documents_among(store: xr.Dataset, kept: np.ndarray) -> np.ndarray | None:
    """Document labels of some inputs, or None where each is a document of its own."""
    return sl.documents_of(store.isel(input=np.flatnonzero(kept)))


def anchored_slots(store: xr.Dataset, anchor: int) -> Slots:
    """Slots of the study's early bin, the mask of the log lens set to zero at another query."""
    first, stop = store.attrs["bins"]["early"]
    denominator = store["denominator"].values.astype(np.float64)
    gram = sl.anchored_gram(denominator, anchor, range(first, stop))
    early = bin_slots(store, "early", np.ones(store.sizes["input"], dtype=bool))
    early.loc["log/mask"] = sl.gram_slots(gram, sl.documents_of(store))
    return {"early": early}


def some_slots(store: xr.Dataset, kept: np.ndarray) -> Slots:
    """Slots of some of the inputs (input) bool: every bin, the cross-arm products, the loss."""
    bins = [name for name in sl.bin_names(store) if name != "late"]
    found = {which: bin_slots(store, which, kept) for which in bins}
    documents = documents_among(store, kept)
    if "cross_log" in store:
        cross = {
            (lens, "residual"): sl.gram_slots(
                store[f"cross_{lens}"].values[..., kept, :][..., kept].astype(np.float64), documents
            )
            for lens in LENSES
        }
        found["cross"] = stack(cross)
    loss = sl.mean_slots(store["loss"].values[kept].astype(np.float64), documents)
    return found | {"loss": xr.DataArray(loss, dims="slot")}


def own_slots(store: xr.Dataset) -> Slots:
    """None: the study's own slots stay."""
    return {}


def exchanged_fingerprint(evidence: Evidence) -> Iterator[Row]:
    """Fingerprint with the halves exchanged that choose and measure sink readers."""
    yield from fingerprint(evidence, exchanged=True)


def choices_of(bos: xr.Dataset, sources: Sequence[str], seed: int) -> list[Choice]:
    """Choices that a study's inputs allow.

    Args:
        bos: a component store with all inputs of the study.
        sources: which text of the corpus each input is from (input).
        seed: of the split into halves.
    """
    half = bos.attrs["length"] // 2
    stop = bos.attrs["bins"]["early"][1]
    energies = (both_present, ntk_suppresses, bos_swap)
    found = [
        Choice(f"early {end}", partial(early_slots, stop=end), energies)
        for end in EARLY
        if end != stop and end <= half
    ]
    found += [
        Choice(f"anchor {a}", partial(anchored_slots, anchor=a), (both_present,))
        for a in ANCHORS
        if a < half - 1
    ]
    found.append(Choice("halves exchanged", own_slots, (exchanged_fingerprint,)))
    every = (*energies, window_accumulates)
    one, other = holdout(bos.sizes["input"], seed, bos["document"].values)
    parts = {"half 1": one, "half 2": other}
    names = list(dict.fromkeys(sources))
    if len(names) > 1:
        parts |= {f"source {name}": np.array(sources) == name for name in sorted(names)}
    found += [
        Choice(name, partial(some_slots, kept=kept), every, kept)
        for name, kept in parts.items()
        if kept.sum() >= FEWEST
    ]
    return found


def altered(evidence: Evidence, choice: Choice, stores: Mapping[str, xr.Dataset]) -> Evidence:
    """The evidence of the arms in ``stores`` with one choice changed."""
    data: dict[str, xr.DataArray] = {}
    facts: dict[str, Any] = {}
    for arm, store in stores.items():
        data |= named(arm, choice.slots(store))
        facts[arm] = dict(evidence.facts[arm])
        if choice.inputs is not None:
            facts[arm]["inputs"] = int(choice.inputs.sum())
    if choice.inputs is None:  # what the choice leaves alone; of some inputs all is new
        own = evidence.data
        names = [str(name) for name in own.data_vars]
        data |= {n: own[n] for n in names if n not in data and n.rsplit(":", 1)[0] in facts}
    return replace(evidence, data=xr.Dataset(data, attrs={"facts": facts}))


def judged(evidence: Evidence, choice: Choice, stores: Mapping[str, xr.Dataset]) -> list[Row]:
    """Rows of the claims that a choice can change, each with a verdict: of the median head, or of
    no summary over heads."""
    changed = altered(evidence, choice, stores)
    rows = [row for claim in choice.claims for row in claim(changed)]
    rows = [row for row in rows if row["verdict"] and row.get("summary") in ("median", "")]
    if choice.claims == (both_present,):
        rows = [row for row in rows if (row["number"], row["lens"]) == ("mask energy", "log")]
    return [row | {"choice": choice.name} for row in rows]


def choose(
    stores: Sequence[Path],
    manifests: Sequence[Path],
    slots: Path,
    slots_manifest: Path,
    inputs: Path,
    table: Path,
    *,
    arms: Sequence[tuple[str, str]],
    model: str,
    revision: str,
    variants: Mapping[str, Mapping[str, Any]],
    swap_tokens: Sequence[str],
    confidence: float,
    seed: int,
    threads: int,
    base: str = "bos",
) -> None:
    """Write the claims of one model and revision under every other choice.

    Args:
        stores: component stores, one per arm, and their manifests.
        slots: the study's own slots of this model, and their manifest.
        inputs: store of its windows.
        table: a CSV of rows as in claims.csv, with the column ``choice``.
        arms: (variant, condition) of each store.
        model: its name.
        revision: of the model.
        variants: the config's variants by name.
        swap_tokens: texts of the listed replacements.
        confidence: level of the intervals.
        seed: of the split into halves.
        threads: choices judged at the same time.
        base: what stands at position 0 where a claim names nothing else: ``bos`` or ``no-bos``.

    Raises:
        StoreError: a store is missing or altered.
    """
    windows = open_dataset(inputs)
    evidence = Evidence(
        open_dataset(slots, slots_manifest),
        windows["tokens"].values[:, 0],
        swap_tokens,
        variants,
        confidence,
        seed,
        base,
    )
    names = [f"{variant}:{condition}" for variant, condition in arms]
    opened = {
        name: open_dataset(store, manifest)
        for name, store, manifest in zip(names, stores, manifests, strict=True)
        if evidence.has(name)
    }
    first = next(iter(opened.values()))
    # An arm on some of the inputs has the first of them.
    sources = windows.attrs["sources"][: first.sizes["input"]]
    found = choices_of(first, sources, seed)
    with threadpool_limits(1), ThreadPoolExecutor(max_workers=threads) as pool:
        done = pool.map(lambda choice: judged(evidence, choice, opened), found)
        label = f"{model} {revision}: choices"
        rows = [row for part in progress(done, len(found), label, "choices") for row in part]
    frame = pd.DataFrame(rows).assign(model=model, revision=revision).reindex(columns=COLUMNS)
    write_csv(frame, Path(table))
