"""Arms that a checkpoint cannot be given, found before any job where its config is at hand.

Read from local folders and GGUF files, from checkpoints that were fetched before, and of what
comes from the hub, from the lock, which keeps what its small files say; what is nowhere here yet is
refused by its first job instead. Nothing heavy is imported, unless a swap token looks unfit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from abspos.models import gguf_file, gguf_keys, local
from abspos.models.families import (
    REFUSED,
    WINDOWED,
    ModelError,
    no_window,
    read,
    require_numbers,
    require_rope,
    says,
)
from abspos.models.revisions import unclear
from abspos.models.tokenizer import TokenizerError, has_code, single_token, tokenizer_of
from abspos.planning.at_hand import at_hand
from abspos.planning.layout import Layout
from abspos.planning.sizes import of_checkpoint
from abspos.stores import file_digest
from abspos.study.conditions import condition_of
from abspos.study.fields import HubSource


def misfits(layout: Layout, checkpoints: Path) -> list[str]:
    """One line for each model of a study that cannot be given all of its arms.

    Args:
        layout: of the study.
        checkpoints: the folder of checkpoints, by model and revision.
    """
    found: dict[str, None] = {}
    tokenizers: dict[tuple[str, ...], list[str]] = {}  # revisions of a model mostly share theirs
    for model in layout.study.models:
        swaps = layout.swap_tokens(model.name)
        if isinstance(model.source, HubSource) and (names := unclear(model.source)):
            found[
                f"models[{model.name}].source.tokens_per_step: the training tokens of {names[0]!r} "
                f"do not follow from its name; state them, tokens: {{{names[0]}: NUMBER}}"
            ] = None
        try:
            for revision in layout.revisions(model.name):
                for said in statements(layout, model.name, revision, checkpoints):
                    found |= dict.fromkeys(misfits_of(layout, model.name, said))
                place = at_hand(layout, model.name, revision, checkpoints)
                if place is None or local.is_gguf(place):
                    continue
                files = sorted(path for path in place.glob("tokenizer*.json") if path.is_file())
                key = (*map(file_digest, files), *swaps)
                if key not in tokenizers:
                    tokenizers[key] = list(unfit(place, swaps))
                found |= dict.fromkeys(f"models[{model.name}]: {line}" for line in tokenizers[key])
        except ModelError as error:
            found[f"models[{model.name}]: {error}"] = None
    return list(found)


def statements(
    layout: Layout, model: str, revision: str, checkpoints: Path
) -> Iterator[Mapping[str, Any]]:
    """Facts of a checkpoint's config and tokenizer, from its local files or from the lock.

    Those of a model that is trained here are those of the model that its training began from.

    Raises:
        ModelError: what is here states no sizes that a model can have.
    """
    while model in layout.courses:
        model, revision = layout.start(model)
    if model in layout.sweeps:
        yield layout.sweeps[model].pin(revision).get("says", {})
    place = at_hand(layout, model, revision, checkpoints)
    if place is not None:
        gguf = local.is_gguf(place)
        said = gguf_file.says(gguf_keys.sound(place)) if gguf else says(place)
        if not gguf:
            require_rope(read(place / "config.json"))
            local.require_whole(place)
        yield said
        if said.get("config", {}).get("model_type") not in REFUSED:
            of_checkpoint(place)


def misfits_of(layout: Layout, model: str, said: Mapping[str, Any]) -> Iterator[str]:
    """Lines for one model, of what its files say; none where they say nothing."""
    runs = layout.runs(model)
    tokenizer, config = (said.get(name, {}) for name in ("tokenizer_config", "config"))
    require_numbers(config)
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
    course = layout.courses.get(model)
    if course and course.source.prepend_bos and tokenizer.get("bos_token", "unknown") is None:
        yield (
            f"models[{model}].source.prepend_bos: value True — false, since its tokenizer has no "
            "BOS token"
        )
    window = layout.study.variant(course.source.variant).window if course else None
    if window is not None and kind is not None and kind not in (*REFUSED, *WINDOWED):
        yield f"models[{model}].source.variant: {no_window(kind, window)}"


def unfit(folder: Path, swap_tokens: Sequence[str]) -> Iterator[str]:
    """One line for a tokenizer that cannot be read, or for each replacement that it cannot swap in.

    The file tokenizer.json is read by itself, which is quick. What looks unfit is checked with the
    tokenizer as the model's jobs load it, which takes seconds. A folder with code of its own, and
    one without tokenizer.json, are left to their jobs: plans run no such code.
    """
    file = folder / "tokenizer.json"
    if has_code(folder) or not file.is_file():
        return
    from tokenizers import Tokenizer

    suspects = list(swap_tokens)
    try:
        quick = Tokenizer.from_file(str(file))
        ids = {text: quick.encode(text, add_special_tokens=False).ids for text in swap_tokens}
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
        names = [config.get(key) for key in ("bos_token", "unk_token")]
        marked = [name.get("content") if isinstance(name, dict) else name for name in names]
        marked += ["<unk>", "[UNK]", getattr(quick.model, "unk_token", None)]
        suspects = [t for t, i in ids.items() if len(i) != 1 or quick.id_to_token(i[0]) in marked]
        if not suspects:
            return
    except Exception:  # whatever a broken file gives; the line below says what
        pass
    try:
        tokenizer = tokenizer_of(folder)
    except TokenizerError as error:
        yield str(error)
        return
    for text in suspects:
        try:
            single_token(tokenizer, text)
        except TokenizerError as error:
            yield str(error)
