"""Checks and repairs before the first job of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from abspos.inputs.corpus import check_corpus
from abspos.inputs.records import Keys
from abspos.planning.layout import Layout


def require_texts(layout: Layout) -> None:
    """Refuse a study whose corpus is missing, or certainly too small; a data set of the hub comes
    with a job of its own.

    Raises:
        InputError: what is wrong with the corpus, in one line.
    """
    inputs = layout.study.inputs
    if inputs.dataset is None:
        folder = Path(layout.root, layout.corpus_folder())
        keys = Keys(inputs.text, inputs.id, inputs.source)
        check_corpus(folder, inputs.number, inputs.length, keys)


def settle(*folders: str | Path) -> list[Path]:
    """Set the time of files from the future to now.

    Snakemake refuses outputs that are older than their inputs. After a clock was set back, this
    concerns every new output of older inputs, until the clock has caught up.

    Args:
        folders: folders to search, or files; they may be missing or read-only.

    Returns:
        The files and folders with a time in the future, sorted.
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
    """One line for each read-only folder; for a folder to be made, the nearest one above counts."""
    return [
        f"{folder}: the folder is read-only; make it writable, or move the project, and run again"
        for folder in folders
        if not os.access(_existing(Path(folder)), os.W_OK)
    ]


#: Files with the memory limit of a container or an allocation (cgroups, versions 2 and 1).
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_mb() -> int:
    """MB of memory that jobs on this machine can share: its total, or a lower limit if set."""
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
        if Path(folder).is_file():
            yield Path(folder)
        for path, _, files in os.walk(folder):
            yield Path(path)
            yield from (Path(path, name) for name in files)
