"""Arms that a checkpoint cannot be given, found before any job where its config is at hand.

Read from the JSON files of local folders and of checkpoints that were fetched before, and of what
comes from the hub, from the lock, which keeps what these files say; what is nowhere here yet is
refused by its first job instead. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from abspos.models.families import REFUSED, says
from abspos.planning.layout import Layout
from abspos.study.conditions import condition_of


def misfits(layout: Layout, checkpoints: Path) -> list[str]:
    """One line for each model of a study that cannot be given all of its arms.

    Args:
        layout: of the study.
        checkpoints: the folder of checkpoints, by model and revision.
    """
    found: dict[str, None] = {}
    for model, revision in layout.models():
        source = layout.study.model(model).source
        said = [says(checkpoints / model / revision)]
        if source.type == "local":
            said.append(says(layout.root / Path(source.path).expanduser()))
        if model in layout.sweeps:
            said.append(layout.sweeps[model].pin(revision).get("says", {}))
        for one in said:
            found |= dict.fromkeys(misfits_of(layout, model, one))
    return list(found)


def misfits_of(layout: Layout, model: str, said: Mapping[str, Any]) -> Iterator[str]:
    """Lines for one model, of what its files say; none where they say nothing."""
    runs = layout.runs(model)
    tokenizer, config = (said.get(name, {}) for name in ("tokenizer_config", "config"))
    kind = config.get("model_type")
    if kind in REFUSED:
        yield (
            f"models[{model}]: model_type {kind!r}: {REFUSED[kind]}; leave it out, abspos measures "
            "RoPE decoders"
        )
    needy = [run.condition for run in runs if condition_of(run.condition).needs_bos]
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
