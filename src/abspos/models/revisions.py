"""A model of the hub as a study measures it: revisions, their commits, files, tokens and gaps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from abspos.models import lock
from abspos.models.gaps import noted
from abspos.study.fields import HubSource, in_paths


@dataclass(frozen=True)
class Sweep:
    """The revisions of one model.

    Attributes:
        source: of the model.
        pins: the study's lock.
        folder: where the model's checkpoints lie, each by its revision.
    """

    source: HubSource
    pins: lock.Lock
    folder: Path

    @cached_property
    def names(self) -> dict[str, str]:
        """All revisions, in the config's order: as paths have them -> as the hub has them."""
        return {in_paths(name): name for name in self.source.revisions}

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Revisions that are no gaps, as paths have them."""
        return tuple(name for name in self.names if self.gap(name) is None)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Measured revisions whose training tokens are known."""
        return tuple(r for r in self.measured if self.row(r)["tokens"] is not None)

    def pin(self, revision: str) -> lock.Pin:
        """Commit and files of a revision, or why there are none; empty before `abspos pin`."""
        return lock.pin_of(self.pins, ("model", self.source.repo, self.names[revision])) or {}

    def gap(self, revision: str) -> str | None:
        """Why a revision is missing or broken, or None."""
        pin = self.pin(revision)
        if "gap" in pin or self.source.on_missing != "gap":
            return pin.get("gap")
        return noted(self.folder / revision, pin.get("commit", ""))

    def checkpoint(self, revision: str) -> dict[str, Any]:
        """What fetching a revision depends on, and nothing of other revisions."""
        pin = self.pin(revision)
        files = pin.get("files", {})
        kept = lock.chosen(files, self.source.allow_pickles, self.source.allow_remote_code)
        return {
            "type": "hub",
            "repo": self.source.repo,
            "commit": pin.get("commit"),
            "files": {name: files[name] for name in kept},
        }

    def row(self, revision: str) -> dict[str, Any]:
        """What is known of a revision beforehand, as columns of a table."""
        return {
            "repo": self.source.repo,
            "commit": self.pin(revision).get("commit"),
            "tokens": tokens_of(self.names[revision], self.source.tokens_per_step),
            "gap": self.gap(revision),
        }


def tokens_of(revision: str, tokens_per_step: int | None) -> int | None:
    """Training tokens that a checkpoint has seen; the last number in its name is its step."""
    steps = [] if lock.COMMIT.fullmatch(revision) else re.findall(r"\d+", revision)
    return int(steps[-1]) * tokens_per_step if tokens_per_step and steps else None
