"""Check that transformers keeps every attention setting of a config.json.

A key that a family does not know is kept by transformers and never read: a window in the config of
a Llama, say. A certificate cannot see it, for it compares the model with itself as loaded.
Source: docs/method.md, section 6.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from abspos.models.families import ModelError
from abspos.models.pretrained import by_layer_type

#: Keys that change attention, whatever the family.
ATTENTION = re.compile(r".*(rope|rotary|sliding|window|softcap|alibi|attention_multiplier).*")
#: Names of older configs, and theirs among the RoPE parameters.
RENAMED = {
    "rope_theta": "rope_theta",
    "rotary_emb_base": "rope_theta",
    "rope_local_base_freq": "rope_theta",
    "partial_rotary_factor": "partial_rotary_factor",
    "rotary_pct": "partial_rotary_factor",
    "rope_pct": "partial_rotary_factor",
    "type": "rope_type",
    "attn_factor": "attention_factor",
}
#: RoPE types that were renamed.
TYPES = {"su": "longrope", "mrope": "default", None: "default"}


def require_carried(stated: Mapping[str, Any], config: Any) -> None:
    """Refuse a config.json of which a key that changes attention would have no effect.

    Args:
        stated: what the file holds.
        config: what transformers makes of it, of a family of its own.

    Raises:
        ModelError: names the first such key and its value.
    """
    for key, value in lost(stated, config):
        raise ModelError(
            f"config.json: {key} {value!r} would have no effect: transformers has no such "
            f"setting for model_type {config.model_type!r}; remove it if the model does not use "
            "it, or state the model_type that has it"
        )


def lost(stated: Mapping[str, Any], config: Any) -> Iterator[tuple[str, Any]]:
    """Keys that change attention, with their values, that a config does not carry."""
    known = {item.name for item in dataclasses.fields(type(config))} | {
        *getattr(config, "attribute_map", {})
    }
    parameters = getattr(config, "rope_parameters", None) or {}
    ropes = list(parameters.values()) if by_layer_type(parameters) else [parameters]
    for key, value in stated.items():
        if not ATTENTION.fullmatch(key) or value in (None, False, [], {}):
            continue
        if key in ("rope_scaling", "rope_parameters") and isinstance(value, Mapping):
            layered = by_layer_type(value)
            for one in value.values() if layered else [value]:
                for name, number in one.items():
                    if not carried(name, number, ropes):
                        yield f"{key}.{name}", number
        elif key in RENAMED and key not in known:
            if not carried(key, value, ropes):
                yield key, value
        elif key not in known and key.lstrip("_") not in known and not inert(key, stated, config):
            yield key, value


def carried(name: str, value: Any, ropes: list[Mapping[str, Any]]) -> bool:
    """Whether one of some RoPE parameters has a value."""
    name = RENAMED.get(name, name)
    if name == "rope_type":
        return any(rope.get(name, "default") in (value, TYPES.get(value)) for rope in ropes)
    return value is None or any(rope.get(name) == value for rope in ropes)


def inert(key: str, stated: Mapping[str, Any], config: Any) -> bool:
    """Whether a window that is stated hides nothing, or is one of a pattern of layers."""
    if key.endswith("sliding_window_pattern"):
        return getattr(config, "layer_types", None) is not None
    if "window" not in key or "sliding" not in key:
        return False
    wide = getattr(config, "max_position_embeddings", None)
    value = stated[key]
    return stated.get("use_sliding_window") is False or (
        isinstance(value, int) and isinstance(wide, int) and value >= wide
    )
