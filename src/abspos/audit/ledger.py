"""The ledger: one small JSON file per result, which says what made it.

It lies in ``results/<study>/ledger/``, outside Snakemake's own folder, under the name of the
result plus ``.json``. Each entry carries a digest of itself, and is written only when its result
is complete, in one step: a killed run leaves the old entry or the new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from abspos.audit import code
from abspos.stores import (
    StoreError,
    digest_files,
    file_digest,
    files,
    read_manifest,
    root_digest,
    write_atomically,
)

FOLDER = "ledger"
FORMAT = 1
TEMPORARY = "activations"  # the stage whose stores Snakemake removes unless they are kept


def place(output: str) -> Path:
    """Path of the ledger entry of one output path ``results/<study>/…``.

    Raises:
        StoreError: the path does not lie below such a folder.
    """
    parts = PurePosixPath(output).parts
    if len(parts) < 3 or parts[0] == "/" or ".." in parts:
        raise StoreError(f"{output}: not below results/<study>/; a rule's outputs must be")
    return Path(*parts[:2], FOLDER, *parts[2:-1], f"{parts[-1]}.json")


def manifest_of(folder: Path) -> Path:
    """The manifest beside a store (``bos.zarr``) or a folder (``main``)."""
    return folder.with_name(f"{folder.name.removesuffix('.zarr')}.manifest.json")


def describe(path: Path) -> dict[str, Any]:
    """Digest and size of a file, or of a folder by its manifest.

    Raises:
        StoreError: nothing is there, or the manifest of a folder is broken.
    """
    if path.is_dir():
        manifest = manifest_of(path)
        if manifest.is_file():
            stated = read_manifest(manifest)
            return {"kind": "store", "digest": stated["root"], "bytes": stated["bytes"]}
        size = sum(p.stat().st_size for p in files(path))
        return {"kind": "folder", "digest": root_digest(digest_files(path)), "bytes": size}
    if path.is_file():
        return {"kind": "file", "digest": file_digest(path), "bytes": path.stat().st_size}
    raise StoreError(f"{path}: missing; run snakemake to make it")


def inputs(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Path -> description, for the inputs of a job."""
    return {path: describe(Path(path)) for path in sorted(set(paths))}


def code_files(lines: Sequence[str], root: Path) -> dict[str, dict[str, str]]:
    """Path -> digest of the code and of the whole file, as they are now, for ``path:digest``."""
    paths = sorted(line.rpartition(":")[0] for line in lines)
    return {p: {"code": code.digest(root / p), "file": file_digest(root / p)} for p in paths}


def rule_file(rule: str, script: str | None, root: Path) -> dict[str, str] | None:
    """Where a rule is defined, and digests of that file and of the rule's own lines.

    Args:
        rule: its name.
        script: its script, by which a rule is found whose name is made at run time or that is
            a variation of another.
        root: the project folder.

    Returns:
        ``path``, ``file`` (64 digits) and ``code`` (16, of the rule less comments), or None.
    """
    second: dict[str, str] | None = None
    for path in [root / "workflow/Snakefile", *sorted(root.glob("workflow/rules/*.smk"))]:
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
        for name, block in rules(code.normal(text, docstrings=True)):
            runs = script is not None and f'/{PurePosixPath(script).name}"' in "".join(block)
            if name == rule or (runs and second is None):
                found = {
                    "path": path.relative_to(root).as_posix(),
                    "file": file_digest(path),
                    "code": hashlib.sha256("\n".join(block).encode()).hexdigest()[:16],
                }
                if name == rule:
                    return found
                second = found
    return second


def script_of(sources: Iterable[str]) -> str | None:
    """The workflow script among the sources of a result."""
    return next((path for path in sources if path.startswith("workflow/scripts/")), None)


def rules(lines: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Name and lines of each rule: its head and all that is indented below it."""
    for start, line in enumerate(lines):
        if found := re.match(r"(\s*)(?:rule|checkpoint)\b ?(\w*):", line):
            depth = len(found[1])
            below = (k for k in range(start + 1, len(lines)) if indent(lines[k]) <= depth)
            yield found[2], lines[start : next(below, len(lines))]


def indent(line: str) -> int:
    """Spaces before the first word."""
    return len(line) - len(line.lstrip())


def seeds(value: Any, name: str = "") -> dict[str, Any]:
    """Every setting called seed, or ending so, in nested settings: dotted name -> value."""
    found: dict[str, Any] = {}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            dotted = f"{name}.{key}" if name else str(key)
            if str(key) == "seed" or str(key).endswith("_seed"):
                found[dotted] = inner
            else:
                found |= seeds(inner, dotted)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            found |= seeds(inner, f"{name}[{place}]")
    return found


def plain(value: Any, root: Path | None = None) -> Any:
    """A value as JSON holds it; what JSON does not know becomes text.

    Args:
        value: nested settings.
        root: a folder, the project's, below which paths are written as relative to it.
    """
    if isinstance(value, str) and root is not None:
        return value.removeprefix(f"{root.as_posix()}/")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v, root) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(v, root) for v in ordered]
    return value.as_posix() if isinstance(value, PurePosixPath) else str(value)


def render(entry: Mapping[str, Any]) -> str:
    """The one text of an entry, with the digest of all the rest in it."""
    rest = {k: v for k, v in entry.items() if k != "self"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
    sealed = {**rest, "self": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(sealed, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(entry: Mapping[str, Any]) -> None:
    """Write the entry of ``entry['path']`` in one step."""
    write_atomically(place(entry["path"]), render(entry))


def read(path: Path) -> dict[str, Any]:
    """Read one entry and check that no byte of it changed.

    Raises:
        StoreError: it is not the text that was written.
    """
    from abspos.audit.entry import check  # pydantic, which no job needs

    if path.exists() and not path.is_file():  # to read a pipe would never end
        raise StoreError(f"{path}: not a ledger entry (no regular file)")
    try:
        text = path.read_bytes().decode("utf-8")
        entry = json.loads(text)
        whole = isinstance(entry, dict) and render(entry) == text
        check(entry)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a ledger entry ({type(error).__name__})") from None
    if not whole:
        raise StoreError(f"{path}: its digest does not fit its text")
    return entry


def entries(results: Path) -> list[Path]:
    """All ledger entries of a results folder, sorted."""
    return sorted(p for p in (results / FOLDER).rglob("*.json") if p.name[0] != ".")
