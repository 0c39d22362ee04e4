"""Reading everything again: is each result still what the ledger says, and of today's making?"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abspos.audit import code, ledger, machine
from abspos.audit.chain import Chain, Record, load
from abspos.stores import (
    FOREIGN,
    StoreError,
    differences,
    digest_files,
    file_digest,
    read_manifest,
    root_digest,
)

#: What a study's folder holds besides results: no entry is asked for these.
UNLEDGERED = (ledger.FOLDER, "logs", "benchmarks", "report.html", "report.zip")

#: A crate's list of results that were left out by choice: recorded path -> digest.
LEFT_OUT = "left-out.json"

#: What shows tables to readers: its bytes may differ between two runs of the same study.
VARYING = ("figures", "front.rst")


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
    """What verify found.

    Attributes:
        findings: sorted; none means that all is as recorded.
        notes: what is worth knowing and is no fault.
        files, stores, bytes: how much was read.
        seal: one digest over all tables and stores: equal in two clones with the same results.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    stores: int = 0
    bytes: int = 0
    seal: str = ""


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
        if absent.get(record.name) == record.entry["digest"] and not record.path.exists():
            continue
        found += content(record, chain)
        whole = record.entry["kind"] == "file"
        report.files += whole
        report.stores += not whole
        report.bytes += record.entry["bytes"] if record.path.exists() else 0
    found += _inputs(chain, absent)
    found += _unaccounted(chain)
    found += _code(chain)
    found += _packages(chain)
    report.findings = sorted(set(found))
    report.notes += sorted(_notes(chain))
    report.seal = seal(chain)
    return report


def left_out(chain: Chain) -> dict[str, str]:
    """What the crate that this project is, if it is one, says it does not hold."""
    try:
        listed = json.loads((chain.root / LEFT_OUT).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in listed.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def seal(chain: Chain) -> str:
    """SHA-256 over path and digest of everything that two runs of a study give alike."""
    lines = sorted(
        f"{record.path.relative_to(chain.results).as_posix()} {record.entry['digest']}\n"
        for record in chain.records.values()
        if record.path.is_relative_to(chain.results)
        and record.path.relative_to(chain.results).parts[0] not in VARYING
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def content(record: Record, chain: Chain) -> Iterator[Finding]:
    """Whether one result, and the log of its job, are there with the bytes that were recorded."""
    entry, path = record.entry, record.path
    try:
        if entry.get("log"):
            yield from _file(chain.locate(entry["log"]["path"]), entry["log"])
        yield from _file(path, entry) if entry["kind"] == "file" else _folder(path, entry)
    except OSError as error:
        yield Finding("altered", str(path), f"cannot be read ({error.strerror})")


def _file(path: Path, entry: Mapping[str, Any]) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding("missing", str(path), "run snakemake to make it again")
    elif file_digest(path) != entry["digest"]:
        yield Finding("altered", str(path), "its bytes are not those that were written")


def _folder(path: Path, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """A store, by its manifest where it has one; a temporary one may be gone."""
    manifest = ledger.manifest_of(path)
    if entry["kind"] == "store" and manifest.is_file():
        try:
            root = read_manifest(manifest)["root"]
        except StoreError as error:
            yield Finding("altered", str(manifest), str(error).removeprefix(f"{manifest}: "))
            return
        if root != entry["digest"]:
            yield Finding("altered", str(path), "manifest and ledger tell different contents")
        elif path.is_dir():
            for line in differences(path, manifest):
                name, _, kind = line.rpartition(": ")
                if kind in ("missing", "altered"):
                    yield Finding(kind, name)
                else:
                    yield Finding("unaccounted", name, kind)
        elif not entry["temporary"]:
            yield Finding("missing", str(path), "run snakemake to make it again")
    elif path.is_dir():
        if root_digest(digest_files(path)) != entry["digest"]:
            yield Finding("altered", str(path), "its bytes are not those that were written")
    elif not entry["temporary"]:
        yield Finding("missing", str(path), "run snakemake to make it again")


def _inputs(chain: Chain, absent: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each result was made from what lies there now."""
    outside: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in chain.records.values():
        for name, described, known in chain.sources(record):
            if known is None:
                outside[name][described.get("digest", "")].append(record.name)
            elif known.entry["digest"] != described.get("digest"):
                yield Finding("stale", str(record.path), f"made from another {name}; run snakemake")
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


def _unaccounted(chain: Chain) -> Iterator[Finding]:
    """Files of the study that no entry speaks for."""
    stores = {r.path for r in chain.records.values() if r.entry["kind"] != "file"}
    read = {r.file for r in chain.records.values()} | chain.broken.keys()
    for path in sorted(chain.results.rglob("*")):
        inside = path.relative_to(chain.results)
        whole = path.suffix == ".zarr" or path.name.endswith(".partial")
        if path.is_dir() and not path.is_symlink():
            if path in stores or not whole or stores.intersection(path.parents):
                continue
            stores.add(path)  # told once, not file by file
        elif path.name in FOREIGN or stores.intersection(path.parents):
            continue
        if inside.parts[0] == ledger.FOLDER:
            if path not in read:
                yield Finding("unaccounted", str(path), "not a ledger entry; delete it")
        elif inside.parts[0] not in UNLEDGERED and path not in chain.records:
            yield Finding("unaccounted", str(path), "no rule's job wrote it; delete or move it")


def _code(chain: Chain) -> Iterator[Finding]:
    """Sources that are no longer what they were when they made something."""
    made: dict[str, list[str]] = defaultdict(list)
    now = {}
    for record in chain.records.values():
        for name, digests in record.entry["code"].items():
            if name not in now:
                path = chain.root / name
                now[name] = code.digest(path) if path.is_file() else None
            if now[name] != digests.get("code"):
                made[name].append(record.name)
    for name, results in made.items():
        what = "changed since it made" if now[name] else "gone; it made"
        yield Finding("code", name, f"{what} {_listed(results)}")


def _packages(chain: Chain) -> Iterator[Finding]:
    """Packages whose version today is not the one that made something."""
    today = machine.packages()
    made: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in chain.records.values():
        for name in record.entry["loaded"]:
            made[name, str(record.entry["packages"].get(name))].append(record.name)
    for (name, version), results in made.items():
        if today.get(name) != version:
            now = today.get(name, "not installed")
            yield Finding("packages", f"{name} {version}", f"made {_listed(results)}; today: {now}")


def _notes(chain: Chain) -> Iterator[str]:
    """What changed without bearing on results, and what is gone as planned."""
    made: dict[str, list[str]] = defaultdict(list)
    rules: dict[tuple[str, str | None], Mapping[str, Any]] = {}
    for record in chain.records.values():
        entry = record.entry
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
