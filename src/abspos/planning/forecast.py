"""Estimates of jobs, hours, memory and disk of a study, before it runs.

From the same functions that set the resources of the workflow's jobs (see resources); nothing is
run and nothing heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from abspos.planning.alike import alike
from abspos.planning.at_hand import load_at_hand
from abspos.planning.costs import (
    Machine,
    activation_bytes,
    checkpoint_bytes,
    component_bytes,
    input_bytes,
    memory,
    population_seconds,
    seconds,
    state_bytes,
    table_bytes,
)
from abspos.planning.layout import Layout
from abspos.planning.loads import Load
from abspos.planning.requests import ON_DEVICE, ON_THREADS
from abspos.study.conditions import PAIRS, chooses_heads, condition_of

#: Jobs that only gather what others computed: seconds and bytes of memory of each.
LIGHT_SECONDS, LIGHT_BYTES = 1.5, 0.45e9
#: Time of all verdicts under other choices over that of the tables, from the same stores.
CHOICES = 1.7
#: Snakemake itself, beside the jobs: seconds to start and to end, bytes of memory.
OWN_SECONDS, OWN_BYTES = 10.0, 0.2e9


@dataclass(frozen=True)
class Job:
    """One job: its rule, seconds, bytes of memory and of what it leaves on disk, cores, GPU."""

    rule: str
    seconds: float
    memory: float
    disk: float = 0.0
    cores: int = 1
    gpu: bool = False


@dataclass(frozen=True)
class Row:
    """All jobs of one rule: hours are sums, memory is that of the largest job, disk a sum."""

    rule: str
    jobs: int
    core_hours: float
    gpu_hours: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Plan:
    """Estimated cost of a study.

    Attributes:
        rows: one for each rule, in the order of the work.
        wall: seconds from start to end with the given cores and GPUs.
        memory: bytes at the most, of all jobs that run at a time and of Snakemake.
        peak: bytes of disk at the most, temporary stores included.
        final: bytes of disk at the end.
        guessed: models whose sizes are a guess from their names.
    """

    rows: tuple[Row, ...]
    wall: float
    memory: float
    peak: float
    final: float
    guessed: tuple[str, ...]


def loads(layout: Layout, checkpoints: Path) -> dict[tuple[str, str], dict[tuple[str, str], Load]]:
    """The work of every run: (model, revision) -> (variant, condition) -> load."""
    found: dict[tuple[str, str], dict[tuple[str, str], Load]] = {}
    for model, revision in layout.models():
        runs = layout.runs(model)
        whole = load_at_hand(layout, model, revision, checkpoints)
        found[model, revision] = {
            (run.variant, run.condition): replace(
                whole,
                inputs=run.inputs,
                bins=3 if layout.study.variant(run.variant).window else whole.bins,
                fields=layout.is_reference(model, run.variant, run.condition),
                compared=layout.reference(model, run.variant, run.condition) is not None,
                paired=run.condition in PAIRS,
                crossed=condition_of(run.condition).crossed,
                by_head=chooses_heads(run.condition),
            )
            for run in runs
        }
    return found


def held(layout: Layout, runs: Mapping[tuple[str, str], Load]) -> list[int]:
    """Bytes of activation stores that the decomposition of each run needs: of a pair, both.

    Args:
        layout: of the study.
        runs: of one model, by variant and condition.
    """
    stores = {run: activation_bytes(load) for run, load in runs.items()}
    for variant, condition in runs:
        if partner := layout.partner(condition):
            stores[variant, condition] += stores.pop((variant, partner))
    return list(stores.values())


def job(stage: str, load: Load, machine: Machine, disk: float) -> Job:
    """A job of a stage that computes."""
    return Job(
        stage,
        machine.start + seconds(stage, load, machine),
        memory(stage, load),
        disk,
        load.threads if stage in ON_THREADS else 1,
        load.device == "cuda" and stage in ON_DEVICE,
    )


def jobs_of_model(runs: Sequence[Load], machine: Machine, keep: bool) -> list[Job]:
    """All jobs of one checkpoint."""
    first = runs[0]
    stores = sum(component_bytes(load) for load in runs)
    given = "planted" if first.source == "synthetic" else "activations"
    begun = "trained" if first.source == "trained" else "models"
    tabulation = job("statistics", first, machine, table_bytes(first))
    # Tables take as long as all stores together; a run's load knows only its own.
    share = stores / (first.arms * component_bytes(first))
    worked = (tabulation.seconds - machine.start) * share
    tabulation = replace(tabulation, seconds=machine.start + worked)
    return [
        job(begun, first, machine, checkpoint_bytes(first.sizes)),
        job("inputs", first, machine, input_bytes(first)),
        *(job(given, r, machine, activation_bytes(r) if keep else 0.0) for r in runs),
        *(job("components", r, machine, component_bytes(r)) for r in runs),
        tabulation,
        replace(tabulation, rule="choices", disk=0.0, seconds=machine.start + CHOICES * worked),
    ]


def plan(layout: Layout, checkpoints: Path, machine: Machine, cores: int, gpus: int = 1) -> Plan:
    """Estimated cost of a study from the start, checkpoints included.

    Args:
        layout: of the study.
        checkpoints: folder of checkpoints; sizes are read from those that are there.
        machine: what it runs on.
        cores: cores that jobs share.
        gpus: GPUs that jobs share, where the study runs on GPUs.
    """
    study, models = layout.study, loads(layout, checkpoints)
    jobs = [
        made
        for runs in models.values()
        for made in jobs_of_model(list(runs.values()), machine, study.keep_activations)
    ]
    known = layout.synthetic()
    for model, revision in known:
        runs = list(models[model, revision].values())
        worked = population_seconds(runs, study.calibration.population, machine)
        populated = Job("population", machine.start + worked, LIGHT_BYTES, cores=study.threads)
        jobs.append(populated)
    light = {
        "checkpoints": 1,
        "tables": 1,
        "claims": 1,
        "sensitivity": 1,
        "figures": len(layout.figures()),
        "front": 1,
        "page": 1,
        "comparison": int(bool(known)),
        "curves": int(bool(layout.courses)),
        "architectures": int(bool(alike(layout)["groups"])),
    }
    jobs += [Job(rule, LIGHT_SECONDS, LIGHT_BYTES) for rule, n in light.items() for _ in range(n)]
    slots = max(1, cores // study.threads)
    if study.device == "cuda":
        slots = max(1, min(slots, gpus))
    last = {model: next(iter(runs.values())) for (model, _), runs in models.items()}
    states = sum(state_bytes(last[model]) for model in layout.courses)
    final = sum(made.disk for made in jobs) + states
    stores = sorted((n for runs in models.values() for n in held(layout, runs)), reverse=True)
    # Decompositions go first, so that each slot holds the stores that it writes or reads; that of
    # bos waits for its pair.
    passing = 0.0 if study.keep_activations else sum(stores[:slots])
    summed = rows(jobs)
    return Plan(
        rows=summed,
        wall=wall(jobs, cores, gpus, chain=longest_training(models, machine)),
        memory=OWN_BYTES + max(row.memory * min(row.jobs, slots) for row in summed),
        peak=final + passing,
        final=final,
        guessed=tuple(
            model
            for model, load in last.items()
            if load.sizes.guessed and model not in layout.courses
        ),
    )


def rows(jobs: Sequence[Job]) -> tuple[Row, ...]:
    """Jobs summed by rule, in the order in which rules first appear."""
    by_rule: dict[str, list[Job]] = {}
    for made in jobs:
        by_rule.setdefault(made.rule, []).append(made)
    return tuple(
        Row(
            rule,
            len(found),
            sum(j.seconds * j.cores for j in found) / 3600,
            sum(j.seconds for j in found if j.gpu) / 3600,
            max(j.memory for j in found),
            sum(j.disk for j in found),
        )
        for rule, found in by_rule.items()
    )


def longest_training(
    models: Mapping[tuple[str, str], Mapping[tuple[str, str], Load]], machine: Machine
) -> float:
    """Seconds of the longest training: its steps are jobs that wait for one another."""
    found: dict[str, float] = {}
    for (model, _), runs in models.items():
        load = next(iter(runs.values()))
        if load.source == "trained":
            each = job("trained", load, machine, 0.0).seconds
            found[model] = found.get(model, 0.0) + each
    return max(found.values(), default=0.0)


def wall(jobs: Sequence[Job], cores: int, gpus: int, chain: float = 0.0) -> float:
    """Seconds from start to end: the busiest of cores and GPUs, and no less than the chain of one
    job of each rule, with all jobs of the longest training."""
    cpu = sum(j.seconds * min(j.cores, cores) for j in jobs if not j.gpu) / cores
    gpu = sum(j.seconds for j in jobs if j.gpu) / max(1, gpus)
    longest: dict[str, float] = {}
    for made in jobs:
        longest[made.rule] = max(longest.get(made.rule, 0.0), made.seconds)
    longest["trained"] = chain
    return OWN_SECONDS + max(cpu + gpu, sum(longest.values()))


# What is printed


def lines(found: Plan, machine: Machine, cores: int, gpus: int) -> list[str]:
    """The plan as a table, its totals, and the assumptions it stands on."""
    on_gpu = any(row.gpu_hours for row in found.rows)
    text = [
        f"{'rule':<12} {'jobs':>7} {'core-hours':>11} {'GPU-hours':>10} {'memory':>9} {'disk':>9}"
    ]
    text += [
        f"{r.rule:<12} {r.jobs:>7} {r.core_hours:>11.3f} {r.gpu_hours:>10.3f} "
        f"{size(r.memory):>9} {size(r.disk):>9}"
        for r in found.rows
    ]
    total = Row(
        "all",
        sum(r.jobs for r in found.rows),
        sum(r.core_hours for r in found.rows),
        sum(r.gpu_hours for r in found.rows),
        found.memory,
        found.final,
    )
    text.append(
        f"{total.rule:<12} {total.jobs:>7} {total.core_hours:>11.3f} {total.gpu_hours:>10.3f} "
        f"{size(total.memory):>9} {size(total.disk):>9}"
    )
    where = f"{cores} cores" + (f" and {gpus} GPUs" if on_gpu else "")
    text.append(
        f"wall time on {where}: {duration(found.wall)}; disk: {size(found.peak)} at the most, "
        f"{size(found.final)} at the end"
    )
    text += [f"{m}: not here yet, its size is a guess from its name" for m in found.guessed]
    kind = "gpu" if on_gpu else "cpu"
    stated = {"flops": f"{kind}_flops", "fields": f"{kind}_fields"}
    text.append(
        "assumed per second: "
        + ", ".join(
            f"{name} {getattr(machine, name):g}"
            for name in (*stated.values(), "statistics", "disk", "network")
        )
        + "; change them with --speed NAME=VALUE"
    )
    return text


def size(number: float) -> str:
    """Bytes in decimal units: ``1.5 GB``."""
    power = min(max(1, int(math.log10(max(number, 1) * 1.0005) // 3)), 4)
    return f"{number / 1000**power:.3g} {' kMGT'[power]}B"


def duration(number: float) -> str:
    """Seconds as ``40 s``, ``12 min`` or ``3.1 h``."""
    if number < 90:
        return f"{number:.0f} s"
    return f"{number / 60:.0f} min" if number < 5400 else f"{number / 3600:.1f} h"


# What is given


def machine_of(changes: Sequence[str]) -> Machine:
    """The usual machine with some of its speeds changed, each given as ``NAME=VALUE``.

    Raises:
        ValueError: a name that is none, or a value that is no positive number; in one line.
    """
    known = Machine.__dataclass_fields__
    found: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise ValueError(f"--speed {change!r}: no such speed; allowed are {', '.join(known)}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf"):
            raise ValueError(f"--speed {change!r}: write a number above 0, {name}=1e9 say")
    return replace(Machine(), **found)
