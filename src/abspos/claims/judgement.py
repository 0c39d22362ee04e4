"""The claim table: every claim of the paper, as numbers with intervals and a verdict.

Source: docs/method.md, section 5. Reads replicates only (see abspos.statistics.store).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.arrays import open_dataset
from abspos.claims import controlled_effects, doses, registry, swaps
from abspos.claims.evidence import Evidence, Row
from abspos.csv_tables import write_csv
from abspos.documents import MIN_INPUTS
from abspos.statistics.energies import holm
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
]


def claim_table(evidence: Evidence) -> pd.DataFrame:
    """All rows of one model, Holm-adjusted over its measured claims.

    A claim holds if all of its primary rows do, so the largest of their p-values is the claim's.
    """
    rows = [row for claim in registry.CLAIMS for row in claim.judge(evidence)]
    every = pd.DataFrame(rows)
    table = every.reindex(columns=COLUMNS)
    chosen = table["primary"].astype(bool) & table["p_value"].notna()
    by_claim = table[chosen].groupby("claim")["p_value"].max()
    adjusted = dict(zip(by_claim.index, holm(by_claim.to_numpy()), strict=True))
    table.loc[chosen, "p_adjusted"] = table.loc[chosen, "claim"].map(adjusted)
    # Half of the inputs are half by design: no verdict of theirs is preliminary for that.
    needed = every.get("needed", pd.Series(dtype=float)).reindex(table.index).fillna(MIN_INPUTS)
    table["preliminary"] = table["n_inputs"] < needed
    return table


def each_swap(evidence: Evidence) -> Iterator[Row]:
    """Rows of swaps.csv: every number of bos-swap, listed tokens one by one too."""
    for row in swaps.swap_rows(evidence, each=True):
        yield row | {"number": row["bare_number"]}


def judge(
    replicates: Sequence[Path],
    manifests: Sequence[Path],
    inputs: Sequence[Path],
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
) -> None:
    """Write claims.csv, swaps.csv, changes.csv and controlled_effects.csv of a study.

    Args:
        replicates: stores of replicates, one per model and revision, and their manifests.
        inputs: stores of windows, in the same order.
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
    """
    made = []
    for path, manifest, windows, (model, revision) in zip(
        replicates, manifests, inputs, models, strict=True
    ):
        tokens = open_dataset(windows)["tokens"].values[:, 0]
        base = "no-bos" if model in without_bos else "bos"
        arms = open_replicates(path, manifest)
        evidence = Evidence(arms, tokens, swap_tokens, variants, confidence, seed, base)
        made.append(({"model": model, "revision": revision}, evidence))

    def joined(table: Callable[[Evidence], pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
        frames = [table(evidence).assign(**keys) for keys, evidence in made]
        return pd.concat(frames, ignore_index=True).reindex(columns=list(columns))

    def listed(rows: Callable[[Evidence], Iterator[Row]]) -> Callable[[Evidence], pd.DataFrame]:
        return lambda evidence: pd.DataFrame(list(rows(evidence)))

    write_csv(joined(claim_table, COLUMNS), claims)
    write_csv(joined(listed(each_swap), swaps.COLUMNS), swaps_table)
    write_csv(joined(listed(doses.changes), doses.COLUMNS), changes)
    effect_rows = listed(controlled_effects.controlled_effects)
    write_csv(joined(effect_rows, controlled_effects.COLUMNS), effects)
