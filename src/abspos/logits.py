"""Logits, rebuilt from stored queries and keys.

Source: docs/method.md, sections 1 and 6.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rebuilt_logits(
    query: Float[Tensor, "input head query feature"],
    key: Float[Tensor, "input kv_head key feature"],
    scale: float,
    softcap: float | None = None,
) -> Float[Tensor, "input head query key"]:
    """Logits (input, head, query, key) of q and k after RoPE; K/V heads serve groups of heads.

    Args:
        query: (input, head, position, feature), at any positions.
        key: (input, kv_head, position, feature), at any positions.
        scale: factor of q k.
        softcap: if given, logits s become softcap * tanh(s / softcap), as in Gemma 2.
    """
    inputs, heads, length, size = query.shape
    # The heads of a group are stacked along the positions, so that no K/V head is copied.
    grouped = query.reshape(inputs, key.shape[1], -1, size) * scale
    logits = (grouped @ key.mT).reshape(inputs, heads, length, key.shape[2])
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)
