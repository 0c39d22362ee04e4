"""The claims under other choices, from the component stores of one study: no new forward pass.

Each choice replaces replicates of the study's evidence by those of another early bin, another
anchor or some of the inputs; the functions that judge the claims are the study's own.
Source: docs/method.md, section 5 (sensitivity).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from abspos.claims import registry
from abspos.claims.alterations import (
    judged_bins,
    other_anchor,
    other_early,
    some_inputs,
    unchanged,
)
from abspos.claims.evidence import Evidence
from abspos.claims.exchanges import DECIDING, Exchanges, exchanges_of, replicates_among
from abspos.claims.multiplicity import at_levels, claim_rows
from abspos.claims.registry import ChoiceKind
from abspos.claims.rows import SPREAD, WANTED, Row
from abspos.claims.sources import ONE, key_of, over_sources
from abspos.claims.verdicts import NOT_TESTABLE
from abspos.csv_tables import write_csv
from abspos.documents import holdout
from abspos.progress import progress
from abspos.statistics import replicates as sl
from abspos.statistics.arm_tables import ANCHORS
from abspos.statistics.store import Arm, ArmReplicates, open_replicates

#: Other ends of the early bin, as far as the inputs are long enough.
EARLY = (16, 32, 64)
#: What a number of a claim is known by, apart from its lens, summary and reading.
NUMBER = ("claim", "arms", "number", "kind")
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
    "reading",
    "kind",
]


@dataclass(frozen=True)
class Choice:
    """One choice other than the study's.

    Attributes:
        name: as tables show it.
        kind: decides which claims are judged under it (abspos.claims.registry).
        alter: what it makes of an arm, from its component store and its own replicates.
        lenses: in which it changes anything; None: in all, and in numbers without a lens.
        kept: the inputs (input) bool, where it is on some of them.
    """

    name: str
    kind: ChoiceKind
    alter: Callable[[xr.Dataset, ArmReplicates], ArmReplicates] = unchanged
    lenses: tuple[str, ...] | None = None
    kept: np.ndarray | None = None


def choices_of(bos: xr.Dataset, sources: Sequence[str], seed: int) -> list[Choice]:
    """Choices that a study's inputs allow.

    Args:
        bos: a component store with all inputs of the study.
        sources: which text of the corpus each input is from (input).
        seed: of the split into halves.
    """
    half = bos.attrs["length"] // 2
    stop = bos.attrs["bins"]["early"][1]
    found = [
        Choice(f"early {end}", "early bin", partial(other_early, stop=end))
        for end in EARLY
        if end != stop and end <= half
    ]
    found += [
        Choice(f"anchor {a}", "anchor", partial(other_anchor, anchor=a), lenses=("log",))
        for a in ANCHORS
        if a < half - 1
    ]
    found += [
        Choice(name, "inputs", partial(some_inputs, kept=kept), kept=kept)
        for name, kept in parts_of(bos, sources, seed).items()
        if kept.sum() >= FEWEST
    ]
    return found


def parts_of(bos: xr.Dataset, sources: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Some of the inputs (input) bool, by name: either half, and those of each text of several."""
    one, other = holdout(bos.sizes["input"], seed, bos["document"].values)
    names = sorted(set(sources))
    by_source = {f"{ONE}{name}": np.array(sources) == name for name in names}
    return {"half 1": one, "half 2": other} | (by_source if len(names) > 1 else {})


def altered(
    evidence: Evidence,
    choice: Choice,
    stores: Iterable[tuple[Arm, xr.Dataset]],
    exchanges: Exchanges | None,
) -> Evidence:
    """The evidence of some arms under one choice.

    Args:
        evidence: of the study.
        choice: any.
        stores: component stores of the arms, on the inputs of the choice.
        exchanges: those that decide sink-readers, if the study has them.
    """
    arms = {arm: choice.alter(store, evidence.arms[arm]) for arm, store in stores}
    if choice.kept is not None and exchanges:
        chosen = choice.kept[exchanges.numbers]
        if chosen.sum() >= FEWEST:
            view = partial(replicates_among, kept=chosen, documents=exchanges.documents)
            arms = exchanges.joined(arms, view, int(chosen.sum()))
    return replace(evidence, arms=arms)


def on_inputs(choice: Choice, stores: Mapping[Arm, xr.Dataset]) -> Iterator[tuple[Arm, xr.Dataset]]:
    """Component stores on the inputs of a choice, of which one is in memory at a time."""
    for arm, store in stores.items():
        if choice.kept is None:
            yield arm, store
        else:
            yield arm, sl.restricted(sl.read(store, judged_bins(store)), choice.kept)


def on_few_inputs(
    choices: Sequence[Choice], stores: Mapping[Arm, xr.Dataset]
) -> dict[str, dict[Arm, xr.Dataset]]:
    """Component stores in memory by choice, on its inputs: all stores are read once.

    For choices of few inputs each, since Gram matrices grow with the square of their number.
    """
    found: dict[str, dict[Arm, xr.Dataset]] = {choice.name: {} for choice in choices}
    for arm, store in stores.items():
        read = sl.read(store, judged_bins(store))
        for choice in choices:
            assert choice.kept is not None
            found[choice.name][arm] = sl.restricted(read, choice.kept)
    return found


def judged(
    evidence: Evidence,
    choice: Choice,
    stores: Iterable[tuple[Arm, xr.Dataset]],
    exchanges: Exchanges | None,
    levels: Mapping[str, float],
) -> list[Row]:
    """Rows of the numbers that a choice can change, each with a verdict: of the median head, or of
    no summary over heads. Primary ones are decided at the published level of their claim, so that
    no verdict differs by its level alone. (See altered.)"""
    return at_levels(numbers(altered(evidence, choice, stores, exchanges), choice), levels)


