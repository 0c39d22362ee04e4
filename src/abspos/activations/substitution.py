"""Substitution of position 0's key and value in chosen heads, the rest of the pass untouched.

Later queries of these heads read a substitute at position 0. Position 0 itself reads its own key
and value, so that its trajectory stays. Source: docs/method.md, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Substitution:
    """Keys and values that heads read at position 0.

    Attributes:
        heads: query heads that read them (layer, head) bool; the others read position 0 as it is.
        keys: after RoPE (layer, input, kv_head, feature), axes of size 1 standing for all; None: as
            they are.
        values: likewise.
    """

    heads: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None

    def of(self, inputs: slice) -> Substitution:
        """The substitution of some inputs."""

        def part(x: Tensor | None) -> Tensor | None:
            return x if x is None or x.shape[1] == 1 else x[:, inputs]

        return replace(self, keys=part(self.keys), values=part(self.values))

    def by_head(self, kv_heads: int) -> bool:
        """Whether query heads of one key and value head read different things in any layer."""
        groups = self.heads.reshape(len(self.heads), kv_heads, -1)
        return bool((groups.any(-1) != groups.all(-1)).any())

    def read(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer as its heads read them.

        Args:
            layer: its index.
            key: (input, kv_head, position, feature).
            value: likewise.

        Returns:
            both (input, kv_head, position, feature), or (input, head, ...) where `by_head`.
        """
        kv_heads = key.shape[1]
        chosen, group = self.heads[layer].to(key.device), self.heads.shape[1] // kv_heads
        apart = self.by_head(kv_heads)
        if not apart:
            chosen = chosen[::group]
        found = []
        for own, other in ((key, self.keys), (value, self.values)):
            changed = own.clone()
            if other is not None:
                changed[:, :, 0] = other[layer].to(own)
            if apart:
                own, changed = (x.repeat_interleave(group, 1) for x in (own, changed))
            found.append(torch.where(chosen[:, None, None], changed, own))
        return found[0], found[1]


_active: list[Substitution] = []


@contextmanager
def substituting(substitution: Substitution | None) -> Iterator[None]:
    """Let chosen heads read the substitute while the context is open; None: no heads."""
    if substitution is None:
        yield
        return
    _active.append(substitution)
    try:
        yield
    finally:
        _active.pop()


@contextmanager
def narrowed(inputs: slice) -> Iterator[None]:
    """Read the substitute that is open for some of its inputs alone, while the context is open."""
    with substituting(_active[-1].of(inputs) if _active else None):
        yield


def active() -> bool:
    """Whether a substitution is open."""
    return bool(_active)


def attend(
    layer: int, key: Tensor, value: Tensor, compute: Attend, first: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Attention of one layer under the substitution that is open.

    Args:
        layer: its index.
        key: (input, kv_head, position, feature).
        value: likewise.
        compute: attention given keys and values: output (input, position, head, feature) and
            weights (input, head, query, key) or None.
        first: whether position 0 is among its queries.
    """
    if not _active:
        return compute(key, value)
    now, heads = _active[-1], _active[-1].heads
    chosen, group = heads[layer].to(key.device), heads.shape[1] // key.shape[1]
    if not now.by_head(key.shape[1]):
        output, weights = compute(*now.read(layer, key, value))
    else:  # heads of one group read different things: all heads both ways
        everywhere = replace(now, heads=torch.ones_like(heads))
        own, own_weights = compute(key, value)
        theirs, weights = compute(*everywhere.read(layer, key, value))
        output = torch.where(chosen[:, None], theirs, own)
        if weights is not None and own_weights is not None:
            weights = torch.where(chosen[:, None, None], weights, own_weights)
    if first:  # it attends to itself alone, with weight 1
        output[:, 0] = value[:, :, 0].repeat_interleave(group, 1)
    return output, weights


def read(layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer as its heads read them (see Substitution.read)."""
    return _active[-1].read(layer, key, value) if _active else (key, value)
