"""A block of heads decomposed from its queries and keys, and checked by another road.

Source: docs/method.md, section 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from abspos import grid
from abspos.components import Parts, backwards_by_offset, hiding, rebuilt_logits, split


def block_parts(
    q: Tensor, k: Tensor, scale: float, window: int | None, softcap: float | None = None,
    queries: Tensor | None = None,
) -> tuple[Parts, Tensor]:  # fmt: skip
    """Decompose a block of heads, and what each query pays to position 0.

    Args:
        q: (input, head, position, feature) after RoPE.
        k: (input, kv_head, position, feature) after RoPE.
        scale: of the logits.
        window: W of the layer or None.
        softcap: of the logits, or None.
        queries: early queries that are explained (query); all unless given.

    Returns:
        the parts (input, head, ...), and attention to position 0 of the explained queries and then
        of the reference queries (input, head, query).
    """
    length = q.shape[2]
    half = length // 2
    if queries is None:
        queries = torch.arange(half, device=q.device)
    taken = grid.references(length)
    # Keys run backwards, so that rows by offset are views of the matrix products.
    back = k.flip(2)
    late = rebuilt_logits(q[:, :, taken.start :: taken.step], back, scale, softcap)
    reference = backwards_by_offset(late, taken.start, half, taken.step)
    early = rebuilt_logits(q[:, :, queries], back[:, :, length - half :], scale, softcap)
    if len(queries) == half:
        early = backwards_by_offset(early, 0, half)
    else:
        keys = torch.arange(half, device=q.device) + (half - 1 - queries[:, None])
        early = early.gather(-1, keys.clamp_max(half - 1).expand_as(early))
    parts = split(early, reference, window, queries)
    # At an early query the farthest offset is position 0; at a late one it takes the whole row.
    early_first = parts.at_first(parts.attention)
    return parts, torch.cat([early_first, late_to_first(late, taken, window)], -1)


def late_to_first(logits: Tensor, taken: range, window: int | None) -> Tensor:
    """Attention to position 0 of late queries, (..., query), from all of their logits.

    Args:
        logits: (..., query, key), keys from the last position to 0; overwritten.
        taken: the queries.
        window: W of the layer or None.
    """
    length = logits.shape[-1]
    query = torch.tensor(taken, device=logits.device)[:, None]
    key = torch.arange(length - 1, -1, -1, device=logits.device)
    seen = key <= query
    if window is not None:
        seen &= key > query - window
    return logits.add_(hiding(seen, logits.dtype)).softmax(-1)[..., -1]


def identity_error(
    q: Tensor, k: Tensor, scale: float, window: int | None, parts: Parts,
    softcap: float | None = None, head: int = 0,
) -> float:  # fmt: skip
    """Largest error of relative + mask + R against log attention, by another computation.

    For one early query of the first input and one head of each K/V head's group, in float64; the
    mask is taken as its definition has it, from the denominators of reference rows that are cut
    down.

    Args:
        parts: what block_parts makes of the other arguments.
        head: which of a group is checked, modulo their number, so that layers can take turns.
    """
    length, half = q.shape[2], q.shape[2] // 2
    group = q.shape[1] // k.shape[1]
    checked = slice(head % group, None, group)
    place = len(parts.queries) // 4
    query = int(parts.queries[place])
    late = torch.tensor(grid.references(length), device=q.device)
    chosen = torch.cat([late, late.new_tensor([query])])
    logits = rebuilt_logits(q[:1, checked, chosen].double(), k[:1].double(), scale, softcap)[0]
    keys, most = (min(n, window or length) for n in (query + 1, half))
    nearest = late[:, None] - torch.arange(most, device=q.device)
    cut = logits[:, :-1].gather(-1, nearest.expand(len(logits), -1, -1))
    mask = (cut.logsumexp(-1) - cut[..., :keys].logsumexp(-1)).mean(-1)
    actual = logits[:, -1, query + 1 - keys : query + 1].log_softmax(-1).flip(-1)
    rest = parts.relative[0, checked, :keys] + parts.residual[0, checked, place, :keys]
    return float((rest.double() + mask[:, None] - actual).abs().max())