def numbers(changed: Evidence, choice: Choice) -> list[Row]:
    """The rows of `judged`, each at the confidence of the study."""
    changed = replace(changed, summaries=("median",))
    return [
        row | {"choice": choice.name}
        for claim in registry.CLAIMS
        if choice.kind in claim.choices
        for row in claim.judge(changed)
        if row["verdict"]
        and row.get("summary") in ("median", "")
        and (choice.lenses is None or row["lens"] in choice.lenses)
        and (row["number"] in claim.choices[choice.kind] or not claim.choices[choice.kind])
    ]


def mean_heads(rows: Sequence[Row], levels: Mapping[str, float]) -> list[Row]:
    """The mean head as a choice: rows of all claims whose number has a primary row, at its level.

    Args:
        rows: published ones of all claims.
        levels: at which the claims were decided.
    """
    primary = {
        tuple(row[name] for name in NUMBER): (row["lens"], row.get("reading"))
        for row in rows
        if row["primary"] and row.get("summary")
    }
    found = [
        row | {"choice": "mean head", "primary": (row["lens"], row.get("reading")) == primary[key]}
        for row in rows
        if row["verdict"] and row.get("summary") == "mean"
        if (key := tuple(row[name] for name in NUMBER)) in primary
    ]
    return at_levels(found, levels)


def choose(
    stores: Sequence[Path],
    manifests: Sequence[Path],
    replicates: Path,
    replicates_manifest: Path,
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
    random: bool = False,
    reading: str = "R",
) -> None:
    """Write the claims of one model and revision under every other choice.

    Args:
        stores: component stores, one per arm, and their manifests.
        replicates: the study's own replicates of this model, and their manifest.
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
        random: whether the model's weights are random: the table then has no rows.
        reading: that which decides the claims on this model.

    Raises:
        StoreError: a store is missing or altered.
    """
    evidence = Evidence(
        open_replicates(replicates, replicates_manifest),
        swap_tokens,
        variants,
        confidence,
        seed,
        base,
        random=random,
        primary=reading,
    )
    rows: list[Row] = []
    if not random:  # of random weights no verdict is passed
        opened = {
            arm: open_dataset(store, manifest)
            for arm, store, manifest in zip((Arm(*a) for a in arms), stores, manifests, strict=True)
            if evidence.has(arm) or arm in DECIDING
        }
        # An arm on some of the inputs has the first of them.
        sources = open_dataset(inputs).attrs["sources"][: whole(evidence, opened).sizes["input"]]
        rows = under_choices(evidence, opened, sources, f"{model} {revision}: choices", threads)
    frame = pd.DataFrame(rows).assign(model=model, revision=revision).reindex(columns=COLUMNS)
    write_csv(frame, Path(table))


def under_choices(
    evidence: Evidence,
    stores: Mapping[Arm, xr.Dataset],
    sources: Sequence[str],
    label: str,
    threads: int,
) -> list[Row]:
    """Rows of every claim under every other choice, with the mean head and the sources as ones.

    Args:
        evidence: of the study.
        stores: component stores of the arms with all inputs, and of the deciding exchanges.
        sources: which text of the corpus each input is from (input).
        label: of the progress.
        threads: choices judged at the same time.
    """
    found = choices_of(whole(evidence, stores), sources, evidence.seed)
    published, levels = claim_rows(evidence)
    exchanges = exchanges_of(evidence.arms, stores)
    complete = {arm: store for arm, store in stores.items() if evidence.has(arm)}
    few = [choice for choice in found if choice.name.startswith(ONE)]
    held = on_few_inputs(few, complete)

    def under(choice: Choice) -> list[Row]:
        some = held.pop(choice.name, None)  # not needed afterwards
        own = on_inputs(choice, complete) if some is None else some.items()
        return judged(evidence, choice, own, exchanges, levels)

    first = few + [choice for choice in found if choice.name not in held]
    with threadpool_limits(1), ThreadPoolExecutor(max_workers=threads) as pool:
        done = progress(pool.map(under, first), len(first), label, "choices")
        by_name = {choice.name: part for choice, part in zip(first, done, strict=True)}
    rows = [row for choice in found for row in by_name[choice.name]]
    every = over_sources(
        evidence,
        complete,
        exchanges,
        np.array(sources),
        published,
        lambda changed, name: numbers(changed, Choice(name, "inputs")),
    )
    missing = [row for choice in found for row in too_few(choice, published, rows)]
    return rows + missing + at_levels(every, levels) + mean_heads(published, levels)


def whole(evidence: Evidence, stores: Mapping[Arm, xr.Dataset]) -> xr.Dataset:
    """The first of the stores that has all inputs."""
    return next(store for arm, store in stores.items() if evidence.has(arm))


def too_few(choice: Choice, published: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Rows *not testable* of numbers that have a verdict on all inputs, and none under a choice of
    one source: it has too few of the inputs that the number is measured on.

    Args:
        choice: any.
        published: rows of all claims.
        rows: under all choices.
    """
    if choice.kept is None or not choice.name.startswith(ONE):
        return []
    judged_on = {key_of(row) for row in rows if row["choice"] == choice.name}
    inputs = int(choice.kept.sum())
    can = {claim.name for claim in registry.CLAIMS if choice.kind in claim.choices}
    return [
        row
        | dict.fromkeys(("estimate", "ci_low", "ci_high"), np.nan)
        # No SPREAD: no level decides it.
        | {"choice": choice.name, "verdict": NOT_TESTABLE, "n_inputs": inputs, WANTED: None}
        for row in published
        if SPREAD in row and row["claim"] in can and row["verdict"]
        if row.get("summary") in ("median", "") and key_of(row) not in judged_on
    ]
