"""The claims over sources of text: intervals with sources as units, and each source left out.

Source: docs/method.md, sections 3 (sources) and 5 (sensitivity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from abspos.claims.evidence import Evidence
from abspos.claims.exchanges import Exchanges
from abspos.claims.names import as_text
from abspos.claims.rows import REPLICATES, SPREAD, Row, decided
from abspos.statistics import replicates as sl
from abspos.statistics.packing import of_some
from abspos.statistics.sources import source_replicates
from abspos.statistics.store import Arm, ArmReplicates

#: Of fewer sources none is left out.
FEWEST = 4
#: Names of choices among sources: one alone, without one, all as the units of intervals.
ONE, WITHOUT, OVER = "source ", "without ", "over sources"
#: What a row is known by among those of one model.
ROW = ("claim", "arms", "number", "lens", "summary", "reading", "kind")


def over_sources(
    evidence: Evidence,
    stores: Mapping[Arm, xr.Dataset],
    exchanges: Exchanges | None,
    sources: np.ndarray,
    published: Sequence[Row],
    judge: Callable[[Evidence, str], list[Row]],
) -> list[Row]:
    """Rows with sources as units, and with each source left out.

    The former have intervals over sources. The latter have the error that was published, which a
    few inputs fewer hardly change: a verdict that flips hangs on one source. Their estimates are
    replicates of the former, for every number is a function of each replicate alone.

    Args:
        evidence: of the study.
        stores: component stores of the arms with all inputs.
        exchanges: those that decide sink-readers, if the study has them.
        sources: label of each input's source (input).
        published: rows of all claims.
        judge: gives the rows of changed evidence, under the name of a choice.

    Returns:
        None of them for fewer than FEWEST sources.
    """
    names = list(dict.fromkeys(sources.tolist()))  # as replicates leave them out
    if len(names) < FEWEST:
        return []
    arms = {arm: as_units(store, evidence.arms[arm], sources) for arm, store in stores.items()}
    if exchanges and set(labels := sources[exchanges.numbers].tolist()) == set(names):
        # In the order in which replicates of all inputs leave sources out.
        order = np.argsort([names.index(label) for label in labels], kind="stable")
        view = partial(
            of_sources, order=order, sources=np.array(labels), documents=exchanges.documents
        )
        arms = exchanges.joined(arms, view, len(names))
    over = judge(replace(evidence, arms=arms), OVER)
    known = {key_of(row): row for row in published if SPREAD in row}
    left = [
        without(known[key_of(row)], float(row[REPLICATES][place]), evidence.confidence)
        | {"choice": f"{WITHOUT}{name}"}
        for place, name in enumerate(names, 1)
        for row in over
        if SPREAD in row and key_of(row) in known
    ]
    return over + left


def of_sources(
    packed: np.ndarray, order: np.ndarray, sources: np.ndarray, documents: np.ndarray
) -> np.ndarray:
    """Energies with sources as units (see source_replicates), of inputs in another order."""
    return source_replicates(of_some(packed, order), sources[order], documents[order])


def without(row: Row, estimate: float, level: float) -> Row:
    """A published row with another estimate and the same error, decided at a level."""
    shift = estimate - row["estimate"]
    ends = {end: row[end] + shift for end in ("ci_low", "ci_high")}
    return decided(row | ends | {"estimate": estimate}, level)


def with_sources(claims: pd.DataFrame, choices: pd.DataFrame) -> pd.DataFrame:
    """The claim table with the ends of intervals over sources: ``source_low``, ``source_high``.

    Args:
        claims: as in claims.csv.
        choices: rows under other choices, of the same models.
    """
    known = [name for name in ("model", "revision", *ROW) if name in claims and name in choices]
    ends = {"ci_low": "source_low", "ci_high": "source_high"}

    def keys(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{name: as_text(table[name]) for name in known})

    over = keys(choices[choices["choice"] == OVER])[[*known, *ends]].rename(columns=ends)
    found = keys(claims)[known].merge(over, on=known, how="left", validate="many_to_one")
    return claims.assign(**{end: found[end].to_numpy() for end in ends.values()})


def key_of(row: Row) -> tuple[str, ...]:
    """What a row is known by."""
    return tuple(str(row.get(key, "")) for key in ROW)


def as_units(store: xr.Dataset, own: ArmReplicates, sources: np.ndarray) -> ArmReplicates:
    """An arm whose replicates leave out whole sources instead of documents: energies and loss.

    It counts its sources as inputs, for they are what is drawn.

    Args:
        store: its component store.
        own: its replicates.
        sources: label of each input's source (input).
    """
    energies = partial(source_replicates, sources=sources, documents=sl.documents_of(store))
    bins = {}
    for which in set(store.attrs["bins"]) & set(own.bins):
        packed = sl.packed_grams(store, which)
        keys = [key for key in sl.pairs(own.bins[which]) if key in packed]
        bins[which] = sl.stack({key: energies(packed[key]) for key in keys})
    if crossed := sl.crossed_grams(store):
        bins["cross"] = sl.stack({key: energies(gram) for key, gram in crossed.items()})
    loss = sl.mean_replicates(store["loss"].values.astype(np.float64), sources)
    return replace(
        own,
        facts=own.facts | {"inputs": len(set(sources.tolist()))},
        bins=bins,
        loss=xr.DataArray(loss, dims="replicate"),
        writes=None if own.writes is None else own.writes.assign(source=("input", sources)),
    )
