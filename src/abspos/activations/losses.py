"""Next-token losses of some positions, and a NaN that only they show.

Source: docs/method.md, section 4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from abspos.arrays import NonFiniteError

#: Positions from one loss to the next.
LOSS_STRIDE = 4


def scored_positions(length: int) -> Tensor:
    """Positions whose next token is scored: every LOSS_STRIDE-th of the second half.

    The second half, where a change of position 0 can only show through attention; a stride,
    because vocabulary logits cost as much as several layers.
    """
    return torch.arange(length // 2, length - 1, LOSS_STRIDE)


def token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean next-token cross-entropy per input (input), in nats per token.

    Args:
        logits: of the scored positions (input, scored position, token).
        tokens: of the text (input, position); under control-shuffle still in the text's order.
    """
    target = tokens[:, scored_positions(tokens.shape[1]) + 1].to(logits.device)
    # Some tokens at a time: log-probabilities of all are as large as the logits.
    parts = zip(logits.flatten(0, 1).split(64), target.flatten().split(64), strict=True)
    found = [
        torch.nn.functional.cross_entropy(some.float(), those, reduction="none")
        for some, those in parts
    ]
    return torch.cat(found).reshape(target.shape).mean(1)


def require_finite(losses: np.ndarray, label: str) -> None:
    """Refuse a NaN or infinity that only shows after the last layer's queries and keys."""
    for number in np.flatnonzero(~np.isfinite(losses)):
        raise NonFiniteError(
            f"{label}: NaN or infinity in the output of the last layer, input {number}; "
            "try dtype: float32, or check the checkpoint"
        )
