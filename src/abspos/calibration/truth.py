"""A study's estimates, intervals and claims beside the truth of its synthetic models.

Source: docs/method.md, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from abspos.claims import registry
from abspos.claims.evidence import Evidence
from abspos.csv_tables import read_csv, write_csv
from abspos.statistics.replicates import SUMMARIES
from abspos.statistics.store import Arm, open_replicates

RUN = ["model", "revision", "variant", "condition"]
CELL = [*RUN, "bin", "lens", "component"]
NUMBER = ["claim", "model", "revision", "arms", "number", "lens", "summary", "reading"]
MEASURED = ["estimate", "ci_low", "ci_high", "n_inputs"]
TRUTH_COLUMNS = [*CELL, "layer", "head", "summary", "truth", *MEASURED, "covered"]
NUMBER_COLUMNS = [*NUMBER, "truth", *MEASURED, "claimed", "verdict", "primary", "covered"]


def summaries(heads: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Truths by layer (median and mean head) and by model (the mean of its layers)."""
    layers = [
        heads.groupby([*CELL, "layer"], sort=False)["truth"]
        .agg(summary)
        .reset_index()
        .assign(summary=summary)
        for summary in SUMMARIES
    ]
    by_layer = pd.concat(layers, ignore_index=True)
    by_model = by_layer.groupby([*CELL, "summary"], sort=False)["truth"].mean().reset_index()
    return by_layer, by_model


def covered(table: pd.DataFrame) -> pd.DataFrame:
    """A table with ``covered``: whether the interval holds the truth; empty without interval."""
    inside = (table["ci_low"] <= table["truth"]) & (table["truth"] <= table["ci_high"])
    return table.assign(covered=inside.astype("boolean").where(table["ci_low"].notna()))


def against(heads: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Truth beside estimate of every energy: of heads, layers and models.

    Args:
        heads: true energies of heads.
        tables: ``energies``, ``layers`` and ``summary`` of the study.
    """
    by_layer, by_model = summaries(heads)
    parts = []
    for name, truth in (("energies", heads), ("layers", by_layer), ("summary", by_model)):
        keys = [column for column in truth.columns if column != "truth"]
        measured = tables[name].rename(columns={"energy": "estimate"})[[*keys, *MEASURED]]
        parts.append(truth.merge(measured, on=keys))
    joined = covered(pd.concat(parts, ignore_index=True))
    return joined[TRUTH_COLUMNS].astype({"layer": "Int64", "head": "Int64"})


def true_evidence(evidence: Evidence, heads: pd.DataFrame) -> Evidence:
    """Evidence of one model whose energies are the true ones, in every replicate.

    Args:
        evidence: of the study.
        heads: true energies of the heads of this model.
    """
    arms = dict(evidence.arms)
    axes = ["lens", "component", "layer", "head"]
    for names, rows in heads.groupby(["variant", "condition", "bin"]):
        variant, condition, which = map(str, names)
        arm = Arm(variant, condition)
        if arm not in arms or which not in arms[arm].bins:
            continue
        own = arms[arm].bins[which]
        truth = xr.DataArray.from_series(rows.set_index(axes)["truth"])
        truth = truth.sel(lens=own["lens"], component=own["component"])
        spread = xr.zeros_like(own) + truth.drop_vars(["layer", "head"])
        bins = {**arms[arm].bins, which: spread.transpose(*own.dims)}
        arms[arm] = replace(arms[arm], bins=bins)
    return replace(evidence, arms=arms)


def numbers(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Rows of all claims that follow from energies; the others have no lens, or no number."""
    for claim in registry.CLAIMS:
        if claim.from_energies:
            yield from (row for row in claim.judge(evidence) if row["lens"] and "number" in row)


def write_truth(
    truths: Sequence[Path],
    energies: Path,
    layers: Path,
    summary: Path,
    claims: Path,
    replicates: Sequence[Path],
    manifests: Sequence[Path],
    table: Path,
    numbers_table: Path,
    *,
    models: Sequence[tuple[str, str]],
    variants: Mapping[str, Mapping[str, Any]],
    swap_tokens: Sequence[str],
    confidence: float,
    seed: int,
    without_bos: Sequence[str] = (),
    readings: Mapping[str, str] | None = None,
) -> None:
    """Write truth.csv, every energy beside its truth, and numbers.csv, the claims' numbers.

    Args:
        truths: tables of population.write_energies, one a synthetic model.
        energies: table of the study; so are layers, summary and claims.
        layers: see energies.
        summary: see energies.
        claims: see energies.
        replicates: stores of replicates of the same models, and their manifests.
        manifests: see replicates.
        table: where truth.csv goes.
        numbers_table: where numbers.csv goes.
        models: (name, revision) of each.
        variants: the config's variants by name.
        swap_tokens: texts of the listed replacements.
        confidence: level of the intervals.
        seed: of the study.
        without_bos: names of the models that are given no BOS.
        readings: the reading that decides the claims on each model, by its name; R unless given.
    """
    frames = [read_csv(path) for path in truths]
    tables = {
        name: read_csv(path)
        for name, path in (("energies", energies), ("layers", layers), ("summary", summary))
    }
    write_csv(against(pd.concat(frames, ignore_index=True), tables), Path(table))
    rows: list[dict[str, Any]] = []
    for heads, store, manifest, (model, revision) in zip(
        frames, replicates, manifests, models, strict=True
    ):
        evidence = Evidence(
            open_replicates(store, manifest),
            swap_tokens,
            variants,
            confidence,
            seed,
            "no-bos" if model in without_bos else "bos",
            primary=(readings or {}).get(model, "R"),
        )
        keys = {"model": model, "revision": revision}
        rows += [row | keys for row in numbers(true_evidence(evidence, heads))]
    truth = pd.DataFrame(rows).rename(columns={"estimate": "truth"})[[*NUMBER, "truth"]]
    judged = read_csv(claims).fillna({"lens": "", "summary": "", "arms": "", "reading": ""})
    write_csv(covered(truth.merge(judged, on=NUMBER))[NUMBER_COLUMNS], Path(numbers_table))
