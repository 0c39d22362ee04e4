"""Kind of attention of each layer: its window, and the type and base of its RoPE.

Windows and whether a layer rotates are measured, RoPE's type and base are read from the config.
Layers of different kinds are measured alike and never pooled unawares: stores and tables carry
the kind of each layer, and no claim is decided on a mean over layers of several kinds.
Source: docs/models.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from abspos.activations.capture import (
    Attention,
    forward,
    listening,
    narrowest,
    residual_stream,
)
from abspos.activations.certificates import sight
from abspos.activations.masks import looking
from abspos.models.adapters import decoder_layers
from abspos.models.hub import first_line
from abspos.models.pretrained import by_layer_type
from abspos.models.sources import CausalLM, ModelError

log = logging.getLogger("abspos")

#: RoPE of a layer that does not rotate queries and keys.
NO_ROPE = "no RoPE"


@dataclass(frozen=True)
class Layer:
    """One layer's attention.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads.
        size: of a head's queries and keys.
        scale: what logits are multiplied with.
        softcap: bound of the logits, or None.
        native: keys of the model's own sliding window, or None.
        rope: type and base of its RoPE as text (see rope_of), or NO_ROPE.
    """

    heads: int
    kv_heads: int
    size: int
    scale: float
    softcap: float | None
    native: int | None
    rope: str

    def window(self, length: int, variant: int | None = None) -> int | None:
        """Keys that a query of at most ``length`` positions sees, the variant's window included;
        None where it sees all."""
        seen = narrowest(self.native, variant)
        return seen if seen is not None and seen < length else None

    def kind(self, variant: int | None = None) -> str:
        """Window and RoPE, such as ``full, theta 1e6`` or ``sliding 512, theta 1e4``: the same at
        every length, also where the window hides nothing."""
        window = narrowest(self.native, variant)
        return f"{'full' if window is None else f'sliding {window}'}, {self.rope}"


def rope_of(config: Any, layer: int) -> str:
    """Type and base of a layer's RoPE as text: ``theta 1e4``, ``llama3, theta 5e5``.

    The default type has no name. Families state one set of parameters, or one for each type of
    layer.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    if by_layer_type(parameters):
        parameters = parameters.get(config.layer_types[layer], {})
    kind, theta = parameters.get("rope_type", "default"), parameters.get("rope_theta")
    base = "" if theta is None else f"theta {short_number(float(theta))}"
    return ", ".join(filter(None, (kind if kind != "default" or not base else "", base)))


