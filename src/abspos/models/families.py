"""Facts of a checkpoint's small files that decide whether, and how, it can be measured.

Plans read it as well as jobs, so nothing is imported that they do not share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ModelError(RuntimeError):
    """A checkpoint that cannot be had, loaded, or measured."""


#: Families that cannot be measured, and why.
REFUSED = {
    "gpt_oss": "its softmax has a learned sink logit in every denominator, so that the attention "
    "of a query's keys does not add up to 1, which the decomposition takes for granted",
    "gptj": "its attention does not call the attention interface of transformers",
    "falcon": "its attention does not call the attention interface of transformers",
    "codegen": "its attention does not call the attention interface of transformers",
    "bloom": "it has ALiBi instead of RoPE",
    "mpt": "it has ALiBi instead of RoPE",
    "gpt2": "it has learned absolute positions instead of RoPE",
    "opt": "it has learned absolute positions instead of RoPE",
    "gpt_neo": "it has learned absolute positions instead of RoPE",
}

#: Families without windows, and the family that is the same model with one in every layer.
WITH_WINDOW = {"llama": "mistral"}
#: Families whose config states a window for all layers.
IN_ALL = ("mistral", "phi3", "starcoder2")
#: Families whose config states which layers have it; they have one RoPE for all layers.
BY_LAYER = ("qwen2", "qwen3", "gemma2")
WINDOWED = tuple(sorted({*WITH_WINDOW, *IN_ALL, *BY_LAYER}))

#: File of a synthetic model's checkpoint folder, in place of config and weights: its source.
WORLD = "world.json"

#: Keys that decide, by the stem of the JSON file that holds them.
SAYS = {
    "config": ("model_type", "max_position_embeddings"),
    "tokenizer_config": ("bos_token",),
}


#: Keys of a config that hold whole numbers above 0; of the latter some families have no value.
WHOLE = (
    "max_position_embeddings",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_size",
    "vocab_size",
)
WHOLE_OR_NONE = ("num_key_value_heads", "head_dim")


def no_window(kind: Any, window: int) -> ModelError:
    """The error of a family whose config cannot state a window in every layer."""
    return ModelError(
        f"window {window}: a model_type {kind!r} cannot be trained with a window in every layer, "
        f"since its config cannot state one; train one of {', '.join(WINDOWED)}, without biases"
    )


def require_numbers(config: Mapping[str, Any]) -> None:
    """Refuse a config whose family or sizes are of another kind than text and numbers.

    Raises:
        ModelError: names the first such key and its value.
    """
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise ModelError(f"config.json: model_type {kind!r} is not a string; correct it")
    for key in (*WHOLE, *WHOLE_OR_NONE):
        if key not in config or (config[key] is None and key in WHOLE_OR_NONE):
            continue
        value = config[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            most = " and below 2^31" if isinstance(value, int) and value > 0 else ""
            raise ModelError(
                f"config.json: {key} {shown(value)} is not a whole number above 0{most}; correct it"
            )


#: RoPE types that transformers computes, and older names of theirs.
ROPE_TYPES = (
    *("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"),
    *("su", "mrope"),
)


def require_rope(config: Mapping[str, Any]) -> None:
    """Refuse a config whose RoPE is of a type that transformers does not compute.

    Raises:
        ModelError: names the key and its value.
    """
    for key in ("rope_scaling", "rope_parameters"):
        stated = config.get(key)
        if stated is None:
            continue
        if not isinstance(stated, Mapping):
            raise ModelError(f"config.json: {key} {shown(stated)} is no mapping; correct it")
        layered = {name: one for name, one in stated.items() if isinstance(one, Mapping)}
        for path, one in ({key: stated} | {f"{key}.{n}": layered[n] for n in layered}).items():
            kind = one.get("rope_type", one.get("type"))
            if kind is not None and kind not in ROPE_TYPES:
                raise ModelError(
                    f"config.json: {path}.rope_type {shown(kind)} is none of "
                    f"{', '.join(ROPE_TYPES)}; correct it"
                )


def shown(value: Any) -> str:
    """A value as code, cut to the width of a line."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def says(folder: Path) -> dict[str, dict[str, Any]]:
    """The keys that decide, of a folder's JSON files by their stems; without those that lack."""
    found = {name: read(folder / f"{name}.json") for name in SAYS}
    held = {n: {k: found[n][k] for k in keys if k in found[n]} for n, keys in SAYS.items()}
    return {name: keys for name, keys in held.items() if keys}


def read(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty if it is missing or unreadable; its job reports that."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
