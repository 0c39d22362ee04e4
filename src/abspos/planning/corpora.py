"""Where a corpus lies: in the working folder, or with the code, which ships one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from abspos.inputs.corpus import text_files
from abspos.inputs.records import InputError

RESOURCES = "resources"  # data that comes with the code


@dataclass(frozen=True)
class Corpus:
    """The corpus of a study.

    Files of the working folder are inputs of jobs. Those that come with the code are tracked as the
    code is, by digests: their path differs from place to place, and what it holds does not.

    Attributes:
        named: the folder or file of the config; relative to the working folder, or, where there is
            none of that name, to the code.
        root: the working folder.
        code: the folder of the code.
    """

    named: Path
    root: Path
    code: Path

    @property
    def folder(self) -> str:
        """Where it lies: relative to the working folder, or absolute."""
        elsewhere = self.code / self.named
        there = elsewhere.is_relative_to(self.code / RESOURCES) and elsewhere.exists()
        return str(elsewhere if there and not (self.root / self.named).exists() else self.named)

    @property
    def files(self) -> list[str]:
        """Its files, sorted; none where it cannot be read, which is reported elsewhere."""
        folder = Path(self.folder)
        try:
            names = text_files(self.root / folder)
        except InputError:
            return []
        alone = (self.root / folder).is_file()
        return [str(folder)] if alone else [str(folder / name) for name in names]

    @property
    def shipped(self) -> list[str]:
        """Files that come with the code, relative to its folder."""
        home = self.code.resolve()
        if not (self.root / self.folder).resolve().is_relative_to(home / RESOURCES):
            return []
        return [(self.root / file).resolve().relative_to(home).as_posix() for file in self.files]

    @property
    def own(self) -> list[str]:
        """Files of the user."""
        return [] if self.shipped else self.files
