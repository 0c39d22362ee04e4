"""Proof, on a sample of each extraction's own inputs, that what was captured is what happened.

(a) softmax of the logits rebuilt from the *stored* q and k, times v, is the attention output;
(b) the output logits with capture on are those of the model's own eager attention;
(c) masked positions get exactly zero weight, and only they, and the rebuilt attention is the eager
    one.
In bfloat16 each layer of the eager pass starts from the state that it had in the captured pass,
and what it writes is compared too.
Source: docs/method.md, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abspos.activations.capture import (
    EAGER,
    NAME,
    Attention,
    Residuals,
    attention_module,
    given_states,
    listening,
    narrowest,
    passing,
    residual_stream,
)
from abspos.activations.exchange import active
from abspos.logits import rebuilt_logits
from abspos.models.loading import decoder_layers
from abspos.models.sources import CausalLM, ModelError

#: Largest error relative to the largest value compared, by dtype of the forward pass. ``output``
#: is compared within one layer; in float32 the others through the depth of two forward passes,
#: along which rounding grows (where a window hides the sink, a hundredfold).
TOLERANCE = {
    "float32": {"output": 1e-4, "weights": 1e-3, "logits": 1e-3},
    "bfloat16": {"output": 2e-2, "weights": 5e-2, "states": 5e-2, "logits": 5e-2},
}

#: A weight below it may be rounded to 0.
TINY = 1e-6

#: Dtypes so coarse that two right forward passes drift apart with depth as far as wrong ones:
#: layers are compared one by one, each on the state that it had in the captured pass.
BY_LAYER = {"bfloat16"}


@dataclass(frozen=True)
class Certificate:
    """Largest relative errors over layers, as written into a store's attributes.

    ``states`` is None where layers were not compared one by one.
    """

    output: float
    logits: float
    weights: float
    states: float | None
    masked: float
    tolerance: dict[str, float]
    inputs: int
    positions: int


def allowed(length: int, window: int | None, device: torch.device | str = "cpu") -> Tensor:
    """Which keys (query, key) a query may see: causal, and the nearest ``window`` of them."""
    i = torch.arange(length, device=device)[:, None]
    j = torch.arange(length, device=device)[None, :]
    seen = j <= i
    return seen if window is None else seen & (i - j < window)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over the largest absolute expected value."""
    found, expected = found.float(), expected.float()
    error = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-30)
    return float(error)


def relative_by_position(found: Tensor, expected: Tensor) -> float:
    """Largest norm of a position's difference over the norm of its expected state.

    A state of a few huge features, as at position 0, would hide every other position's error.
    """
    found, expected = found.float(), expected.float()
    size = expected.norm(dim=-1).clamp_min(1e-30)
    return float(((found - expected).norm(dim=-1) / size).max())


