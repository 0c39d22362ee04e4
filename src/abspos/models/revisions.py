"""A model of the hub as a study measures it: revisions, their commits, files, tokens and gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from abspos.models import listed, lock
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
        """All revisions, as paths have them -> as the hub has them: in the config's order, or
        along training where their names tell stages."""
        return {in_paths(name): name for name in in_order(self.source.revisions)}

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
        """Settings that determine the fetch of a revision, without those of other revisions."""
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
        """Facts of a revision that are known beforehand, as columns of a table."""
        return {
            "repo": self.source.repo,
            "commit": self.pin(revision).get("commit"),
            "tokens": tokens_of(
                self.names[revision], self.source.tokens_per_step, self.source.tokens
            ),
            "gap": self.gap(revision),
        }


def step_of(revision: str) -> int | None:
    """The training step in a revision's name, or None where it names none, or several.

    The step is the number behind the word: ``step1000-tokens4B`` is step 1000. A name that is a
    number alone is a step too.
    """
    if listed.COMMIT.fullmatch(revision):
        return None
    if re.fullmatch(r"\d+", revision):
        return int(revision)
    found = {int(n) * _UNITS[unit.lower()] for n, unit in _STEP.findall(revision)}
    return found.pop() if len(found) == 1 else None


def stage_of(revision: str) -> int | None:
    """The stage of training in a revision's name; 1 where it names none, and none by other words.

    A word that is not known to be neutral may name a later phase, whose steps count anew:
    ``sft-step100``, ``lc-4k-to-32k-step-4000``. Then the stage is None.
    """
    if found := _STAGE.search(revision):
        return int(found[1])
    words = re.findall("[a-z]+", revision.lower())
    return 1 if all(map(_NEUTRAL.fullmatch, words)) else None


def in_order(revisions: Sequence[str]) -> list[str]:
    """Revisions by stage, then step, where stages are named and all have a step; else as given."""
    told = [part for name in revisions for part in (stage_of(name), step_of(name))]
    if None in told or not any(map(_STAGE.search, revisions)):
        return list(revisions)
    return sorted(revisions, key=lambda revision: (stage_of(revision), step_of(revision)))


def tokens_of(
    revision: str, tokens_per_step: int | None, stated: Mapping[str, int] | None = None
) -> int | None:
    """Training tokens that a checkpoint has seen, or None where its name does not say.

    Args:
        revision: its name on the hub.
        tokens_per_step: of its training; None: only stated tokens count.
        stated: tokens by revision, as the config states them.
    """
    if stated and revision in stated:
        return stated[revision]
    step = step_of(revision)
    # A later stage may count its steps anew, or go on: its name does not say which.
    known = tokens_per_step and step is not None and stage_of(revision) == 1
    return step * tokens_per_step if known and tokens_per_step and step is not None else None


def unclear(source: HubSource) -> list[str]:
    """Revisions with a number in their names from which no training tokens follow."""
    if not source.tokens_per_step:
        return []
    return [
        name
        for name in source.revisions
        if re.search(r"\d", name)
        and not listed.COMMIT.fullmatch(name)
        and not name.startswith("refs/")
        and tokens_of(name, source.tokens_per_step, source.tokens) is None
    ]


_STEP = re.compile(
    r"(?:^|[^a-z]|global)(?:steps?|iter(?:ation)?s?|checkpoint|ckpt)[-_]?(\d+)([km]?)"
    r"(?![a-z\d.]|[,_]\d{3})",  # step1,000 is not step 1
    re.IGNORECASE,
)
_STAGE = re.compile(r"(?:^|[^a-z])(?:stage|phase)[-_]?(\d+)", re.IGNORECASE)
_NEUTRAL = re.compile(
    "global|(global)?steps?|iter(ation)?s?|checkpoints?|ckpt|intermediate|(pre)?train(ing)?|tokens?|models?"
    "|main|seed|hf|v|[kmbt]"
)
_UNITS = {"": 1, "k": 10**3, "m": 10**6}
