"""Models as transformers loads them, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from abspos.models.families import ModelError

#: A causal language model of transformers. They share no typed base that has a head and a body.
CausalLM = Any


def pretrained(folder: Path, **options: Any) -> CausalLM:
    """A model as transformers loads it, with no weight that it had to draw at random.

    Raises:
        ModelError: tensors of the model are not in the checkpoint.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{folder}: {len(missing)} of the model's tensors are not in it, {missing[0]} the "
            "first, and would be random; get the whole checkpoint, of the architecture that its "
            "config.json states"
        )
    return model


def by_layer_type(parameters: Any) -> bool:
    """Whether RoPE parameters are given for each type of layer, as Gemma 3 has them."""
    return bool(parameters) and all(isinstance(p, dict) for p in parameters.values())
