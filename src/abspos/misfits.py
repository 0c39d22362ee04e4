"""Arms that a checkpoint cannot be given, found before any job where its config is at hand.

Read from the JSON files of local folders and of checkpoints that were fetched before; what is not
here yet is refused by its first job instead. Nothing heavy is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from abspos.conditions import needs_bos
from abspos.layout import Layout


def misfits(layout: Layout, checkpoints: Path) -> list[str]:
    """One line for each model of a study that cannot be given all of its arms.

    Args:
        layout: of the study.
        checkpoints: the folder of checkpoints, by model and revision.
    """
    found: dict[str, None] = {}
    for model, revision in layout.models():
        source = layout.study.model(model).source
        local = layout.root / Path(str(getattr(source, "path", ""))).expanduser()
        for folder in (checkpoints / model / revision, local):
            if source.type == "local" or folder != local:
                found |= dict.fromkeys(misfits_of(layout, model, folder))
    return list(found)


def misfits_of(layout: Layout, model: str, folder: Path) -> Iterator[str]:
    """Lines for one model, of what its folder says; none where it says nothing."""
    runs = layout.runs(model)
    tokenizer, config = (read(folder / f"{name}.json") for name in ("tokenizer_config", "config"))
    needy = [run.condition for run in runs if needs_bos(run.condition)]
    if needy and tokenizer.get("bos_token", "unknown") is None:
        yield (
            f"models[{model}]: its tokenizer has no BOS token, which {needy[0]} needs; write "
            "`without: [bos]` beside its source to leave out such conditions"
        )
    context, length = config.get("max_position_embeddings"), layout.study.inputs.length
    ropes = [layout.study.variant(run.variant).rope for run in runs]
    if context and length > context and not all(r and r.rope_type == "dynamic" for r in ropes):
        yield (
            f"inputs.length: value {length} — models[{model}] has a context of {context} "
            "positions; lower it, or take a variant of dynamic RoPE alone"
        )


def read(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty where it is missing or unreadable, which its job will tell."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
