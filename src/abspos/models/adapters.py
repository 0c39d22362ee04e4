"""Where the parts of a family's modules are: one row for each family with names of its own.

A family without a row has the names that nearly all of transformers share (`USUAL`). A family with
other names is one row of `ADAPTERS`; nothing else in abspos reads module names.
Source: docs/models.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from abspos.models.sources import CausalLM, ModelError


@dataclass(frozen=True)
class Adapter:
    """Attribute paths of a family's parts.

    Attributes:
        layers: from the causal language model to the list of its decoder layers; the module that
            holds it is the model without its vocabulary head.
        attention: from a decoder layer to its self-attention.
        output: from the self-attention to W_O, the linear map that ends it.
    """

    layers: str = "model.layers"
    attention: str = "self_attn"
    output: str = "o_proj"


#: Names that nearly all families share.
USUAL = Adapter()

#: Families with other names, by ``model_type`` of the text config.
ADAPTERS = {
    "gpt_neox": Adapter("gpt_neox.layers", "attention", "dense"),
    "jetmoe": Adapter(attention="self_attention"),
    "lfm2": Adapter(output="out_proj"),
    "lfm2_moe": Adapter(output="out_proj"),
    "modernbert-decoder": Adapter(attention="attn", output="Wo"),
    "persimmon": Adapter(output="dense"),
    "phi": Adapter(output="dense"),
}


def decoder_layers(model: CausalLM) -> torch.nn.ModuleList:
    """The decoder layers of a causal language model, in order of depth."""
    return part(model, model, "layers")


def body(model: CausalLM) -> torch.nn.Module:
    """The model without its vocabulary head: what holds the decoder layers."""
    decoder_layers(model)  # refuses a model without any
    path = ADAPTERS.get(family(model), USUAL).layers
    return model.get_submodule(path.rpartition(".")[0])


def attention_module(model: CausalLM, layer: int) -> torch.nn.Module:
    """The self-attention of a decoder layer."""
    return part(model, decoder_layers(model)[layer], "attention")


def output_projection(model: CausalLM, layer: int) -> torch.nn.Module:
    """The linear map W_O that ends a layer's attention; its weight is (hidden, head feature)."""
    return part(model, attention_module(model, layer), "output")


def family(model: CausalLM) -> str:
    """The ``model_type`` of a model's text config."""
    return str(model.config.get_text_config().model_type)


def part(model: CausalLM, module: torch.nn.Module, which: str) -> Any:
    """A part of a module, where the family's adapter has it.

    Args:
        model: the causal language model that the module is of.
        module: where to look.
        which: a field of Adapter.

    Raises:
        ModelError: there is no such part; names the family, the path and the table to extend.
    """
    kind = family(model)
    path = getattr(ADAPTERS.get(kind, USUAL), which)
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise ModelError(
            f"model_type {kind!r}: {type(module).__name__} has no {path!r} ({which}); give the "
            "family a row in abspos.models.adapters.ADAPTERS"
        )
    return found
