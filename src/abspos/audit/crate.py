"""A study as one Workflow Run RO-Crate: results, ledger, code, and who made what, how, from what.

The crate keeps the project's own layout, so that ``abspos verify`` works in it as it does here.
What is left out by choice (stores, checkpoints) is listed in ``left-out.json``, with its digest.
What an earlier version of the study left beside the results (abspos.audit.chain) is not packed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from rocrate.model import ComputationalWorkflow, ContextEntity
from rocrate.rocrate import ROCrate

from abspos.audit import ledger
from abspos.audit.accounts import LOGS, UNLEDGERED
from abspos.audit.chain import Chain, Record, load
from abspos.audit.provenance import Job, actions, jobs, ordered
from abspos.audit.verify import LEFT_OUT, verify
from abspos.stores import StoreError, write_atomically

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {
    name: f"https://w3id.org/ro/terms/workflow-run#{name}"
    for name in ("environment", "resourceUsage", "sha256")
}

#: Files of the project that determine its results: code, settings, environment, corpus.
PROJECT = (
    "Snakefile",
    "config.yaml",
    "Makefile",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "requirements.lock",
    "requirements-torch.txt",
    "studies",
    "profiles",
    "slurm",
    "envs",
    "workflow",
    "src",
    "resources",
    "docs",
)
SKIPPED = {"__pycache__", ".snakemake", ".ipynb_checkpoints"}

CHECKPOINTS = "results/checkpoints/"
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"

UNLICENSED = {
    "@type": "CreativeWork",
    "name": "No license stated",
    "description": "The project states none; texts of the corpus have their own.",
}

#: A workflow script, described as a tool.
TOOL = {
    "@type": ["File", "SoftwareSourceCode", "SoftwareApplication"],
    "programmingLanguage": "Python",
}

#: Media types by suffix.
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".rst": "text/x-rst",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}


def pack(results: Path, root: Path, target: Path, stores: str = "none") -> None:
    """Write a study as an RO-Crate.

    Args:
        results: the study's folder.
        root: the project's folder.
        target: a ``.zip`` file, or a folder that does not exist yet.
        stores: which stores to pack: none, components (with inputs and statistics), or all that
            exist, with checkpoints and kept activations. Manifests are always packed.

    Raises:
        StoreError: the results are not as recorded.
        FileExistsError: the target folder exists.
    """
    findings = verify(results, root).findings
    if findings:
        raise StoreError(
            f"{results}: {len(findings)} findings, the first: {findings[0].kind} "
            f"{findings[0].what}; see abspos verify, then run snakemake"
        )
    if target.suffix != ".zip" and target.exists():
        raise FileExistsError(f"{target}: exists; give another --output, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    chain = load(results, root)
    left_out = {
        record.name: record.entry["digest"]
        for record in chain.current.values()
        if not _goes_in(record, stores)
    }
    left_out |= {name: digest for name, digest in _outside(chain).items() if not _inside(name)}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        listing = Path(scratch, LEFT_OUT)
        write_atomically(listing, json.dumps(left_out, indent=1, sort_keys=True) + "\n")
        crate = describe(chain, left_out, listing)
        made = Path(scratch, "crate.zip" if target.suffix == ".zip" else "crate")
        crate.write_zip(made) if made.suffix else crate.write(made)
        made.replace(target)


def _goes_in(record: Record, stores: str) -> bool:
    """Whether a result is packed: files always, stores if chosen and present."""
    if record.entry["kind"] == "file":
        return True
    own = Path(record.name).parts[2] != "activations" and not record.name.startswith(CHECKPOINTS)
    return record.path.is_dir() and (stores == "all" or (stores == "components" and own))


def _outside(chain: Chain) -> dict[str, str]:
    """Recorded path -> digest of the inputs that no job made."""
    return {
        name: str(described.get("digest"))
        for record in chain.current.values()
        for name, described, known in chain.sources(record)
        if known is None
    }


def _inside(name: str) -> bool:
    """Whether a recorded path lies in the project, so that a crate can hold it."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def describe(chain: Chain, left_out: Mapping[str, str], listing: Path) -> ROCrate:
    """The crate of a study, not yet written.

    Args:
        chain: its ledger.
        left_out: recorded path -> digest of each result that is not packed.
        listing: a file with this mapping, for the crate's root.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    steps = jobs(chain)
    scripts = {job.script: job.entry["code"].get(job.script, {}).get("code") for job in steps}
    workflow = _root(crate, chain, steps, bool(left_out))
    given = ((chain.locate(name), name) for name in _outside(chain) if _inside(name))
    for path, name in [*_project_files(chain.root), *given]:
        if not crate.dereference(quote(name)):
            about = TOOL | {"version": scripts[name]} if name in scripts else {}
            crate.add_file(path, name, properties=_plain(path, name) | about)
    crate.add_file(listing, LEFT_OUT, properties=_plain(listing, "what is left out, by choice"))
    entities = {record.name: _result(crate, record, left_out) for record in ordered(chain)}
    for path, name in _others(chain):
        crate.add_file(path, name, properties=_plain(path, name))
    tools = {script: crate.dereference(quote(script)) for script in sorted(scripts)}
    workflow["hasPart"] = list(tools.values())
    actions(crate, workflow, steps, tools, entities)
    return crate


def _root(crate: ROCrate, chain: Chain, steps: Sequence[Job], partial: bool) -> Any:
    """The root entity with its profiles, and the workflow."""
    study = chain.results.name
    crate.name = f"Where absolute position comes from: study {study}"
    crate.description = (
        "Tables, verdicts and figures of one study by abspos, with the workflow that made them and "
        "a ledger entry for each file. Check it with: abspos verify"
        + (" (stores that were left out are listed in left-out.json)." if partial else ".")
    )
    crate.datePublished = max(job.end for job in steps)
    licence = chain.root / "LICENSE"
    crate.license = (
        crate.add_file(licence, "LICENSE", properties=_plain(licence, "LICENSE"))
        if licence.is_file()
        else crate.add(ContextEntity(crate, "#license", UNLICENSED))
    )
    workflow = crate.add_workflow(
        chain.root / "Snakefile",
        "Snakefile",
        main=True,
        lang="snakemake",
        lang_version=steps[0].entry["packages"].get("snakemake"),
        cls=ComputationalWorkflow,
        properties={
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "abspos",
            "description": "The workflow, from checkpoint to report.",
            "conformsTo": {"@id": BIOSCHEMAS},
            "encodingFormat": "text/plain",
            "version": (steps[-1].entry.get("git") or {}).get("commit", "not in a repository"),
        },
    )
    profiles = [
        crate.add(
            ContextEntity(
                crate,
                url,
                {"@type": ["CreativeWork", "Profile"], "name": name, "version": url.split("/")[-1]},
            )
        )
        for url, name in PROFILES.items()
    ]
    crate.root_dataset["conformsTo"] = profiles
    return workflow


def _project_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Files of the project that a crate carries, with their names in it."""
    for top in PROJECT:
        start = root / top
        found = [start] if start.is_file() else sorted(start.rglob("*"))
        for path in found:
            inside = path.relative_to(root)
            hidden = SKIPPED.intersection(inside.parts) or inside.parts[-1].endswith(".pyc")
            generated = any(part.endswith(".egg-info") for part in inside.parts)
            if path.is_file() and not hidden and not generated:
                yield path, inside.as_posix()


