"""The ledger as a chain: from each result back to what it was made of, wherever it lies now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from abspos.audit import ledger
from abspos.stores import StoreError


@dataclass(frozen=True)
class Record:
    """One ledger entry and where its result lies now.

    Attributes:
        path: the result.
        file: the ledger entry's own file.
        entry: what it says.
    """

    path: Path
    file: Path
    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The result's path as it was recorded."""
        return str(self.entry["path"])


@dataclass
class Chain:
    """All entries of a study, and those of the checkpoints that it came from.

    Results may have been moved since they were made: recorded paths are looked up below the
    folder that holds the ledger now, those of checkpoints beside it, all others in the working
    folder, which holds results/, and then in the project.

    Attributes:
        results: the study's folder.
        root: the project's folder, for inputs and sources.
        records: by the path of the result.
        broken: entries that cannot be believed, and why.
        homes: recorded folder -> folder now.
    """

    results: Path
    root: Path
    records: dict[Path, Record] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)
    homes: dict[str, Path] = field(default_factory=dict)

    def locate(self, recorded: str) -> Path:
        """Where a recorded path lies now."""
        path = PurePosixPath(recorded)
        home = self.homes.get("/".join(path.parts[:2]))
        if home is not None:
            return home.joinpath(*path.parts[2:])
        beside = self.results.parent.joinpath(*path.parts[1:])
        project = self.root / path
        if recorded.startswith("results/"):
            return project if project.exists() else beside
        working = self.results.parent.parent / path
        return working if working.exists() else project

    def record(self, recorded: str) -> Record | None:
        """The entry of a recorded path, if there is one."""
        return self.records.get(self.locate(recorded))

    def sources(self, record: Record) -> Iterator[tuple[str, Mapping[str, Any], Record | None]]:
        """Recorded path, description and own entry of each input of a record."""
        for name, described in sorted(record.entry["inputs"].items()):
            yield name, described, self.record(name)

    def siblings(self, record: Record) -> Iterator[tuple[str, Record | None]]:
        """Recorded path and entry of each result of the job that made a record, itself included."""
        for name in record.entry["outputs"]:
            yield name, self.record(name)

    @cached_property
    def current(self) -> dict[Path, Record]:
        """Records of the study as it is now.

        These are the results of the whole study, whose rules have no wildcards, and all that they
        were made from. The others are left from models, revisions or arms that the study no longer
        has, or does not have yet. All records, where the study has no such result.
        """
        waiting = [
            record
            for record in self.records.values()
            if not record.entry["wildcards"] and record.path.is_relative_to(self.results)
        ]
        if not waiting:
            return self.records
        found: dict[Path, Record] = {}
        while waiting:
            record = waiting.pop()
            if record.path not in found:
                found[record.path] = record
                waiting += [known for _, _, known in self.sources(record) if known]
                waiting += [known for _, known in self.siblings(record) if known]
        return found


def load(results: Path, root: Path) -> Chain:
    """Read the ledger of a study, and the entries of what it used from other folders."""
    chain = Chain(results, root)
    files = [(path, results) for path in ledger.entries(results)]
    seen: set[Path] = set()
    while files:
        file, home = files.pop()
        if file in seen:
            continue
        seen.add(file)
        record = _read(chain, file, home)
        if record:
            chain.records[record.path] = record
        if not files:
            files = [pair for pair in _elsewhere(chain) if pair[0] not in seen]
    return chain


def _read(chain: Chain, file: Path, home: Path) -> Record | None:
    """One entry, or None with a reason in ``broken``."""
    try:
        entry = ledger.read(file)
        own = ledger.place(entry["path"])
    except StoreError as error:
        chain.broken[file] = str(error).removeprefix(f"{file}: ")
        return None
    inside = file.relative_to(home / ledger.FOLDER)
    if Path(*own.parts[3:]) != inside:
        chain.broken[file] = f"it is the entry of {entry['path']}"
        return None
    chain.homes["/".join(own.parts[:2])] = home
    return Record(home / inside.with_name(inside.name.removesuffix(".json")), file, entry)


def _elsewhere(chain: Chain) -> Iterator[tuple[Path, Path]]:
    """Entries of inputs that lie in another results folder, with that folder."""
    for record in list(chain.records.values()):
        for name, _, known in chain.sources(record):
            parts = PurePosixPath(name).parts
            if known is not None or parts[0] != "results" or len(parts) < 3:
                continue
            path = chain.locate(name)
            home = Path(*path.parts[: len(path.parts) - len(parts) + 2])
            if home == chain.results:
                continue
            file = home / ledger.FOLDER / Path(*parts[2:-1]) / f"{parts[-1]}.json"
            if file.is_file():
                yield file, home