def certify(
    model: CausalLM,
    embeddings: Tensor,
    position_ids: Tensor | None,
    stored: Mapping[int, tuple[np.ndarray, np.ndarray]],
    window: int | None,
    dtype: str,
) -> dict[str, Any]:
    """Run the sample again, with capture and with eager attention, and compare.

    Args:
        model: with the variant applied and ``abspos`` attention set.
        embeddings: (input, position, feature) of the sample.
        position_ids: as in the extraction.
        stored: layer -> q (input, head, position, feature) and k, read back from the store.
        window: of the variant.
        dtype: of the forward pass; sets the tolerance.

    Raises:
        ModelError: an error beyond tolerance or not finite, with its layer and size.
    """
    tolerance = TOLERANCE[dtype]
    worst: dict[str, Any] = {"states": None, "masked": 0.0} | dict.fromkeys(tolerance, 0.0)
    inputs, length = embeddings.shape[:2]
    windows: dict[int, int | None] = {}

    def note(what: str, layer: int | None, error: float) -> None:
        if not error <= tolerance[what]:
            where = "output logits" if layer is None else f"layer {layer}"
            raise ModelError(
                f"certificate {what!r}: {where}: relative error {error:.2g}, allowed "
                f"{tolerance[what]:g}; this attention is not softmax(scale q k + mask) v: refused"
            )
        worst[what] = max(worst[what], error)

    def rebuilt(layer: int) -> Tensor:
        q, k = (torch.as_tensor(a, device=embeddings.device).float() for a in stored[layer])
        seen = allowed(length, windows[layer], embeddings.device)
        logits = rebuilt_logits(q, k, *scales[layer])
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)

    scales: dict[int, tuple[float, float | None]] = {}

    def compare_output(seen: Attention) -> None:
        windows[seen.layer] = narrowest(seen.window, window)
        scales[seen.layer] = seen.scale, seen.softcap
        value = seen.value.float().repeat_interleave(seen.query.shape[1] // seen.value.shape[1], 1)
        output = (rebuilt(seen.layer) @ value).transpose(1, 2)
        # Under an exchange position 0 still reads itself, and no other reads it as it is.
        first = int(active())
        note("output", seen.layer, relative(output[:, first:], seen.output[:, first:]))

    def compare_weights(layer: int, weights: Tensor) -> None:
        ours = rebuilt(layer)
        hidden = weights.float().masked_fill(allowed(length, windows[layer], weights.device), 0)
        # No rounding makes 0 of a weight that is not tiny: the eager mask hides that key.
        lost = ours.masked_fill((weights != 0) | (ours < TINY), 0)
        worst["masked"] = max(worst["masked"], float(hidden.abs().max()), float(lost.max()))
        if worst["masked"] != 0:
            raise ModelError(
                f"certificate 'masked': layer {layer}: weight {worst['masked']:.2g} where the "
                "other attention masks, allowed 0"
            )
        note("weights", layer, relative(ours, weights))

    def compare_state(depth: int, found: Tensor) -> None:
        error = relative_by_position(found, residuals.states[depth])
        note("states", max(depth - 1, 0), error)  # before layer 0 too: what all others start from

    by_layer = dtype in BY_LAYER
    residuals = Residuals()
    with torch.no_grad():
        with ExitStack() as captures:
            captures.enter_context(listening(compare_output))
            if by_layer:
                residuals = captures.enter_context(residual_stream(model))
            captured = output_logits(model, embeddings, position_ids)
        with ExitStack() as compares:
            if by_layer:
                compares.enter_context(passing(model, compare_state))
                compares.enter_context(given_states(model, residuals.states[:-1]))
            eager = eager_logits(model, embeddings, position_ids, window, compare_weights)
    note("logits", None, relative(captured, eager))
    return asdict(Certificate(**worst, tolerance=tolerance, inputs=inputs, positions=length))


def output_logits(
    model: CausalLM,
    embeddings: Tensor,
    position_ids: Tensor | None,
    mask: Tensor | None = None,
) -> Tensor:
    """Output logits (input, position, token), with whatever the model does after its head."""
    return model(
        inputs_embeds=embeddings, position_ids=position_ids, attention_mask=mask, use_cache=False
    ).logits


def eager_logits(
    model: CausalLM,
    embeddings: Tensor,
    position_ids: Tensor | None,
    window: int | None,
    compare: object,
) -> Tensor:
    """Output logits of the model with its own eager attention; hand on each layer's weights.

    The mask of a windowed variant is built here, by other code than the one under test.
    """
    mask = None
    if window is not None:
        seen = allowed(embeddings.shape[1], window, embeddings.device)
        mask = torch.zeros(seen.shape, dtype=embeddings.dtype, device=embeddings.device)
        mask = mask.masked_fill(~seen, torch.finfo(embeddings.dtype).min)[None, None]
        mask = mask.expand(embeddings.shape[0], -1, -1, -1)

    def hook(layer: int) -> object:
        def after(module: torch.nn.Module, args: object, output: tuple[Tensor, ...]) -> None:
            compare(layer, output[1])  # type: ignore[operator]

        return after

    modules = [attention_module(layer) for layer in decoder_layers(model)]
    handles = [m.register_forward_hook(hook(i)) for i, m in enumerate(modules)]  # type: ignore[arg-type]
    model.set_attn_implementation(EAGER if active() else "eager")
    try:
        return output_logits(model, embeddings, position_ids, mask)
    finally:
        model.set_attn_implementation(NAME)
        for handle in handles:
            handle.remove()
