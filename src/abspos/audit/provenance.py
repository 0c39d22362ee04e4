"""Jobs as actions of a Provenance Run Crate, with their inputs, results and costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from abspos.audit import ledger
from abspos.audit.chain import Chain, Record

DONE = "http://schema.org/CompletedActionStatus"

#: Property and unit of each cost of a job.
COSTS = {
    "duration": (
        "https://slurm.schedmd.com/sacct.html#OPT_Elapsed",
        "https://qudt.org/vocab/unit/SEC",
    ),
    "peak memory": (
        "https://slurm.schedmd.com/sacct.html#OPT_MaxRSS",
        "https://qudt.org/vocab/unit/BYTE",
    ),
}


def ordered(chain: Chain) -> list[Record]:
    """All records of the study as it is now, by name."""
    return sorted(chain.current.values(), key=lambda record: record.name)


class Job:
    """All results of one job, with the ledger entry that they share."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.entry = records[0].entry
        self.rule = str(self.entry["rule"].get("name"))
        self.script = ledger.script_of(self.entry["code"]) or "Snakefile"
        run = self.entry["circumstances"]
        self.start = datetime.fromisoformat(run["start"])
        self.end = self.start + timedelta(seconds=float(run["seconds"]))
        self.memory = run.get("peak_memory_bytes")
        self.host = run.get("host") or {}

    @property
    def title(self) -> str:
        """The rule and its wildcards."""
        return " ".join([self.rule, *map(str, self.entry["wildcards"].values())])


def jobs(chain: Chain) -> list[Job]:
    """The jobs in a ledger, by start."""
    grouped: dict[tuple[Any, ...], list[Record]] = {}
    for record in ordered(chain):
        key = (record.entry["circumstances"]["start"], *record.entry["outputs"])
        grouped.setdefault(key, []).append(record)
    return sorted((Job(records) for records in grouped.values()), key=lambda j: (j.start, j.title))


def actions(
    crate: ROCrate,
    workflow: Any,
    steps: Sequence[Job],
    tools: Mapping[str, Any],
    entities: Mapping[str, Any],
) -> None:
    """One action per job, with its environment and cost, and one for the whole run."""
    made_actions, controls, rules = [], [], dict[str, Any]()
    made = [entity for job in steps for entity in _made(job, entities)]
    whole = crate.add_action(
        workflow,
        "#run",
        result=made,
        object=crate.dereference("config.yaml"),
        properties={
            "name": f"Run of {workflow['name']}",
            "actionStatus": DONE,
            "description": "All jobs that made these results, by Snakemake.",
            "startTime": _time(steps[0].start),
            "endTime": _time(max(j.end for j in steps)),
        },
    )
    for number, job in enumerate(steps, 1):
        if job.rule not in rules:
            step = {"@type": "HowToStep", "name": job.rule, "position": str(len(rules) + 1)}
            rules[job.rule] = crate.add(ContextEntity(crate, f"#step/{job.rule}", step))
            rules[job.rule]["workExample"] = tools[job.script]
        given = [e for name in job.entry["inputs"] if (e := _given(crate, name, entities))]
        action = crate.add_action(
            tools[job.script],
            f"#job/{number}",
            object=_some(given),
            result=_some(_made(job, entities)),
            properties={
                "name": job.title,
                "description": _settings(job),
                "actionStatus": DONE,
                "startTime": _time(job.start),
                "endTime": _time(job.end),
            },
        )
        action["environment"] = list(_environment(crate, job))
        action["resourceUsage"] = list(_usage(crate, job, number))
        made_actions.append(action)
        control = {"@type": "ControlAction", "name": f"Orchestrate {job.title}"}
        controls.append(crate.add(ContextEntity(crate, f"#control/{number}", control)))
        controls[-1]["instrument"] = rules[job.rule]
        controls[-1]["object"] = action
    workflow["step"] = list(rules.values())
    organised = {"@type": "OrganizeAction", "name": "Snakemake"}
    organise = crate.add(ContextEntity(crate, "#organise", organised))
    organise["instrument"] = _engine(crate, steps)
    organise["object"] = controls
    organise["result"] = whole
    crate.root_dataset["mentions"] = [whole, organise, *made_actions]


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _some(entities: list[Any]) -> Any:
    """A list in the style of JSON-LD: a single entity is not wrapped."""
    return entities[0] if len(entities) == 1 else entities


def _made(job: Job, entities: Mapping[str, Any]) -> list[Any]:
    return [entities[record.name] for record in job.records]


def _given(crate: ROCrate, name: str, entities: Mapping[str, Any]) -> Any:
    """The entity of an input: a result, or a file of the project."""
    return entities.get(name) or crate.dereference(quote(name))


def _settings(job: Job) -> str:
    """Settings that a job got from its rule."""
    shown = {key: job.entry[key] for key in ("wildcards", "config", "params") if job.entry[key]}
    return json.dumps(shown, sort_keys=True, ensure_ascii=False)


def _environment(crate: ROCrate, job: Job) -> Iterator[Any]:
    """The environment of a job, as property values that jobs share."""
    entry = job.entry
    values = {"Python": entry["python"], "threads": entry.get("threads")}
    values |= {name: entry["packages"].get(name) for name in entry["loaded"]}
    values |= {key: job.host.get(key) for key in ("cpu", "cores", "os", "architecture")}
    for gpu in job.host.get("gpus") or []:
        values |= {"gpu": gpu.get("name"), "gpu driver": gpu.get("driver")}
    values |= entry["determinism"]
    git = entry.get("git")
    if git:
        values["git commit"] = git["commit"] + ("" if git.get("clean") else " (edited)")
    for name, value in values.items():
        if value is not None:
            yield _value(crate, "environment", name, str(value))


def _usage(crate: ROCrate, job: Job, number: int) -> Iterator[Any]:
    """The costs of a job."""
    seconds = (job.end - job.start).total_seconds()
    for name, value in (("duration", seconds), ("peak memory", job.memory)):
        if value is not None:
            about = {"propertyID": COSTS[name][0], "unitCode": COSTS[name][1]}
            yield _value(crate, f"usage/{number}", name, f"{value:.15g}", about)


def _value(
    crate: ROCrate, kind: str, name: str, value: str, more: Mapping[str, str] | None = None
) -> Any:
    """A PropertyValue; equal values share one entity."""
    digest = hashlib.sha256(f"{name} {value}".encode()).hexdigest()[:8]
    identifier = f"#{kind}/{digest}"
    about = {"@type": "PropertyValue", "name": name, "value": value, **(more or {})}
    return crate.dereference(identifier) or crate.add(ContextEntity(crate, identifier, about))


def _engine(crate: ROCrate, steps: Sequence[Job]) -> Any:
    version = str(steps[-1].entry["packages"].get("snakemake"))
    about = {
        "@type": "SoftwareApplication",
        "name": "Snakemake",
        "softwareVersion": version,
        "url": "https://snakemake.readthedocs.io",
    }
    identifier = f"https://pypi.org/project/snakemake/{version}/"
    return crate.add(ContextEntity(crate, identifier, about))
