"""A model that is trained here as a study measures it: its steps as revisions, their settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from abspos.study.fields import TrainedSource
from abspos.study.trained import steps_of


@dataclass(frozen=True)
class Course:
    """The training of one model.

    Attributes:
        source: of the model.
        length: T, tokens per text.
    """

    source: TrainedSource
    length: int

    @cached_property
    def names(self) -> dict[str, int]:
        """Revisions, as paths have them -> steps, in order."""
        return {f"step{step}": step for step in steps_of(self.source)}

    @property
    def measured(self) -> tuple[str, ...]:
        """Revisions that are no gaps: all."""
        return self.trained

    @property
    def trained(self) -> tuple[str, ...]:
        """Revisions whose training tokens are known: all."""
        return tuple(self.names)

    @property
    def last(self) -> str:
        """The last revision."""
        return self.trained[-1]

    def before(self, revision: str) -> tuple[str, ...]:
        """The revision before one, or none."""
        place = self.trained.index(revision)
        return self.trained[place - 1 : place] if place else ()

    def updates(self, revision: str) -> int:
        """Steps from the revision before to this one."""
        return self.names[revision] - sum(self.names[name] for name in self.before(revision))

    def row(self, revision: str) -> dict[str, Any]:
        """Facts of a revision, as columns of a table."""
        return {"tokens": self.names[revision] * self.source.batch * self.length}

    def settings(self, revision: str) -> dict[str, Any]:
        """Settings that determine a checkpoint, without those of other steps."""
        source = self.source
        return {
            "step": self.names[revision],
            "batch": source.batch,
            "learning_rate": source.learning_rate,
            "warmup": source.warmup,
            "prepend_bos": source.prepend_bos,
            "seed": source.seed,
            "held_out": source.held_out,
        }
