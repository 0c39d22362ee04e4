"""Reading everything again: is each result still what the ledger says, and of today's making?"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from abspos.audit import code, ledger, machine
from abspos.audit.accounts import failed_logs, unaccounted
from abspos.audit.chain import Chain, Record, load
from abspos.audit.seals import run_seal, seal
from abspos.stores import (
    StoreError,
    differences,
    digest_files,
    file_digest,
    read_manifest,
    root_digest,
)

#: A crate's list of stores that were left out by choice, recorded path -> digest; and a file that
#: every crate has.
LEFT_OUT, CRATE = "left-out.json", "ro-crate-metadata.json"

#: What all entries of a job have in common: everything but these.
OWN = ("path", "kind", "digest", "bytes", "temporary", "self")

AGAIN = "run snakemake to make it again; if the study makes it no more, delete its ledger entry"
REMADE = "delete it and run snakemake"


@dataclass(frozen=True, order=True)
class Finding:
    """Something that is not as recorded.

    Attributes:
        kind: missing, altered, unaccounted, stale, code or packages.
        what: the file, source or package, by name.
        detail: what is wrong with it, and the cure.
    """

    kind: str
    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind:<12} {self.what}" + (f": {self.detail}" if self.detail else "")


@dataclass
class Report:
    """Result of a verification.

    Attributes:
        findings: sorted; empty if everything is as recorded.
        notes: remarks that are not findings.
        files, stores, bytes: how much was read.
        seal: one digest over all tables and stores: equal in two clones with the same results.
        run_seal: one digest over all ledger entries, and so over checkpoints and figures too: equal
            in copies of this run alone.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    stores: int = 0
    bytes: int = 0
    seal: str = ""
    run_seal: str = ""


def verify(results: Path, root: Path) -> Report:
    """Compare a study's folder, and the checkpoints it used, with the ledger and today's code.

    Args:
        results: the folder ``results/<study>``, here or moved.
        root: the project's folder, whose code and packages are today's.

    Returns:
        The report; it reads every byte that a ledger entry speaks for.
    """
    chain = load(results, root)
    report = Report()
    found: list[Finding] = [
        Finding("altered", str(file), why) for file, why in chain.broken.items()
    ]
    if not chain.records and not found:
        found.append(Finding("missing", str(results / ledger.FOLDER), "no entries"))
    absent = left_out(chain)
    if absent:
        report.notes.append(f"left out of this crate, by choice: {_listed(absent)}")
    for record in chain.records.values():
        gone = record.path not in chain.current or absent.get(record.name) == record.entry["digest"]
        found += content(record, chain, gone)
        whole = record.entry["kind"] == "file"
        report.files += whole
        report.stores += not whole
        report.bytes += record.entry["bytes"] if record.path.exists() else 0
    found += _inputs(chain, absent)
    found += _jobs(chain)
    found += (Finding("unaccounted", str(path), why) for path, why in unaccounted(chain))
    found += _code(chain)
    found += _packages(chain)
    report.findings = sorted(set(found))
    report.notes += sorted(_notes(chain))
    report.seal, report.run_seal = seal(chain), run_seal(chain)
    return report


