"""The attention function that sees queries and keys after RoPE, and what it hands on.

Registered with transformers under the name ``abspos``. It delegates the output to SDPA, so a
captured forward pass runs at SDPA's speed and, where nobody listens, changes nothing; soft-capped
logits, which SDPA does not have, go through the family's own eager attention.
Logits are rebuilt from q and k later; source: docs/method.md, sections 1 and 6.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import (
    and_masks,
    eager_mask,
    sdpa_mask,
    sliding_window_overlay,
)

from abspos.activations import substitution
from abspos.models.adapters import body, decoder_layers, output_projection
from abspos.models.sources import CausalLM, ModelError

NAME, EAGER = "abspos", "abspos-eager"
#: Bytes of attention weights that certificates hold at a time.
BLOCK_BYTES = 2**26


@dataclass(frozen=True)
class Attention:
    """One layer's attention as the model computed it.

    Attributes:
        layer: index of the layer.
        query: after RoPE (input, head, position, feature).
        key: after RoPE (input, kv_head, position, feature), as heads read it; (input, head, ...)
            under a substitution that differs within a group of heads.
        value: likewise.
        value0: the value at position 0 itself (input, kv_head, feature).
        output: softmax(...) times value (input, position, head, feature).
        scale: what the logits are multiplied with.
        window: keys of the layer's own sliding window as the model states it, or None.
        mask: as the layer got it (input, 1 or head, query, key), or None for plain causal.
        softcap: bound of the logits (see components.rebuilt_logits), or None.
    """

    layer: int
    query: Tensor
    key: Tensor
    value: Tensor
    value0: Tensor
    output: Tensor
    scale: float
    window: int | None
    mask: Tensor | None
    softcap: float | None


@dataclass(frozen=True)
class Weights:
    """Attention weights of some queries of one layer in the model's own eager attention.

    Attributes:
        layer: index of the layer.
        rows: which queries.
        weights: (input, head, query, key).
        mask: of all queries, as the layer got it (input, 1 or head, query, key).
    """

    layer: int
    rows: slice
    weights: Tensor
    mask: Tensor | None


Listener = Callable[[Attention], None]
Reader = Callable[[Weights], None]
_listeners: list[Listener] = []
_readers: list[Reader] = []


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA for the model, and for whoever listens the queries and keys it saw."""
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if kwargs.get("s_aux") is not None:
        raise ModelError(f"layer {layer}: learned sink logits (s_aux), which SDPA ignores; refused")
    causal = kwargs.get("is_causal")
    if attention_mask is None and not (module.is_causal if causal is None else causal):
        raise ModelError(f"layer {layer}: its attention is not causal; refused")
    softcap = kwargs.get("softcap")

    def compute(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor | None]:
        if softcap is not None:
            mask = additive(attention_mask, query)
            return own_eager(module)(module, query, key, value, mask, scaling=scaling, **kwargs)
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )

    output, _ = substitution.attend(layer, key, value, compute)
    if _listeners:
        read = substitution.read(layer, key, value)
        seen = Attention(
            layer=layer,
            query=query,
            key=read[0],
            value=read[1],
            value0=value[:, :, 0],
            output=output,
            scale=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
            window=kwargs.get("sliding_window"),
            mask=attention_mask,
            softcap=softcap,
        )
        for listener in _listeners:
            listener(seen)
    return output, None


def mask(*args: Any, config: Any = None, mask_function: Any = None, **kwargs: Any) -> Any:
    """The mask of SDPA, narrowed to the window of the variant where there is one.

    Without a mask registered under the same name, transformers passes None and causality or
    a window is silently lost.
    """
    window = getattr(config, "abspos_window", None)
    if window is not None:
        mask_function = and_masks(mask_function, sliding_window_overlay(window))
        kwargs["allow_is_causal_skip"] = False
    kwargs |= {"mask_function": mask_function, "config": config}
    return sdpa_mask(*args, **kwargs)


def additive(mask: Tensor | None, query: Tensor) -> Tensor:
    """A mask of SDPA, True where a key is seen or None for plain causal, as eager attention adds
    it."""
    if mask is None:
        mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device)
        mask = mask.tril()[None, None]
    lowest = torch.finfo(query.dtype).min
    return torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(~mask, lowest)


