"""Files and folders on disk: whole or not there at all, with a manifest of digests beside each.

A store is a folder. It is written under a temporary name and renamed when complete, so that a
killed job leaves nothing that a later one takes for whole. Its manifest (sorted SHA-256 digests
of its files) is written last; readers compare the two before they use a byte. The arrays inside are
read and written by `abspos.arrays`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

# Snakemake drops its own file into folders it tracks; it is not part of the data.
FOREIGN = {".snakemake_timestamp"}


class StoreError(RuntimeError):
    """A store, folder or manifest that is missing, incomplete or altered."""


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


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
    """Read a manifest and check that its digests give its root."""
    try:
        content = json.loads(Path(manifest).read_text(encoding="utf-8"))
        whole = root_digest(content["files"]) == content["root"]
    except OSError as error:
        raise StoreError(f"{manifest}: cannot be read ({error.strerror}); run again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{manifest}: not a manifest ({error}); delete it and run again") from None
    if not whole:
        raise StoreError(f"{manifest}: its root digest does not fit its files; delete it and rerun")
    return content


def differences(folder: Path, manifest: Path) -> list[str]:
    """What differs between a folder and its manifest, one line per file; empty if nothing."""
    stated = read_manifest(manifest)["files"]
    if not Path(folder).is_dir():
        return [f"{folder}: missing"]
    found = digest_files(folder)
    lines = [f"{folder}/{name}: missing" for name in stated.keys() - found.keys()]
    lines += [f"{folder}/{name}: not in the manifest" for name in found.keys() - stated.keys()]
    lines += [
        f"{folder}/{name}: altered"
        for name in stated.keys() & found.keys()
        if stated[name] != found[name]
    ]
    return sorted(lines)


def check(folder: Path, manifest: Path) -> None:
    """Raise a StoreError that names the first difference between a folder and its manifest."""
    lines = differences(folder, manifest)
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise StoreError(
            f"{lines[0]}{more}; the manifest {manifest} says otherwise: "
            f"delete {folder} and its manifest, and run again"
        )


@contextmanager
def whole_folder(target: Path, manifest: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes ``target`` and gets its manifest.

    On any error the temporary folder is removed and neither ``target`` nor manifest appears.
    What jobs that were killed left of the same target is removed first. A job that outlives its
    killed controller may still be filling such a folder: then that job fails, and no other.
    """
    target, manifest = Path(target), Path(manifest)
    manifest.unlink(missing_ok=True)
    for left in (target, *target.parent.glob(f".{escape(target.name)}.*partial")):
        shutil.rmtree(left, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{token_hex(4)}.partial")
    partial.mkdir(parents=True)
    moved = False
    try:
        yield partial
        partial.replace(target)
        moved = True
        write_manifest(target, manifest)
    except BaseException:
        if moved:
            shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
