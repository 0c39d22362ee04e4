"""Gaps in a sweep: revisions that are missing or broken, each with its reason.

A revision that the hub does not have is known when names are pinned (abspos.models.lock). One that
turns out broken when it is fetched leaves a note beside the place of its checkpoint: the next run
plans without it, until `abspos pin` takes the note away.
"""

from __future__ import annotations

import json
from pathlib import Path


class Gap(RuntimeError):
    """A revision that is missing or broken where it comes from: trying again does not help."""


def note_of(folder: str | Path) -> Path:
    """Where the note on a broken checkpoint lies."""
    return Path(f"{folder}.gap.json")


def note(folder: str | Path, commit: str, reason: str) -> None:
    """Leave a note that a commit, to be fetched into a folder, is broken."""
    from abspos.stores import write_atomically

    write_atomically(note_of(folder), json.dumps({"commit": commit, "reason": reason}) + "\n")


def noted(folder: str | Path, commit: str) -> str | None:
    """The reason why a commit is broken; None without a note on it that can be read."""
    try:
        found = json.loads(note_of(folder).read_text(encoding="utf-8"))
        return str(found["reason"]) if found["commit"] == commit else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def forget(folder: str | Path) -> bool:
    """Take a note away; whether there was one."""
    there = note_of(folder).is_file()
    note_of(folder).unlink(missing_ok=True)
    return there