def left_out(chain: Chain) -> dict[str, str]:
    """Files that a crate lists as left out; empty outside of a crate.

    A crate leaves out stores and what lies outside of the project. Its list hides nothing else, and
    outside of a crate it hides nothing.
    """
    listing = chain.root / LEFT_OUT
    if not (listing.is_file() and (chain.root / CRATE).is_file()):
        return {}
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))
        named = {str(name): str(digest) for name, digest in listed.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {name: digest for name, digest in named.items() if _may_be_left_out(chain, name)}


def _may_be_left_out(chain: Chain, name: str) -> bool:
    record, path = chain.record(name), PurePosixPath(name)
    if record is None:
        return path.is_absolute() or ".." in path.parts
    return record.entry["kind"] != "file"


def content(record: Record, chain: Chain, gone: bool = False) -> Iterator[Finding]:
    """Whether one result, and the log of its job, are there with the bytes that were recorded.

    Args:
        record: of the result.
        chain: its ledger.
        gone: whether the result may be missing.
    """
    entry, path = record.entry, record.path
    try:
        if entry.get("log") and not (gone and record.path not in chain.current):
            yield from _log(path, chain.locate(entry["log"]["path"]), entry["log"])
        if gone and not path.exists():
            return
        if path.exists() and path.is_file() != (entry["kind"] == "file"):
            yield Finding(
                "altered", str(path), f"it is no {entry['kind']}, as its entry says; {REMADE}"
            )
            return
        if entry["temporary"] and not _may_go(entry):
            words = f"its entry says that it may go, which no store of its stage may; {REMADE}"
            yield Finding("altered", str(path), words)
        yield from _file(path, entry) if entry["kind"] == "file" else _folder(path, entry)
    except (OSError, StoreError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        yield Finding("altered", str(path), f"cannot be read ({why}); {REMADE}")


def _may_go(entry: Mapping[str, Any]) -> bool:
    """Whether Snakemake may have removed a store: one of a stage, or of a job with that param."""
    stage = PurePosixPath(entry["path"]).parts[2:3]
    return stage == (ledger.TEMPORARY,) or bool(entry["params"].get("temporary"))


def _log(result: Path, path: Path, stated: Mapping[str, Any]) -> Iterator[Finding]:
    if not path.is_file():
        cure = f"delete {result}, whose job wrote it, and run snakemake"
        yield Finding("missing", str(path), cure)
    elif file_digest(path) != stated["digest"]:
        yield Finding("altered", str(path), "its bytes are not those that were written")


def _file(path: Path, entry: Mapping[str, Any]) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding("missing", str(path), AGAIN)
    elif (path.stat().st_size, file_digest(path)) != (entry["bytes"], entry["digest"]):
        yield Finding("altered", str(path), f"its bytes are not those that were written; {REMADE}")


def _folder(path: Path, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """A store, by its manifest where it has one; a temporary one may be gone."""
    manifest = ledger.manifest_of(path)
    both = f"delete {path} and its manifest, and run snakemake"
    if entry["kind"] == "store" and manifest.exists():
        try:
            stated = read_manifest(manifest)
        except StoreError as error:
            yield Finding("altered", str(manifest), str(error).removeprefix(f"{manifest}: "))
            return
        if (stated["root"], stated["bytes"]) != (entry["digest"], entry["bytes"]):
            words = f"manifest and ledger record different contents; {both}"
            yield Finding("altered", str(path), words)
        elif path.is_dir():
            for line in differences(path, manifest):
                name, _, kind = line.rpartition(": ")
                if kind in ("missing", "altered"):
                    yield Finding(kind, name, both)
                else:
                    yield Finding("unaccounted", name, f"{kind}; delete it")
        elif not entry["temporary"]:
            yield Finding("missing", str(path), AGAIN)
    elif path.is_dir():
        if root_digest(digest_files(path)) != entry["digest"]:
            yield Finding(
                "altered", str(path), f"its bytes are not those that were written; {both}"
            )
    elif not entry["temporary"]:
        yield Finding("missing", str(path), AGAIN)


def _jobs(chain: Chain) -> Iterator[Finding]:
    """Whether the entries of one job say the same of it."""
    for record in chain.current.values():
        shared = {key: value for key, value in record.entry.items() if key not in OWN}
        if record.name not in shared["outputs"]:
            yield Finding("altered", str(record.file), "it is not among the outputs that it names")
        for name, known in chain.siblings(record):
            if known is None:
                words = f"no ledger entry, though the job of {record.name} made it; {REMADE}"
                yield Finding("missing", str(chain.locate(name)), words)
            elif any(known.entry.get(key) != value for key, value in shared.items()):
                words = f"its entry and that of {name} differ, though one job made both; {REMADE}"
                yield Finding("altered", str(record.path), words)
                break


def _inputs(chain: Chain, absent: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each result was made from what lies there now."""
    outside: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in chain.current.values():
        for name, described, known in chain.sources(record):
            if known is None:
                outside[name][described.get("digest", "")].append(record.name)
            elif known.entry["digest"] != described.get("digest"):
                yield Finding("stale", str(record.path), f"made from another {name}; {REMADE}")
    for name, digests in outside.items():
        path = chain.locate(name)
        users = _listed([user for users in digests.values() for user in users])
        try:
            now = ledger.describe(path)["digest"]
        except (StoreError, OSError):
            if digests.keys() == {absent.get(name)}:
                continue
            yield Finding("missing", str(path), f"an input of {users}")
            continue
        if name.startswith("results/"):
            yield Finding("unaccounted", str(path), f"no ledger entry, but an input of {users}")
        for digest, made in digests.items():
            if digest != now:
                yield Finding("altered", str(path), f"since it was an input of {_listed(made)}")


def _code(chain: Chain) -> Iterator[Finding]:
    """Sources that are no longer what they were when they made something."""
    made: dict[str, list[str]] = defaultdict(list)
    now: dict[str, str | None] = {}
    for record in chain.current.values():
        for name, digests in record.entry["code"].items():
            if name not in now:
                now[name] = _digest_now(chain.root / name)
            if now[name] != digests.get("code"):
                made[name].append(record.name)
    for name, results in made.items():
        what = "changed since it made" if now[name] else "gone; it made"
        yield Finding("code", name, f"{what} {_listed(results)}")


def _digest_now(source: Path) -> str | None:
    """Digest of a source's code; nothing that was recorded if it is no text, None if it is gone."""
    try:
        return code.digest(source) if source.is_file() else None
    except (OSError, ValueError):
        return "unreadable"


def _packages(chain: Chain) -> Iterator[Finding]:
    """Packages whose version today is not the one that made something."""
    today = machine.packages()
    made: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in chain.current.values():
        for name in record.entry["loaded"]:
            made[name, str(record.entry["packages"].get(name))].append(record.name)
    for (name, version), results in made.items():
        if today.get(name) != version:
            now = today.get(name, "not installed")
            yield Finding("packages", f"{name} {version}", f"made {_listed(results)}; today: {now}")


def _notes(chain: Chain) -> Iterator[str]:
    """Changes without effect on results, and files removed as planned."""
    made: dict[str, list[str]] = defaultdict(list)
    rules: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    if logs := failed_logs(chain):
        made["logs of jobs that failed or whose results are gone"] += logs
    for record in chain.records.values():
        entry = record.entry
        if record.path not in chain.current:
            made["of models, revisions or arms that no current result was made from"].append(
                record.name
            )
            continue
        if entry["kind"] != "file" and entry["temporary"] and not record.path.is_dir():
            made["temporary stores, removed after use; their manifests stay"].append(record.name)
        if entry["python"] != machine.python():
            made[f"made by Python {entry['python']}; today: {machine.python()}"].append(record.name)
        if not (entry.get("git") or {"clean": True})["clean"]:
            made["made from a tree with uncommitted changes"].append(record.name)
        if entry["rule"].get("defined"):
            key = (str(entry["rule"].get("name")), ledger.script_of(entry["code"]))
            rules[key] = entry["rule"]["defined"]
    for (name, script), then in rules.items():
        now = ledger.rule_file(name, script, chain.root)
        if now is None or now["code"] != then["code"]:
            made["rules edited since; snakemake -n shows whether it matters"].append(name)
    yield from (f"{note}: {_listed(names)}" for note, names in made.items())


def _listed(names: Iterable[str]) -> str:
    """The first name, and how many more there are."""
    several = sorted(set(names))
    more = len(several) - 1
    return several[0] + (f" and {more} more" if more else "")
