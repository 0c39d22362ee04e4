"""The normalised logit map of Kim et al. (arXiv 2509.21042), from queries and keys.

Mean logits over inputs, each less the mean of its own diagonal, that is, of its offset. Its road is
its own, past the decomposition, so that one can be held against the other.
Source: docs/method.md, section 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abspos.logits import rebuilt_logits


def logit_map(
    q: Float[Tensor, "input head position feature"],
    k: Float[Tensor, "input kv_head position feature"],
    scale: float,
    softcap: float | None,
    queries: Int[Tensor, " query"],
) -> Tensor:
    """The map of a block of heads, of some early queries, by offset.

    Args:
        q: (input, head, position, feature) after RoPE.
        k: (input, kv_head, position, feature) after RoPE.
        scale: of the logits.
        softcap: of the logits, or None.
        queries: which queries, below T // 2 (query).

    Returns:
        (head, query, offset), in nats: mean over inputs of s[i, i-d], less the mean of that over
        those of these queries that have offset d; offsets below T // 2, 0 where d > i.
    """
    offsets = torch.arange(q.shape[2] // 2, device=q.device)
    every = len(queries) == int(queries[-1]) + 1
    taken = q[:, :, : len(queries)] if every else q[:, :, queries]  # a view spares a copy
    rows = mean_logits(taken, k[:, :, : len(offsets)], scale, softcap)
    keys = queries[:, None] - offsets
    found = rows.gather(-1, keys.clamp_min(0).expand_as(rows))
    there = keys >= 0
    found *= there
    return (found - found.sum(1, keepdim=True) / there.sum(0).clamp_min(1)) * there


def mean_logits(
    q: Float[Tensor, "input head query feature"],
    k: Float[Tensor, "input kv_head key feature"],
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "head query key"]:
    """Logits (head, query, key) averaged over inputs.

    One matrix product over inputs and features, unless the logits of each input are bounded first.
    """
    number, heads, length, size = q.shape
    if softcap is not None:
        rows = q.new_zeros(heads, length, k.shape[2])
        for n in range(number):
            rows += rebuilt_logits(q[n : n + 1], k[n : n + 1], scale, softcap)[0]
        return rows / number
    # Inputs and features of a query side by side; the heads of a group lie one below the other.
    left = q.permute(1, 2, 0, 3).reshape(k.shape[1], -1, number * size)
    right = k.permute(1, 2, 0, 3).reshape(k.shape[1], -1, number * size)
    return (left @ right.mT).reshape(heads, length, -1).mul_(scale / number)
