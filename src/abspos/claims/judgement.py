"""The claim table: every claim of the paper, as numbers with intervals and a verdict.

Source: docs/method.md, section 5. Reads replicates only (see abspos.statistics.store).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.claims import doses, swaps
from abspos.claims.controlled_effects import COLUMNS as EFFECT_COLUMNS
from abspos.claims.controlled_effects import controlled_effects
from abspos.claims.evidence import Evidence
from abspos.claims.kinds import rows_by_kind
from abspos.claims.multiplicity import adjusted_p_values, at_levels, claim_rows
from abspos.claims.rows import Row
from abspos.claims.sources import with_sources
from abspos.claims.verdicts import BY_CONSTRUCTION, VIOLATED
from abspos.csv_tables import read_csv, write_csv
from abspos.documents import MIN_INPUTS
from abspos.statistics.store import open_replicates

COLUMNS = [
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
    "claimed",
    "verdict",
    "primary",
    "n_inputs",
    "note",
    "p_value",
    "p_adjusted",
    "preliminary",
    "influence",
    "level",
    "decided_low",
    "decided_high",
    "n_decides",
    "excludes_claimed",
    "source_low",
    "source_high",
    "reading",
    "kind",
    "fixed",
]


def claim_table(evidence: Evidence) -> pd.DataFrame:
    """All rows of one model, primary ones decided at the level of Holm's correction over claims."""
    return table_of(claim_rows(evidence)[0])


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Decided rows of one model as a table, with the adjusted p of primary ones."""
    adjusted = adjusted_p_values(rows)
    every = pd.DataFrame(rows)
    table = every.reindex(columns=COLUMNS)
    chosen = table["primary"].astype(bool) & table["p_value"].notna() & table["verdict"].ne("")
    table["p_adjusted"] = table["claim"].map(adjusted).astype(float).where(chosen)
    # Rows of half of the inputs by design need half as many.
    needed = every.get("needed", pd.Series(dtype=float)).reindex(table.index).fillna(MIN_INPUTS)
    # A theorem is checked to a tolerance: more inputs decide nothing about it.
    theorem = table["verdict"].isin((BY_CONSTRUCTION, VIOLATED))
    table["preliminary"] = (table["n_inputs"] < needed) & ~theorem
    table["n_decides"] = table["n_decides"].astype("Int64")
    return table


def each_swap(evidence: Evidence, levels: Mapping[str, float]) -> Iterator[Row]:
    """Rows of swaps.csv: every number of bos-swap, listed tokens one by one too."""
    found = rows_by_kind(partial(swaps.swap_rows, each=True), evidence)
    rows = [row | {"claim": "bos-swap"} for row in found]
    for row in at_levels(rows, levels):
        yield row | {"number": row["bare_number"]}


def judge(
    replicates: Sequence[Path],
    manifests: Sequence[Path],
    claims: Path,
    swaps_table: Path,
    changes: Path,
    effects: Path,
    *,
    models: Sequence[tuple[str, str]],
    variants: Mapping[str, Mapping[str, Any]],
    swap_tokens: Sequence[str],
    confidence: float,
    seed: int,
    without_bos: Sequence[str] = (),
    random: Sequence[str] = (),
    choices: Sequence[Path] = (),
    readings: Mapping[str, str] | None = None,
) -> None:
    """Write claims.csv, swaps.csv, changes.csv and controlled_effects.csv of a study.

    Args:
        replicates: stores of replicates, one per model and revision, and their manifests.
        claims: where the claim table goes.
        swaps_table: where every number of bos-swap goes, listed tokens one by one too.
        changes: where what each variant takes from the components goes (see abspos.claims.doses).
        effects: where effects beside their controls go (see abspos.claims.controlled_effects).
        models: (name, revision) of each store.
        variants: the config's variants by name.
        swap_tokens: texts of the listed replacements.
        confidence: level of the intervals.
        seed: of the split into halves.
        without_bos: names of the models that have no BOS.
        random: names of the models whose weights are random.
        choices: rows under other choices, one file per store, with intervals over sources.
        readings: the reading that decides the claims on each model, by its name; R unless given.
    """
    tables: dict[Path, list[pd.DataFrame]] = {}
    for path, manifest, (model, revision) in zip(replicates, manifests, models, strict=True):
        base = "no-bos" if model in without_bos else "bos"
        arms = open_replicates(path, manifest)
        evidence = Evidence(
            arms,
            swap_tokens,
            variants,
            confidence,
            seed,
            base,
            random=model in random,
            primary=(readings or {}).get(model, "R"),
        )
        rows, levels = claim_rows(evidence)
        found = {
            claims: (table_of(rows), COLUMNS),
            swaps_table: (frame(each_swap(evidence, levels)), swaps.COLUMNS),
            changes: (frame(of_kinds(doses.changes, evidence)), doses.COLUMNS),
            effects: (frame(of_kinds(controlled_effects, evidence)), EFFECT_COLUMNS),
        }
        for out, (table, columns) in found.items():
            named = table.assign(model=model, revision=revision)
            tables.setdefault(out, []).append(named.reindex(columns=columns))
    joined = {out: pd.concat(parts, ignore_index=True) for out, parts in tables.items()}
    if choices:
        others = pd.concat([read_csv(path) for path in choices], ignore_index=True)
        joined[claims] = with_sources(joined[claims], others)
    for out, table in joined.items():
        write_csv(table, out)


def of_kinds(rows: Callable[[Evidence], Iterator[Row]], evidence: Evidence) -> Iterator[Row]:
    """Rows over all layers, and of a hybrid over the layers of each kind."""
    for part in (evidence, *evidence.by_kind()):
        for row in rows(part):
            yield row | {"kind": part.all_kinds}


def frame(rows: Iterator[Row]) -> pd.DataFrame:
    """Rows as a table."""
    return pd.DataFrame(list(rows))