def _others(chain: Chain) -> Iterator[tuple[Path, str]]:
    """Ledger entries, and logs and reports, which no entry speaks for."""
    names = {record.path for record in chain.records.values()}
    home = next(iter(r.name for r in ordered(chain) if r.path.is_relative_to(chain.results)))
    recorded = "/".join(home.split("/")[:2])
    for record in ordered(chain):
        yield record.file, ledger.place(record.name).as_posix()
    for top in (LOGS, *UNLEDGERED):
        start = chain.results / top
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            if path.is_file() and path not in names:
                yield path, f"{recorded}/{path.relative_to(chain.results).as_posix()}"
    logs = {r.entry["log"]["path"] for r in ordered(chain) if r.entry.get("log")}
    for name in sorted(logs):
        if name.startswith(CHECKPOINTS):
            yield chain.locate(name), name


def _plain(path: Path, name: str) -> dict[str, Any]:
    """Properties of a file's entity."""
    about: dict[str, Any] = {"about": {"@id": "./"}} if name == "README.md" else {}
    about["encodingFormat"] = FORMATS.get(path.suffix, "text/plain")
    return about | {"name": name, "contentSize": str(path.stat().st_size)}


def _result(crate: ROCrate, record: Record, left_out: Mapping[str, str]) -> Any:
    """The entity of one result: a file, a folder, or a mention of what was left out."""
    entry = record.entry
    about = {
        "name": record.name.split("/", 2)[-1],
        "sha256": entry["digest"],
        "contentSize": str(entry["bytes"]),
    }
    if record.name in left_out:
        identifier = "#left-out/" + record.name
        about |= {"@type": "CreativeWork", "description": "Left out of this crate, by choice."}
        return crate.add(ContextEntity(crate, identifier, about))
    if entry["kind"] == "file":
        form = FORMATS.get(record.path.suffix, "text/plain")
        return crate.add_file(
            record.path, record.name, properties={**about, "encodingFormat": form}
        )
    about["description"] = "A folder; sha256 is over the sorted digests of its files."
    return crate.add_dataset(record.path, record.name, properties=about)
