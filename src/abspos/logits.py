"""Logits from the queries and keys that a store keeps.

Source: docs/method.md, sections 1 and 6.
"""

from __future__ import annotations

from torch import Tensor


def rebuilt_logits(
    query: Tensor, key: Tensor, scale: float, softcap: float | None = None
) -> Tensor:
    """Logits (input, head, query, key) of q and k after RoPE; K/V heads serve groups of heads.

    Args:
        query: (input, head, position, feature), of any positions.
        key: (input, kv_head, position, feature), of any positions.
        scale: of the logits.
        softcap: where given, logits s become softcap * tanh(s / softcap), as Gemma 2 has them.
    """
    inputs, heads, length, size = query.shape
    # The heads of a group lie one below the other, so that no K/V head is copied.
    grouped = query.reshape(inputs, key.shape[1], -1, size) * scale
    logits = (grouped @ key.mT).reshape(inputs, heads, length, key.shape[2])
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)
