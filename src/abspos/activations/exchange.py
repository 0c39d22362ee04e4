"""Exchange of position 0's keys and values in chosen heads, the rest of the pass untouched.

What heads read at position 0 is replaced by what another token's trajectory shows there; position
0 itself, its own trajectory included, stays. Source: docs/method.md, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Exchange:
    """Keys and values at position 0 for some heads.

    Attributes:
        keys: of the other token's trajectory at position 0 (layer, kv_head, feature).
        values: likewise.
        heads: which query heads read them (layer, head) bool.
    """

    keys: Tensor
    values: Tensor
    heads: Tensor


_active: list[Exchange] = []


@contextmanager
def exchanging(exchange: Exchange | None) -> Iterator[None]:
    """Let chosen heads read the other position 0 while the context is open; None: no heads."""
    if exchange is None:
        yield
        return
    _active.append(exchange)
    try:
        yield
    finally:
        _active.remove(exchange)


def active() -> bool:
    """Whether an exchange is open."""
    return bool(_active)


def replaced(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values (input, kv_head, position, feature) with the other position 0."""
    exchange = _active[-1]
    others = []
    for own, other in ((key, exchange.keys), (value, exchange.values)):
        changed = own.clone()
        changed[:, :, 0] = other[layer].to(own)
        others.append(changed)
    return others[0], others[1]


def attend(
    layer: int, key: Tensor, value: Tensor, compute: Attend, first: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer, chosen heads with the other position 0.

    Args:
        layer: its index.
        key: (input, kv_head, position, feature).
        value: likewise.
        compute: attention given keys and values: output (input, position, head, feature) and
            weights (input, head, query, key) or None.
        first: whether position 0 is among its queries.
    """
    own, weights = compute(key, value)
    if not _active:
        return own, weights
    theirs, other_weights = compute(*replaced(layer, key, value))
    chosen = _active[-1].heads[layer].to(own.device)
    output = torch.where(chosen[:, None], theirs, own)
    if first:  # position 0 reads itself alone: its own trajectory is not what is exchanged
        output[:, 0] = own[:, 0]
    if weights is not None and other_weights is not None:
        weights = torch.where(chosen[:, None, None], other_weights, weights)
    return output, weights


def read_by_head(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values that each query head reads, (input, head, position, feature)."""
    if not _active:
        return key, value
    chosen = _active[-1].heads[layer].to(key.device)[:, None, None]
    group = chosen.shape[0] // key.shape[1]
    key, value, other_key, other_value = (
        x.repeat_interleave(group, 1) for x in (key, value, *replaced(layer, key, value))
    )
    return torch.where(chosen, other_key, key), torch.where(chosen, other_value, value)
