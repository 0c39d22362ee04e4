"""Next-token losses of some positions, and a NaN that only they show.

Output logits of a large vocabulary weigh more than all that a forward pass holds besides: they are
made some positions at a time. Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from abspos.arrays import NonFiniteError
from abspos.models.adapters import body
from abspos.models.sources import CausalLM

#: Positions from one loss to the next.
LOSS_STRIDE = 4
#: Bytes of output logits that are held at a time. Each part reads the whole output matrix again:
#: with half as many, losses of Gemma 3 270M took 1.3 times as long.
LOGIT_BYTES = 2**27


def scored_positions(length: int) -> Tensor:
    """Positions whose next token is scored: every LOSS_STRIDE-th of the second half.

    The second half, where a change of position 0 can only show through attention; a stride,
    because vocabulary logits cost as much as several layers.
    """
    return torch.arange(length // 2, length - 1, LOSS_STRIDE)


def in_parts(model: CausalLM, inputs: int, positions: Tensor) -> Sequence[Tensor]:
    """Positions (position) in parts whose output logits fit into LOGIT_BYTES."""
    each = 4 * inputs * int(model.config.get_text_config().vocab_size)
    return positions.split(max(1, LOGIT_BYTES // each))


@contextmanager
def ending_in(model: CausalLM, output: ModelOutput) -> Iterator[None]:
    """The model's body gives this output, whatever comes in, while the context is open."""
    module = body(model)
    module.forward = lambda *args, **kwargs: output
    try:
        yield
    finally:
        del module.forward


def output_logits(
    model: CausalLM, output: ModelOutput, embeddings: Tensor, positions: Tensor
) -> Tensor:
    """Output logits (input, position, token) of some positions, with all that follows the head.

    Args:
        model: of any family.
        output: of its body.
        embeddings: that the body was given (input, position, feature).
        positions: (position).
    """
    with ending_in(model, output):
        found = model(inputs_embeds=embeddings, use_cache=False, logits_to_keep=positions)
    return found.logits


def token_loss(
    model: CausalLM, output: ModelOutput, embeddings: Tensor, tokens: Tensor
) -> np.ndarray:
    """Mean next-token cross-entropy per input (input), in nats per token.

    Args:
        model: of any family.
        output: of its body.
        embeddings: that the body was given (input, position, feature).
        tokens: of the text (input, position); under control-shuffle still in the text's order.
    """
    scored = scored_positions(tokens.shape[1])
    total = torch.zeros(len(tokens), dtype=torch.float64)
    for positions in in_parts(model, len(tokens), scored):
        logits = output_logits(model, output, embeddings, positions.to(embeddings.device))
        target = tokens[:, positions + 1].to(logits.device)
        # Some tokens at a time: log-probabilities of all are as large as the logits.
        parts = zip(logits.flatten(0, 1).split(64), target.flatten().split(64), strict=True)
        losses = [
            torch.nn.functional.cross_entropy(some.float(), those, reduction="none")
            for some, those in parts
        ]
        total += torch.cat(losses).reshape(target.shape).sum(1, dtype=torch.float64).cpu()
    return (total / len(scored)).numpy()


def require_finite(values: np.ndarray, first: int, label: str) -> None:
    """Refuse a NaN or infinity that only shows after the last layer's queries and keys.

    Args:
        values: of the output of the last layer, one number for each input of a batch (input).
        first: number of the first of them.
        label: names the run.
    """
    for number in first + np.flatnonzero(~np.isfinite(values)):
        raise NonFiniteError(
            f"{label}: NaN or infinity in the output of the last layer, input {number}; "
            "try dtype: float32, or check the checkpoint"
        )
