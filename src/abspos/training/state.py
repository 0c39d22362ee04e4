"""The state of a training on disk, from which it continues: weights, optimizer, step, losses.

It is a cache. A training that finds none, or one of other settings, begins anew and arrives at the
same bytes. ``state.json`` names the file of the tensors and its digest, and is replaced last, so
that a killed job leaves the old state or the new one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from abspos.stores import file_digest, whole_file, write_atomically

log = logging.getLogger("abspos")

#: Folder of states among the checkpoints.
STATES = ".training"
INDEX = "state.json"


@dataclass(frozen=True)
class Head:
    """What a state is of.

    Attributes:
        key: digest of all that determines the training, besides its last step.
        step: updates that were made.
        losses: step -> losses so far, as rows of a table.
    """

    key: str
    step: int
    losses: tuple[Mapping[str, Any], ...]


def place(folder: Path) -> Path:
    """Where the state of the model of a checkpoint folder lies."""
    return folder.parent.parent / STATES / folder.parent.name


def find(folder: Path, key: str) -> Head | None:
    """The state in a folder, or None: there is none, or it is of another training."""
    try:
        stated = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        head = Head(stated["key"], int(stated["step"]), tuple(stated["losses"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return head if head.key == key else None


def read(folder: Path) -> dict[str, Tensor] | None:
    """The tensors of the state in a folder, or None where they are not what was written."""
    stated = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    file = folder / stated["file"]
    if not file.is_file() or file_digest(file) != stated["sha256"]:
        log.warning("%s: not the state that was written; training begins anew", file)
        return None
    return load_file(file)


def write(folder: Path, head: Head, tensors: Mapping[str, Tensor]) -> None:
    """Replace the state in a folder."""
    file = folder / f"step{head.step}.safetensors"
    with whole_file(file) as partial:
        save_file(dict(tensors), partial)
    stated = {
        "key": head.key,
        "step": head.step,
        "file": file.name,
        "sha256": file_digest(file),
        "losses": [dict(row) for row in head.losses],
    }
    write_atomically(folder / INDEX, json.dumps(stated) + "\n")
    for other in folder.iterdir():  # older states, and what killed jobs left
        if other.name not in (INDEX, file.name):
            other.unlink(missing_ok=True)
