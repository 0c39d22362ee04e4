"""Which checkpoints say something about a study before any job of it has run."""

from __future__ import annotations

from pathlib import Path

from abspos.models import listed, local
from abspos.planning.layout import Layout
from abspos.planning.loads import Load, load_of


def at_hand(layout: Layout, model: str, revision: str, checkpoints: Path) -> Path | None:
    """Where the small files of a checkpoint can be read before any job, or None.

    A folder in ``checkpoints`` counts if what is in it is of this very source: revisions of local
    and packaged models are named after their content, and those of the hub are held against the
    lock. What other studies fetched under the same names says nothing here. A model that is trained
    here has the family, the sizes and the tokenizer of what its training starts from.

    Args:
        layout: of the study.
        model: a model of the study.
        revision: one of its revisions.
        checkpoints: the folder of checkpoints, by model and revision.
    """
    while model in layout.courses:
        model, revision = layout.start(model)
    source = layout.study.model(model).source
    folder = checkpoints / model / revision
    if source.type == "local":
        return local.place(source.model_dump(), layout.root)
    if source.type == "packaged":
        return folder if folder.is_dir() else None
    if model in layout.sweeps:
        facts = layout.sweeps[model].pin(revision).get("files", {}).get("config.json")
        return folder if facts and listed.holds(folder / "config.json", facts) else None
    return None


def load_at_hand(layout: Layout, model: str, revision: str, checkpoints: Path) -> Load:
    """The work of a job of one checkpoint; every arm counts as one with all inputs."""
    folder = at_hand(layout, model, revision, checkpoints)
    course = layout.courses.get(model)
    updates = course.updates(revision) if course else 0
    return load_of(layout.study, model, folder, len(layout.runs(model)), updates)
