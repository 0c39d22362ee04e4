"""The provenance of one result: its job and inputs, back to checkpoint and corpus."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from abspos.audit import code, ledger
from abspos.audit.chain import Chain, Record, load
from abspos.audit.verify import content
from abspos.stores import StoreError


class Index:
    """Long descriptions, each printed once under a short label."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.labelled: dict[str, list[str]] = {}

    def label(self, lines: Sequence[str]) -> str:
        """The label of a description; new ones get the next number."""
        for label, known in self.labelled.items():
            if known == list(lines):
                return label
        label = f"{self.kind} {len(self.labelled) + 1}"
        self.labelled[label] = list(lines)
        return label

    def lines(self) -> Iterator[str]:
        """All descriptions, indented below their labels."""
        for label, lines in self.labelled.items():
            yield ""
            yield label
            yield from (f"  {line}" for line in lines)


def explain(file: str, results: Path, root: Path, depth: int | None = None) -> Iterator[str]:
    """Lines that show the provenance of a result, as an indented tree.

    Args:
        file: a result, a file inside a store, or ``table.csv:LINE`` for the numbers of one line.
        results: the study's folder.
        root: the project's folder.
        depth: steps back: 0 shows the result alone, 1 what it was made from; None: all.

    Raises:
        StoreError: the ledger has no valid entry for the file.
    """
    path, line = _split(file)
    chain = load(results, root)
    record = _find(chain, path)
    if line is not None:
        yield from _row(record.path, line)
    sources, environments = Index("code"), Index("environment")
    yield from _tree(chain, record, 0, set(), sources, environments, depth)
    yield from sources.lines()
    yield from environments.lines()


def _split(file: str) -> tuple[Path, int | None]:
    name, _, line = file.rpartition(":")
    if name.endswith(".csv") and line.isdigit() and not Path(file).exists():
        return Path(name), int(line)
    return Path(file), None


def _find(chain: Chain, path: Path) -> Record:
    wanted = path.resolve()
    known = {p.resolve(): record for p, record in chain.records.items()}
    for candidate in (wanted, *wanted.parents):
        if candidate in known:
            return known[candidate]
    for file, why in chain.broken.items():
        if file.name == f"{wanted.name}.json":
            raise StoreError(f"{path}: its ledger entry {file} is not valid: {why}")
    raise StoreError(f"{path}: no ledger entry describes it; give a file of {chain.results}")


def _row(table: Path, line: int) -> Iterator[str]:
    """One line of a table, with the names of its columns; line 1 is the header itself."""
    try:
        with open(table, encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
        header, row = rows[0], rows[line - 1] if line > 1 else rows[0]
    except (OSError, IndexError):
        raise StoreError(f"{table}: no line {line} there") from None
    yield f"line {line} of {table}"
    yield from (f"  {name} = {value}" for name, value in zip(header, row, strict=False) if value)
    yield ""


def _tree(
    chain: Chain,
    record: Record,
    depth: int,
    seen: set[Path],
    sources: Index,
    machines: Index,
    most: int | None,
) -> Iterator[str]:
    indent = "  " * depth
    entry = record.entry
    if record.path in seen:
        yield f"{indent}{record.path}  (see above)"
        return
    if depth != most:  # else it may be shown whole elsewhere
        seen.add(record.path)
    yield f"{indent}{record.path}  sha256 {entry['digest'][:16]}  {state(chain, record)}"
    about = _about(entry)
    made = f"{sources.label(_code(chain, entry))}, {machines.label(_environment(entry))}"
    yield from (f"{indent}  | {line}" for line in [*about, made])
    inputs = list(chain.sources(record))
    twins = {str(ledger.manifest_of(Path(name))) for name, _, _ in inputs}
    if depth == most:
        count = sum(name not in twins for name, _, _ in inputs)
        if count:
            yield f"{indent}  ... {count} input{'s' * (count > 1)}: --depth {depth + 1} shows more"
        return
    for name, described, known in inputs:
        if name in twins:  # the manifest of a store that has its own lines
            continue
        if known is not None:
            yield from _tree(chain, known, depth + 1, seen, sources, machines, most)
        elif chain.locate(name) not in seen:
            seen.add(chain.locate(name))
            yield f"{indent}  {name}  {_outside(chain, name, described)}"
        else:
            yield f"{indent}  {name}  (see above)"


def state(chain: Chain, record: Record) -> str:
    """Whether a result is as recorded, in words."""
    if not record.path.exists() and record.entry["temporary"]:
        return "temporary, removed after use"
    kinds = sorted({finding.kind.upper() for finding in content(record, chain)})
    return ", ".join(kinds) or "as recorded"


def _outside(chain: Chain, name: str, described: Mapping[str, Any]) -> str:
    digest = str(described.get("digest", ""))
    try:
        same = ledger.describe(chain.locate(name))["digest"] == digest
        words = "as it was" if same else "ALTERED since"
    except (StoreError, OSError):
        words = "MISSING"
    return f"sha256 {digest[:16]}  from outside, {words}"


def _about(entry: Mapping[str, Any]) -> Iterator[str]:
    rule, run = entry["rule"], entry["circumstances"]
    where = (rule.get("defined") or {}).get("path", "rule file unknown")
    yield (
        f"rule {rule.get('name')} ({where}), {run.get('start')}, {run.get('seconds')} s, "
        f"{(run.get('peak_memory_bytes') or 0) / 1e6:.0f} MB at its peak"
    )
    for title in ("wildcards", "config", "params"):
        if entry[title]:
            yield f"{title} {json.dumps(entry[title], ensure_ascii=False, sort_keys=True)}"


def _code(chain: Chain, entry: Mapping[str, Any]) -> list[str]:
    git = entry.get("git")
    words = "with uncommitted changes" if git and not git.get("clean") else "clean"
    lines = [f"commit {git['commit']} ({words})" if git else "not from a git repository"]
    for name, digests in entry["code"].items():
        path = chain.root / name
        now = code.digest(path) if path.is_file() else None
        changed = "" if now == digests.get("code") else "  CHANGED since" if now else "  GONE"
        lines.append(f"{name}  {digests.get('code')}{changed}")
    return lines


def _environment(entry: Mapping[str, Any]) -> list[str]:
    host = entry["circumstances"].get("host") or {}
    gpus = [f"{gpu.get('name')} (driver {gpu.get('driver')})" for gpu in host.get("gpus") or []]
    used = [f"{name} {entry['packages'].get(name)}" for name in entry["loaded"]]
    settings = [f"{key}={value}" for key, value in sorted(entry["determinism"].items())]
    return [
        f"Python {entry['python']}, {', '.join(used)}",
        f"{host.get('cpu')}, {host.get('cores')} cores, {host.get('os')}, "
        f"{', '.join(gpus) or 'no GPU'}",
        f"threads {entry.get('threads')}, {', '.join(settings)}",
    ]
