"""A block of heads decomposed from its queries and keys, and checked by another road.

Source: docs/method.md, section 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abspos.components.decomposition import (
    Parts,
    Truncated,
    backwards_by_offset,
    explain,
    hiding,
    truncate,
)
from abspos.logits import rebuilt_logits
from abspos.study import grid


def block_parts(
    q: Float[Tensor, "input head position feature"],
    k: Float[Tensor, "input kv_head position feature"],
    scale: float,
    window: int | None,
    softcap: float | None = None,
    queries: Int[Tensor, " query"] | None = None,
) -> tuple[Parts, Tensor]:
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
    if queries is None:
        queries = torch.arange(q.shape[2] // 2, device=q.device)
    whole = [slice(0, len(queries))]
    (parts,), to_first = block_bands(q, k, scale, window, softcap, queries, whole)
    return parts, to_first


def block_bands(
    q: Float[Tensor, "input head position feature"],
    k: Float[Tensor, "input kv_head position feature"],
    scale: float,
    window: int | None,
    softcap: float | None,
    queries: Int[Tensor, " query"],
    bands: Sequence[slice],
) -> tuple[list[Parts], Tensor]:
    """``block_parts`` for explained queries in bands: parts of each, attention to position 0.

    Args:
        queries: early queries that are explained (query).
        bands: of these queries, in order (see grid.bands). Offsets of a band's fields run as far
            as its last query has keys.
    """
    length = q.shape[2]
    # Keys run backwards, so that rows by offset are views of the matrix products.
    back = k.flip(2)

    def rows(chosen: slice | list[int], keys: int) -> Tensor:
        return rebuilt_logits(q[:, :, chosen], back[:, :, length - keys :], scale, softcap)

    return bands_of_rows(rows, length, window, queries, bands)


def logit_bands(
    logits: Float[Tensor, "input head query key"],
    window: int | None,
    queries: Int[Tensor, " explained"],
    bands: Sequence[slice],
) -> tuple[list[Parts], Tensor]:
    """`block_bands` of logits that are at hand, (input, head, query, key)."""
    length = logits.shape[-1]
    back = logits.flip(-1)

    def rows(chosen: slice | list[int], keys: int) -> Tensor:
        return back[:, :, chosen, length - keys :].clone()

    return bands_of_rows(rows, length, window, queries, bands)


def bands_of_rows(
    rows: Callable[[slice | list[int], int], Tensor],
    length: int,
    window: int | None,
    queries: Int[Tensor, " query"],
    bands: Sequence[slice],
) -> tuple[list[Parts], Tensor]:
    """`block_bands` of logits by rows.

    Args:
        rows: logits (input, head, query, key) of chosen queries at so many first keys, the last of
            them first; they may be overwritten.
        length: T.
    """
    half = length // 2
    taken = grid.references(length)
    late = rows(slice(taken.start, None, taken.step), length)
    reference = backwards_by_offset(late, taken.start, half, taken.step).contiguous()
    cut = truncate(reference, window, queries)
    parts = []
    for band in bands:
        chosen = queries[band].tolist()
        own = early_by_offset(rows(steps(chosen), chosen[-1] + 1), chosen)
        parts.append(explain(own, cut, band))
    # At an early query the farthest offset is position 0; at a late one it takes the whole row.
    early_first = [own.at_first(own.attention) for own in parts]
    return parts, torch.cat([*early_first, late_to_first(late, taken, window, cut)], -1)


def steps(numbers: list[int]) -> slice | list[int]:
    """Increasing numbers as a slice where they are evenly spaced, which spares a copy."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    even = numbers == list(range(numbers[0], numbers[-1] + 1, step))
    return slice(numbers[0], numbers[-1] + 1, step) if even else numbers


def early_by_offset(
    rows: Float[Tensor, "*heads query key"], queries: list[int]
) -> Float[Tensor, "*heads query offset"]:
    """Logits by offset of early queries, (..., query, offset); arbitrary where not visible.

    Args:
        rows: (..., query, key), keys from the last query's own to 0.
        queries: their numbers.
    """
    even, last = steps(queries), rows.shape[-1] - 1
    if isinstance(even, slice):
        return backwards_by_offset(rows, queries[0], last + 1, even.step)
    keys = last - torch.tensor(queries)[:, None] + torch.arange(last + 1)
    return rows.gather(-1, keys.clamp_max(last).to(rows.device).expand_as(rows))


def late_to_first(logits: Tensor, taken: range, window: int | None, cut: Truncated) -> Tensor:
    """Attention to position 0 of late queries, (..., query).

    Args:
        logits: (..., query, key), keys from the last position to 0; overwritten.
        taken: the queries.
        window: W of the layer or None.
        cut: what these queries do on their nearest T // 2 keys.
    """
    length, half = logits.shape[-1], cut.weights.shape[-1]
    if window is not None and window <= half:
        return torch.zeros_like(cut.whole)
    query = torch.tensor(taken, device=logits.device)[:, None]
    far = torch.arange(length - half - 1, -1, -1, device=logits.device)
    seen = far <= query - half
    if window is not None:
        seen &= far > query - window
    first = logits[..., -1].clone()
    beyond = logits[..., half:].add_(hiding(seen, logits.dtype)).softmax(-1)[..., -1]
    # first - log(beyond) is the log sum over the far keys, cut.whole that over the nearest ones.
    return (first - torch.logaddexp(first - beyond.log(), cut.whole)).exp()


def identity_error(
    q: Float[Tensor, "input head position feature"],
    k: Float[Tensor, "input kv_head position feature"],
    scale: float,
    window: int | None,
    parts: Parts,
    softcap: float | None = None,
    head: int = 0,
) -> float:
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
