"""The mask that each layer is given at full length, seen without the work of a forward pass.

Source: docs/method.md, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from abspos.activations.capture import NAME, mask
from abspos.models.adapters import decoder_layers
from abspos.models.sources import CausalLM

MASKS = "abspos-masks"
_lookers: list[Callable[[int, Tensor | None], None]] = []


def no_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Zeros instead of attention, and the mask for whoever looks at it."""
    for look in _lookers:
        look(int(module.layer_idx), attention_mask)  # type: ignore[arg-type]
    inputs, heads, length = query.shape[:3]
    return query.new_zeros(inputs, length, heads, value.shape[-1]), None


AttentionInterface.register(MASKS, no_attention)
AttentionMaskInterface.register(MASKS, mask)


@contextmanager
def looking(
    model: CausalLM, length: int, look: Callable[[int, Tensor | None], None]
) -> Iterator[None]:
    """Hand over the mask that every layer is given, with its index, and compute next to nothing.

    While the context is open, a layer gets the mask of all positions and the first position of
    everything else, so that a mask which its attention makes of its own has other sizes.

    Args:
        model: whose.
        length: T of the forward pass to be made.
        look: gets index and mask.
    """

    def before(
        module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return first_position((args, kwargs), length)

    handles = [
        layer.register_forward_pre_hook(before, with_kwargs=True) for layer in decoder_layers(model)
    ]
    _lookers.append(look)
    model.set_attn_implementation(MASKS)
    try:
        yield
    finally:
        model.set_attn_implementation(NAME)
        _lookers.remove(look)
        for handle in handles:
            handle.remove()


def first_position(given: Any, length: int) -> Any:
    """Arguments of a layer with their tensors cut to the first of ``length`` positions.

    Masks, which alone have four axes, stay as they are.
    """
    if isinstance(given, Tensor) and given.ndim < 4:
        axis = 0 if given.ndim < 3 and given.shape[:1] == (length,) else 1
        return given.narrow(axis, 0, 1) if given.shape[axis : axis + 1] == (length,) else given
    if isinstance(given, (tuple, list)):
        return type(given)(first_position(each, length) for each in given)
    if isinstance(given, dict):
        return {name: first_position(each, length) for name, each in given.items()}
    return given
