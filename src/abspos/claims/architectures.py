"""Claims across architectures: models that were trained alike, each under a variant of its own.

Their arms are judged together as those of one model, by the same claims as variants of the same
weights: here the weights have adapted to the architecture. Several training runs, which differ in
their seed, are averaged before anything is divided.
Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from abspos.claims import judgement
from abspos.claims.evidence import Evidence
from abspos.claims.multiplicity import claim_rows
from abspos.claims.registry import CLAIMS
from abspos.claims.rows import Row
from abspos.csv_tables import write_csv
from abspos.statistics.store import Arm, ArmReplicates, Replicates, open_replicates
from abspos.statistics.summary_tests import untested

#: The variant that changes nothing: what a trained model is measured under, and the control.
STANDARD = "standard"
RUNS = ["n_runs", "run_low", "run_high"]
COLUMNS = [
    *(name for name in judgement.COLUMNS if not name.startswith("source_")),
    *RUNS,
    "members",
]
#: By which a number of one run is that of another.
KEY = ("claim", "arms", "number", "lens", "summary", "reading", "kind")


def together(members: Mapping[str, Replicates]) -> Replicates:
    """Arms of models that were trained alike as those of one model.

    Args:
        members: of each model, by the variant that it was trained under. Each is measured under
            the variant that changes nothing, for the trained one is its own architecture.

    Raises:
        ValueError: they were not measured on the same inputs.
    """
    found = {
        Arm(variant, arm.condition): own
        for variant, arms in members.items()
        for arm, own in arms.items()
        if arm.variant == STANDARD
    }
    for condition in {arm.condition for arm in found}:
        alike = {
            str(arm): (own.facts["length"], own.facts["document"])
            for arm, own in found.items()
            if arm.condition == condition
        }
        first, *others = alike
        for other in others:
            if alike[other] != alike[first]:
                raise ValueError(
                    f"{other}: inputs differ from those of {first}; measure models that were "
                    "trained alike on the same inputs"
                )
    return found


def averaged(runs: Sequence[Replicates]) -> Replicates:
    """The mean over runs of every energy and loss, replicate by replicate: paired over inputs."""
    first, *others = runs
    if not others:
        return dict(first)
    shared = [arm for arm in first if all(arm in run for run in others)]
    return {arm: mean_of([run[arm] for run in runs]) for arm in shared}


def mean_of(arms: Sequence[ArmReplicates]) -> ArmReplicates:
    """The mean of one arm over runs; tests of single runs go."""
    first = arms[0]
    bins = {
        name: sum((own.bins[name] for own in arms[1:]), first.bins[name]) / len(arms)
        for name in first.bins
    }
    losses = [own.loss for own in arms if own.loss is not None]
    loss = sum(losses[1:], losses[0]) / len(losses) if losses else None
    return replace(first, bins=bins, loss=loss, p_values=untested(), writes=None)


def across(evidence: Evidence, runs: Sequence[Evidence]) -> list[Row]:
    """Rows of the claims that compare variants, with their spread over training runs.

    Args:
        evidence: of the runs' means.
        runs: of each run.
    """
    claims = [claim for claim in CLAIMS if claim.between_variants]
    rows, _ = claim_rows(evidence, claims)
    several = runs if len(runs) > 1 else []
    by_run = [{key_of(row): row for row in claim_rows(own, claims)[0]} for own in several]
    spread = [
        over_runs([own.get(key_of(row), {}) for own in by_run], evidence.confidence) for row in rows
    ]
    return [row | {"n_runs": len(runs)} | found for row, found in zip(rows, spread, strict=True)]


def key_of(row: Row) -> tuple[str, ...]:
    """What a row is known by."""
    return tuple(str(row.get(name, "")) for name in KEY)


def over_runs(rows: Sequence[Row], confidence: float) -> Row:
    """The interval of a number over training runs by Student's t; empty below two runs.

    Args:
        rows: its row in each run; an empty one where a run has none.
        confidence: level of the interval.
    """
    estimates = np.array([row.get("estimate", np.nan) for row in rows])
    number = len(estimates)
    if number < 2:
        return {}
    reach = special.stdtrit(number - 1, (1 + confidence) / 2)
    reach *= estimates.std(ddof=1) / np.sqrt(number)
    middle = estimates.mean()
    return {"run_low": middle - reach, "run_high": middle + reach}


def evidence_of(
    arms: Replicates,
    group: Mapping[str, Any],
    variants: Mapping[str, Mapping[str, Any]],
    **settings: Any,
) -> Evidence:
    """Arms of models that were trained alike as the evidence on one model.

    Args:
        arms: of all of them, with those of untrained weights.
        group: see abspos.planning.alike.
        variants: the config's variants by name.
        **settings: ``confidence`` and ``seed`` of the evidence.
    """
    trained = {name: {**variants.get(name, {}), "untrained": False} for name in group["variants"]}
    untrained = {name: variants[name] for name in group["untrained"]}
    known = {**trained, STANDARD: {}, **untrained}
    return Evidence(arms, [], known, base=group["base"], primary=group["reading"], **settings)


def rows_of(
    group: Mapping[str, Any],
    replicates: Mapping[tuple[str, str], Replicates],
    variants: Mapping[str, Mapping[str, Any]],
    **settings: Any,
) -> list[Row]:
    """Rows of one group of models that were trained alike.

    Args:
        group: see abspos.planning.alike.
        replicates: of each (model, revision) of the group.
        variants: the config's variants by name.
        **settings: ``confidence`` and ``seed`` of the evidence.
    """
    begun = replicates[tuple(group["start"])]
    untrained = {arm: own for arm, own in begun.items() if arm.variant in group["untrained"]}
    runs = [
        together({name: replicates[model, group["revision"]] for name, model in run.items()})
        for run in group["runs"]
    ]
    whole, *each = (
        evidence_of(arms | untrained, group, variants, **settings)
        for arms in (averaged(runs), *runs)
    )
    return across(whole, each)


def judge(
    replicates: Sequence[Path],
    manifests: Sequence[Path],
    table: Path,
    *,
    models: Sequence[tuple[str, str]],
    groups: Sequence[Mapping[str, Any]],
    variants: Mapping[str, Mapping[str, Any]],
    confidence: float,
    seed: int,
) -> None:
    """Write architectures.csv of a study.

    Args:
        replicates: stores of replicates, one per model and revision, and their manifests.
        manifests: of these.
        table: where it goes.
        models: (name, revision) of each store.
        groups: models that were trained alike (see abspos.planning.alike).
        variants: the config's variants by name.
        confidence: level of the intervals.
        seed: of the split into halves.
    """
    paths = zip(models, replicates, manifests, strict=True)
    stores = {tuple(pair): (Path(store), Path(manifest)) for pair, store, manifest in paths}
    parts = []
    for group in groups:
        pairs = [tuple(group["start"])]
        pairs += [(m, group["revision"]) for run in group["runs"] for m in run.values()]
        arms = {pair: open_replicates(*stores[pair]) for pair in pairs}
        rows = rows_of(group, arms, variants, confidence=confidence, seed=seed)
        found = judgement.table_of(rows).join(pd.DataFrame(rows).reindex(columns=RUNS))
        # Its control names a group: no other group has it.
        named = found.assign(
            model=group["runs"][0][STANDARD],
            revision=group["revision"],
            members=" ".join(model for run in group["runs"] for model in run.values()),
        )
        parts.append(named.reindex(columns=COLUMNS))
    write_csv(pd.concat(parts, ignore_index=True), Path(table))