def short_number(value: float) -> str:
    """A number in three digits as ``1e6``, ``8.56e5``."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def layers_of(
    model: CausalLM, embedding: Tensor, length: int, variant: int | None = None
) -> list[Layer]:
    """The layers of a model in order, from forward passes on one token.

    A single token attends to itself alone whatever its position, so its states agree exactly and
    its queries differ in a layer if and only if that layer rotates them. A layer's window is that
    of the mask it gets at full length: some families state it there alone.

    Args:
        model: with ``abspos`` attention set.
        embedding: of any token (feature); not zero.
        length: T.
        variant: keys of the variant's window.

    Raises:
        ModelError: no layer rotates; positions reach the residual stream by another way than
            attention; a layer does not attend; its mask is not causal with at most a window;
            layers differ in their heads or in the width of their windows; or there is no forward
            pass at all through the interface.
    """
    kind = model.config.model_type
    try:
        (first, states), (second, moved) = (at_position(model, embedding, p) for p in (0, 1))
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"model_type {kind!r}: a forward pass on one token failed ({first_line(error)}); "
            "refused, since abspos measures decoders whose attention calls the interface of "
            "transformers"
        ) from error
    if not torch.allclose(states, moved, rtol=0, atol=0, equal_nan=True):
        raise ModelError(
            f"model_type {kind!r}: positions enter its residual stream without attention; "
            "abspos measures RoPE decoders"
        )
    if silent := sorted(set(range(len(decoder_layers(model)))) - set(first)):
        raise ModelError(
            f"model_type {kind!r}: layers {', '.join(map(str, silent[:3]))} have no attention that "
            "calls the interface of transformers; abspos measures models that attend in each layer"
        )
    windows = windows_of(model, embedding, length)
    layers = [
        Layer(
            heads=seen.query.shape[1],
            kv_heads=seen.key.shape[1],
            size=seen.query.shape[3],
            scale=seen.scale,
            softcap=seen.softcap,
            native=native_window(windows[number], seen.window, length, variant),
            rope=NO_ROPE
            if torch.equal(seen.query, second[number].query)
            else rope_of(model.config, number),
        )
        for number, seen in sorted(first.items())
    ]
    if all(layer.rope == NO_ROPE for layer in layers):
        raise ModelError(f"model_type {kind!r}: it has no RoPE; abspos measures RoPE decoders")
    if len({(layer.heads, layer.kv_heads, layer.size) for layer in layers}) > 1:
        raise ModelError(
            f"model_type {kind!r}: its layers differ in heads or head size; refused, since stores "
            "hold one array for all layers"
        )
    widths = {layer.native for layer in layers} - {None}
    if len(widths) > 1:
        raise ModelError(
            f"model_type {kind!r}: sliding windows of {', '.join(map(str, widths))} keys; refused, "
            "since layers of one kind would differ"
        )
    return layers


def windows_of(model: CausalLM, embedding: Tensor, length: int) -> dict[int, int | None]:
    """Keys that the mask of each layer leaves at full length (see certificates.sight).

    Args:
        model: with the variant applied and ``abspos`` attention set.
        embedding: of any token (feature).
        length: T.
    """
    found: dict[int, int | None] = {}

    def look(layer: int, mask: Tensor | None) -> None:
        if mask is None or mask.shape[-2:] == (length, length):
            found[layer] = sight(mask, length, layer)

    given = embedding.expand(1, length, -1)
    with torch.no_grad(), looking(model, length, look):
        forward(model, given, None)
    if len(found) < len(decoder_layers(model)):  # masks that hang on what a layer reads

        def listen(seen: Attention) -> None:
            found[seen.layer] = sight(seen.mask, length, seen.layer)

        with torch.no_grad(), listening(listen):
            forward(model, given, None)
    return found


def native_window(
    seen: int | None, stated: int | None, length: int, variant: int | None
) -> int | None:
    """Keys of a layer's own window, from its mask, or as stated where that hides nothing.

    Args:
        seen: keys that its mask leaves at full length, the variant's window included.
        stated: by the arguments of its attention.
        length: T.
        variant: keys of the variant's window.
    """
    if seen != variant:
        return seen
    return stated if stated is not None and stated >= (seen or length) else None


def at_position(
    model: CausalLM, embedding: Tensor, position: int
) -> tuple[dict[int, Attention], Tensor]:
    """Attention of each layer for one token at a position, and residual stream (depth, feature)."""
    found: dict[int, Attention] = {}
    with (
        torch.no_grad(),
        listening(lambda seen: found.__setitem__(seen.layer, seen)),
        residual_stream(model) as stream,
    ):
        ids = torch.tensor([[position]], device=embedding.device)
        forward(model, embedding[None, None], ids)
    if any(state.shape != (1, 1, len(embedding)) for state in stream.states):
        raise ModelError(
            f"model_type {model.config.model_type!r}: its layers do not pass on one "
            "residual stream (input, position, feature); refused"
        )
    return found, torch.stack([state[0, 0] for state in stream.states])


def tell_inert(layers: Sequence[Layer], length: int, label: str) -> int | None:
    """Keys of a model's own window that hides nothing at this length, said in the log; or None."""
    native = narrowest(*(layer.native for layer in layers))
    if native is None or native < length:
        return None
    log.info(
        "%s: the model's own window of %d keys hides nothing at inputs.length %d: its layers are "
        "measured as full attention",
        label,
        native,
        length,
    )
    return native
