"""Proof, on a sample of each extraction's own inputs, that what was captured is what happened.

(a) softmax of the logits rebuilt from the *stored* q and k, times v, is the attention output;
(b) the output logits with capture on are those of the model's own eager attention;
(c) masked positions get exactly zero weight, and only they, and the rebuilt attention is the eager
    one.
In bfloat16 the captured pass repeats a whole batch, and each layer of the eager pass starts from
the state that it had there; what it writes is compared too.
Source: docs/method.md, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abspos.activations.capture import (
    Attention,
    Reader,
    Residuals,
    Weights,
    eagerly,
    forward,
    given_states,
    listening,
    narrowest,
    passing,
    query_blocks,
    residual_stream,
)
from abspos.activations.losses import in_parts, output_logits
from abspos.activations.store import Sample
from abspos.activations.substitution import active, narrowed
from abspos.logits import rebuilt_logits
from abspos.models.adapters import body
from abspos.models.sources import CausalLM, ModelError

#: Largest error relative to the largest value compared, by dtype of the forward pass. ``output``
#: is compared within one layer; in float32 the others through the depth of two forward passes,
#: along which rounding grows (where a window hides the sink, a hundredfold). ``states`` includes
#: what the MLP makes of rounding: of Gemma 3 under silence-all, 13 % of the largest feature that a
#: layer wrote at one position of 256, and 0.068 of its state.
TOLERANCE = {
    "float32": {"output": 1e-4, "weights": 1e-3, "logits": 1e-3},
    "bfloat16": {"output": 2e-2, "weights": 5e-2, "states": 1e-1, "logits": 5e-2},
}

#: A weight below it may be rounded to 0.
TINY = 1e-6

#: Inputs that are compared.
SAMPLE = 2

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
    return float(magnitude(found - expected) / magnitude(expected).clamp_min(1e-30))


def magnitude(values: Tensor) -> Tensor:
    """Largest absolute value; NaN where there is one. Without a copy of them, unlike abs()."""
    low, high = values.aminmax()
    return torch.maximum(-low, high)


def relative_by_position(found: Tensor, expected: Tensor) -> float:
    """Largest norm of a position's difference over the norm of its expected state.

    A state of a few huge features, as at position 0, would hide every other position's error.
    """
    found, expected = found.float(), expected.float()
    size = expected.norm(dim=-1).clamp_min(1e-30)
    return float(((found - expected).norm(dim=-1) / size).max())


class Largest:
    """Largest absolute difference, and largest absolute expected value, of several parts."""

    def __init__(self) -> None:
        self.error = self.size = torch.zeros(())

    def add(self, found: Tensor, expected: Tensor) -> None:
        """Take another part; a NaN stays."""
        found, expected = found.float(), expected.float()
        self.error = torch.maximum(self.error.to(found.device), magnitude(found - expected))
        self.size = torch.maximum(self.size.to(found.device), magnitude(expected))

    @property
    def relative(self) -> float:
        """Their ratio."""
        return float(self.error / self.size.clamp_min(1e-30))


def sight(mask: Tensor | None, length: int, layer: int) -> int | None:
    """Keys that an attention mask leaves to each query: the nearest so many, or None for all.

    A number added to all keys of a query changes no attention.

    Args:
        mask: (input, 1 or head, query, key), True where a key is seen, or added to logits; None for
            plain causal attention.
        length: T.
        layer: named in errors.

    Raises:
        ModelError: the mask is neither causal nor causal with one window, or it adds numbers to
            logits that differ between keys.
    """
    if mask is None:
        return None
    seen = mask
    if mask.dtype != torch.bool:
        seen = mask > torch.finfo(mask.dtype).min / 2
        top = mask.amax(-1, keepdim=True)
        if bool((seen & (mask != top)).any()):
            raise ModelError(
                f"layer {layer}: its mask adds numbers to logits that differ between keys; this "
                "attention is not softmax(scale q k + mask) v: refused"
            )
    keys = int(seen[0, 0, -1].sum())
    window = keys if keys < length else None
    wrong = seen != allowed(length, window, seen.device)
    if bool(wrong.any()):
        query, key = wrong.nonzero()[0, 2:].tolist()
        does = "sees" if bool(seen[..., query, key].any()) else "does not see"
        raise ModelError(
            f"layer {layer}: its mask at inputs.length {length} is neither causal nor causal with "
            f"one window (query {query} {does} key {key}, the last query sees {keys} keys); refused"
        )
    return window


def certify(
    model: CausalLM,
    embeddings: Tensor,
    position_ids: Tensor | None,
    stored: Mapping[int, tuple[np.ndarray, np.ndarray]] | Sample,
    window: int | None,
    dtype: str,
    *,
    ordinary: bool = False,
) -> dict[str, Any]:
    """Run the sample again, with capture and with eager attention, and compare.

    Masks are compared at all positions. Weights, and output logits, some at a time, so that memory
    stays that of a forward pass.

    Args:
        model: with the variant applied and ``abspos`` attention set.
        embeddings: (input, position, feature) of `rerun` inputs, of which the first SAMPLE are
            compared.
        position_ids: as in the extraction.
        stored: layer -> q (input, head, position, feature) and k of the sample, read back from the
            store.
        window: of the variant.
        dtype: of the forward pass; sets the tolerance.
        ordinary: whether the eager pass has position ids 0..T-1 instead of those of the extraction:
            then it also shows that RoPE makes of them what it makes of ordinary ones.

    Raises:
        ModelError: an error beyond tolerance or not finite, with its layer and size.
    """
    tolerance = TOLERANCE[dtype]
    worst: dict[str, Any] = {"states": None, "masked": 0.0} | dict.fromkeys(tolerance, 0.0)
    batch, length = embeddings.shape[:2]
    sample = slice(0, min(SAMPLE, batch))
    windows: dict[int, int | None] = {}

    def note(what: str, layer: int | None, error: float) -> None:
        if not error <= tolerance[what]:
            where = "output logits" if layer is None else f"layer {layer}"
            raise ModelError(
                f"certificate {what!r}: {where}: relative error {error:.2g}, allowed "
                f"{tolerance[what]:g}; this attention is not softmax(scale q k + mask) v: refused"
            )
        worst[what] = max(worst[what], error)

    @lru_cache(maxsize=1)
    def read(layer: int) -> tuple[Tensor, Tensor]:
        q, k = (torch.as_tensor(a, device=embeddings.device).float() for a in stored[layer])
        return q, k

    def rebuilt(layer: int, rows: slice) -> Tensor:
        q, k = read(layer)
        logits = rebuilt_logits(q[:, :, rows], k, *scales[layer])
        hidden = ~allowed(length, windows[layer], logits.device)[rows]
        return logits.masked_fill_(hidden, -torch.inf).softmax(-1)

    scales: dict[int, tuple[float, float | None]] = {}

    def require_mask(mask: Tensor | None, layer: int) -> None:
        seen = sight(mask, length, layer)
        if seen != windows[layer]:
            raise ModelError(
                f"certificate 'masked': layer {layer}: its mask leaves {seen or length} of "
                f"{length} keys, but {windows[layer] or length} were measured: refused"
            )

    def compare_output(seen: Attention) -> None:
        windows[seen.layer] = narrowest(sight(seen.mask, length, seen.layer), window)
        scales[seen.layer] = seen.scale, seen.softcap
        require_mask(seen.mask, seen.layer)
        group = seen.query.shape[1] // seen.value.shape[1]
        value = seen.value[sample].float().repeat_interleave(group, 1)
        blocks = query_blocks(seen.query[sample], length)
        output = torch.cat([rebuilt(seen.layer, rows) @ value for rows in blocks], 2)
        # Under a substitution position 0 reads itself as it is, and no other position does.
        first = int(active())
        note(
            "output",
            seen.layer,
            relative(output.transpose(1, 2)[:, first:], seen.output[sample, first:]),
        )

    largest: dict[int, Largest] = {}

    def compare_weights(theirs: Weights) -> None:
        layer, rows = theirs.layer, theirs.rows
        ours = rebuilt(layer, rows)
        seen = allowed(length, windows[layer], ours.device)[rows]
        hidden = theirs.weights.float().masked_fill(seen, 0)
        # No rounding makes 0 of a weight that is not tiny: the eager mask hides that key.
        lost = ours.masked_fill((theirs.weights != 0) | (ours < TINY), 0)
        worst["masked"] = max(worst["masked"], float(hidden.abs().max()), float(lost.max()))
        if worst["masked"] != 0:
            raise ModelError(
                f"certificate 'masked': layer {layer}: weight {worst['masked']:.2g} at a key "
                "that only one of captured and eager attention hides, allowed 0"
            )
        if rows.start == 0:
            require_mask(theirs.mask, layer)
        largest.setdefault(layer, Largest()).add(ours, theirs.weights)
        if rows.stop == length:
            note("weights", layer, largest[layer].relative)

    def compare_state(depth: int, found: Tensor) -> None:
        error = relative_by_position(found, residuals.states[depth])
        note("states", max(depth - 1, 0), error)  # before layer 0 too: what all others start from

    by_layer = dtype in BY_LAYER
    residuals = Residuals()
    with torch.no_grad():
        with ExitStack() as captures:
            captures.enter_context(listening(compare_output))
            if by_layer:
                residuals = captures.enter_context(residual_stream(model, sample))
            captured = forward(model, embeddings, position_ids)[sample]
        embeddings = embeddings[sample]
        with narrowed(sample):
            with ExitStack() as compares:
                if by_layer:
                    compares.enter_context(passing(model, compare_state))
                    compares.enter_context(given_states(model, residuals.states[:-1]))
                ids = None if ordinary else position_ids
                eager = eager_state(model, embeddings, ids, window, compare_weights)
            note("logits", None, logits_error(model, embeddings, captured, eager))
    return asdict(
        Certificate(**worst, tolerance=tolerance, inputs=len(embeddings), positions=length)
    )


def rerun(batch: int, dtype: str) -> int:
    """Inputs that the captured pass runs again: the sample, or where a dtype is coarse its batch.

    Matrix products can round a row otherwise in a batch of another size (seen with AMX). In
    bfloat16 that alone grew through depth beyond the tolerance.
    """
    return batch if dtype in BY_LAYER else min(SAMPLE, batch)


def logits_error(model: CausalLM, embeddings: Tensor, captured: Tensor, eager: Tensor) -> float:
    """Relative difference of the output logits of two final states (input, position, feature).

    Some positions at a time, since logits of all would be larger than the forward pass.
    """
    # Whatever else the body of this family gives out beside its final state.
    output = body(model)(inputs_embeds=embeddings[:, :1], use_cache=False)
    largest = Largest()
    every = torch.arange(embeddings.shape[1], device=embeddings.device)
    for positions in in_parts(model, len(embeddings), every):
        pair = []
        for state in (captured, eager):
            output["last_hidden_state"] = state
            pair.append(output_logits(model, output, embeddings, positions))
        largest.add(*pair)
    return largest.relative


def eager_state(
    model: CausalLM,
    embeddings: Tensor,
    position_ids: Tensor | None,
    window: int | None,
    compare: Reader,
) -> Tensor:
    """Final state (input, position, feature) of the model with its own eager attention.

    The mask of a windowed variant is built here, by other code than the one under test.

    Args:
        model: with the variant applied.
        embeddings: (input, position, feature).
        position_ids: as in the extraction.
        window: of the variant.
        compare: gets the attention weights of every layer.
    """
    mask = None
    if window is not None:
        seen = allowed(embeddings.shape[1], window, embeddings.device)
        mask = torch.zeros(seen.shape, dtype=embeddings.dtype, device=embeddings.device)
        mask = mask.masked_fill(~seen, torch.finfo(embeddings.dtype).min)[None, None]
        mask = mask.expand(embeddings.shape[0], -1, -1, -1)
    with eagerly(model, compare):
        return forward(model, embeddings, position_ids, mask)
