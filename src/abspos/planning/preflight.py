"""What is put right, or refused, before the first job of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def settle(*folders: str | Path) -> list[Path]:
    """Give files that were made at a later time than now the time of now.

    Snakemake refuses outputs that are older than their inputs; after a clock was set back, that is
    each output whose inputs were there before, until the clock has caught up.

    Args:
        folders: folders to look through; one may be missing or read-only.

    Returns:
        The files and folders that came from the future, sorted.
    """
    now = time.time()
    late = []
    for path in _within(*folders):
        with suppress(OSError):  # gone in the meantime, or read-only
            if path.lstat().st_mtime > now:
                late.append(path)
                os.utime(path, (now, now), follow_symlinks=False)
    return sorted(late)


def read_only(*folders: str | Path) -> list[str]:
    """One line for each folder, existing or to be made, that nothing can be written to."""
    return [
        f"{folder}: the folder is read-only; make it writable, or move the project, and run again"
        for folder in folders
        if not os.access(_existing(Path(folder)), os.W_OK)
    ]


#: Where a container or an allocation says how much memory it may have (cgroups, versions 2 and 1).
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_mb() -> int:
    """MB of memory that jobs on this machine can share: its own, or less where a limit is set."""
    total = int(psutil.virtual_memory().total)
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            total = min(total, int(path.read_text(encoding="ascii")))
    return total // 10**6


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _within(*folders: str | Path) -> Iterator[Path]:
    for folder in folders:
        for path, _, files in os.walk(folder):
            yield Path(path)
            yield from (Path(path, name) for name in files)
