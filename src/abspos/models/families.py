"""What a checkpoint's small files say that decides whether, and how, it can be measured.

Plans read it as well as jobs, so nothing is imported that they do not share.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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

#: File of a synthetic model's checkpoint folder, in place of config and weights: its source.
WORLD = "world.json"

#: Keys that decide, by the stem of the JSON file that holds them.
SAYS = {
    "config": ("model_type", "max_position_embeddings"),
    "tokenizer_config": ("bos_token",),
}


def says(folder: Path) -> dict[str, dict[str, Any]]:
    """The keys that decide, of a folder's JSON files by their stems; without those that lack."""
    found = {name: read(folder / f"{name}.json") for name in SAYS}
    held = {n: {k: found[n][k] for k in keys if k in found[n]} for n, keys in SAYS.items()}
    return {name: keys for name, keys in held.items() if keys}


def read(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty where it is missing or unreadable, which its job will tell."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