def own_eager(module: torch.nn.Module) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The eager attention of the family that an attention module is of."""
    return sys.modules[type(module).__module__].eager_attention_forward


def narrowest(*windows: int | None) -> int | None:
    """The smallest of some windows in keys, None standing for no window."""
    return min((w for w in windows if w is not None), default=None)


def query_blocks(query: Tensor, keys: int) -> list[slice]:
    """Slices of queries (input, head, query, feature) whose weights stay within BLOCK_BYTES."""
    inputs, heads, length = query.shape[:3]
    step = max(1, BLOCK_BYTES // (4 * inputs * heads * keys))
    return [slice(first, min(first + step, length)) for first in range(0, length, step)]


def eager(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The family's own eager attention, under the substitution that is open: for certificates.

    Some queries at a time, so that weights of long inputs never lie in memory whole; whoever reads
    them gets them block by block.
    """
    own, layer = own_eager(module), int(module.layer_idx)  # type: ignore[arg-type]
    outputs = []
    for rows in query_blocks(query, key.shape[2]):
        mask = None if attention_mask is None else attention_mask[:, :, rows]

        def compute(
            k: Tensor, v: Tensor, rows: slice = rows, mask: Tensor | None = mask
        ) -> tuple[Tensor, Tensor | None]:
            return own(module, query[:, :, rows], k, v, mask, **kwargs)

        output, weights = substitution.attend(layer, key, value, compute, first=rows.start == 0)
        outputs.append(output)
        assert weights is not None  # eager attention has them
        for reader in _readers:
            reader(Weights(layer, rows, weights, attention_mask))
    return torch.cat(outputs, 1), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, mask)
AttentionInterface.register(EAGER, eager)
AttentionMaskInterface.register(EAGER, eager_mask)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hand every layer's attention to ``listener`` while the context is open."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def eagerly(model: CausalLM, reader: Reader) -> Iterator[None]:
    """The model's own eager attention while the context is open; its weights go to ``reader``."""
    _readers.append(reader)
    model.set_attn_implementation(EAGER)
    try:
        yield
    finally:
        model.set_attn_implementation(NAME)
        _readers.remove(reader)


@contextmanager
def passing(model: CausalLM, take: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Hand over the residual stream (input, position, feature) as it passes, with its depth.

    Depth 0 is before the first layer, depth L after the last. ``output_hidden_states`` would give
    the last state after the final norm; hooks give it before.
    """
    layers = decoder_layers(model)
    handles = []
    for depth, layer in enumerate(layers):

        def before(
            module: torch.nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            depth: int = depth,
        ) -> None:
            take(depth, args[0] if args else kwargs["hidden_states"])

        handles.append(layer.register_forward_pre_hook(before, with_kwargs=True))

    def after(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        take(len(layers), output[0] if isinstance(output, tuple) else output)

    handles.append(layers[-1].register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def given_states(model: CausalLM, states: list[Tensor]) -> Iterator[None]:
    """Give each layer its own entry of ``states`` instead of the previous layer's output."""

    def read(state: Tensor) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        def before(
            module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (state, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": state}

        return before

    handles = [
        layer.register_forward_pre_hook(read(state), with_kwargs=True)
        for layer, state in zip(decoder_layers(model), states, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Residuals:
    """The residual stream (input, position, feature): before each layer, and after the last."""

    states: list[Tensor] = field(default_factory=list)


@contextmanager
def residual_stream(model: CausalLM, inputs: slice = slice(None)) -> Iterator[Residuals]:
    """Collect the residual stream of the last forward pass made while the context is open.

    Args:
        model: whose.
        inputs: of the pass that are kept.
    """
    seen = Residuals()

    def keep(depth: int, state: Tensor) -> None:
        if depth == 0:
            seen.states.clear()
        seen.states.append(state[inputs].clone())  # a layer may write into what it reads

    with passing(model, keep):
        yield seen


def forward(
    model: CausalLM, embeddings: Tensor, position_ids: Tensor | None, mask: Tensor | None = None
) -> Tensor:
    """The final hidden state (input, position, feature), after the final norm."""
    output = body(model)(
        inputs_embeds=embeddings, position_ids=position_ids, attention_mask=mask, use_cache=False
    )
    return output.last_hidden_state


def writes(model: CausalLM, v0: np.ndarray) -> np.ndarray:
    """v_0 W_O: what each head would write if it attended to position 0 alone.

    Args:
        model: the model of the run.
        v0: values at position 0 of one input (layer, kv_head, feature).

    Returns:
        (layer, head, hidden) float32.
    """
    found = []
    for layer, values in enumerate(v0):
        weight = torch.as_tensor(output_projection(model, layer).weight).float().cpu()
        size = values.shape[-1]
        heads = weight.shape[1] // size
        value = torch.as_tensor(values).repeat_interleave(heads // len(values), 0)
        by_head = weight.reshape(weight.shape[0], heads, size)
        found.append(torch.einsum("hf,ohf->ho", value, by_head).numpy())
    return np.stack(found)
