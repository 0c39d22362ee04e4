"""Files and folders on disk: whole or not there at all, with a manifest of digests beside each.

A store is a folder. It is written under a temporary name and renamed when complete, so that a
killed job leaves nothing that a later one takes for whole. Its manifest (sorted SHA-256 digests
of its files) appears last; readers compare the two before they use a byte. The arrays inside are
read and written by `abspos.arrays`.

A job holds a lease on its outputs while it runs (`lease`). Nothing that this module writes appears
without it, so that a job which outlives its killed Snakemake cannot replace what a later run made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

# Snakemake drops its own file into folders it tracks; it is not part of the data.
FOREIGN = {".snakemake_timestamp"}


#: The lease that this process holds: its file and the token in it.
_held: tuple[Path, str] | None = None


class StoreError(RuntimeError):
    """A store, folder or manifest that is missing, incomplete or altered."""


class LeaseError(StoreError):
    """A later job has begun to make what this one makes."""


class Stored(NamedTuple):
    """A store or checkpoint folder, and the manifest beside it."""

    store: Path
    manifest: Path


def file_digest(path: Path) -> str:
    """SHA-256 of one file, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files(folder: Path) -> list[Path]:
    """All files below a folder that are data, sorted by relative path."""
    found = (p for p in Path(folder).rglob("*") if p.is_file() and p.name not in FOREIGN)
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def digest_files(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 for every file below a folder, sorted by path."""
    paths = files(folder)
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = pool.map(file_digest, paths)
        return {p.relative_to(folder).as_posix(): d for p, d in zip(paths, digests, strict=True)}


def root_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the sorted ``path digest`` lines of a folder."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


@contextmanager
def lease(path: Path, targets: Iterable[Path]) -> Iterator[None]:
    """Hold the right to write ``targets`` while a job runs.

    A job may outlive the Snakemake that started it, and meet the job of a later run that makes the
    same files. The later job puts its own token into ``path``, then removes what others have begun
    to write. The earlier one creates a partial file before it reads the token and renames it
    afterwards: either it finds the other token, or its partial file is gone. Both are errors.

    Args:
        path: the file of the token, the same for every job that makes these targets.
        targets: the files and folders that the job makes.

    Raises:
        LeaseError: at the end, if a later job has taken the lease.
    """
    global _held
    token = token_hex(16)
    write_atomically(path, token)
    for target in targets:
        _sweep(target)
    _held = path, token
    try:
        yield
        require_lease()
    finally:
        _held = None
        if _token(path) == token:
            path.unlink(missing_ok=True)


def require_lease() -> None:
    """Raise a LeaseError if this process held a lease and a later job has taken it."""
    if _held is not None and _token(_held[0]) != _held[1]:
        raise LeaseError(
            "a later run makes the same files, so this job, which an earlier run left behind, "
            "writes nothing; there is nothing to do"
        )


def _token(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _partial(target: Path) -> Path:
    """A new name beside a target, on the same file system, for what is not complete yet."""
    return target.with_name(f".{target.name}.{token_hex(4)}.partial")


def _sweep(target: Path) -> None:
    """Remove what killed jobs left of a target, and what running ones have begun."""
    for left in target.parent.glob(f".{escape(target.name)}.{'[0-9a-f]' * 8}.partial"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _put(partial: Path, target: Path) -> None:
    """Give a complete file or folder its name, if the lease still stands."""
    require_lease()
    partial.replace(target)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success the file becomes ``target`` in one step.

    On any error the temporary file is removed and ``target`` stays as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    try:
        yield partial
        _put(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never a part."""
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def write_manifest(folder: Path, manifest: Path) -> dict[str, Any]:
    """Write the manifest of a finished folder: root digest, bytes, and the digest of each file."""
    digests = digest_files(folder)
    content = {
        "root": root_digest(digests),
        "bytes": sum(p.stat().st_size for p in files(folder)),
        "files": digests,
    }
    write_atomically(manifest, json.dumps(content, indent=1) + "\n")
    return content


def read_manifest(manifest: Path) -> dict[str, Any]:
    """Read a manifest and check that its digests give its root.

    Raises:
        StoreError: it is missing, no regular file, no manifest, or was altered.
    """
    manifest = Path(manifest)
    try:
        if manifest.exists() and not manifest.is_file():
            raise ValueError("no regular file")
        content = json.loads(manifest.read_text(encoding="utf-8"))
        digests = content["files"]
        if not isinstance(content["bytes"], int) or {*map(type, digests.values())} - {str}:
            raise ValueError("wrong types")
        whole = root_digest(digests) == content["root"]
    except OSError as error:
        raise StoreError(f"{manifest}: cannot be read ({error.strerror}); run again") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{manifest}: not a manifest ({error}); delete it and run again") from None
    if not whole:
        raise StoreError(f"{manifest}: its root digest does not fit its files; delete it and rerun")
    return content


def differences(folder: Path, manifest: Path) -> list[str]:
    """Differences between a folder and its manifest, one line per file."""
    stated = read_manifest(manifest)["files"]
    if not Path(folder).is_dir():
        return [f"{folder}: missing"]
    found = digest_files(folder)
    lines = [f"{folder}/{name}: missing" for name in stated.keys() - found.keys()]
    lines += [f"{folder}/{name}: not in the manifest" for name in found.keys() - stated.keys()]
    lines += [f"{path}: no regular file" for path in irregular(folder)]
    lines += [
        f"{folder}/{name}: altered"
        for name in stated.keys() & found.keys()
        if stated[name] != found[name]
    ]
    return sorted(lines)


def irregular(folder: Path) -> list[Path]:
    """Paths below a folder that are neither files nor folders, such as pipes and links to folders;
    and files under Snakemake's names that hold something."""
    return [path for path in Path(folder).rglob("*") if is_irregular(path)]


def is_irregular(path: Path) -> bool:
    """Whether a path is none of the two kinds that results have."""
    if path.is_file():
        return path.name in FOREIGN and path.stat().st_size > 0
    return path.is_symlink() or not path.is_dir()


def check(folder: Path, manifest: Path) -> None:
    """Raise a StoreError that names the first difference between a folder and its manifest."""
    lines = differences(folder, manifest)
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise StoreError(
            f"{lines[0]}{more}; it does not match the manifest {manifest}: "
            f"delete {folder} and its manifest, and run again"
        )


@contextmanager
def whole_folder(target: Path, manifest: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes ``target`` and gets its manifest.

    On any error the temporary folder is removed and neither ``target`` nor manifest appears.
    What killed jobs left of the same target is removed first. A job that still fills such a folder
    then fails, and no other.
    """
    target, manifest = Path(target), Path(manifest)
    require_lease()
    manifest.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    _sweep(target)
    partial = _partial(target)
    partial.mkdir(parents=True)
    try:
        yield partial
        with whole_file(manifest) as digests:
            write_manifest(partial, digests)
            _put(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
