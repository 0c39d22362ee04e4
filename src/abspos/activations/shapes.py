"""Arrays of an activation store: axes, shape, chunks and type of each, from a run's sizes.

The writer makes them from this, and the plan counts their bytes; nothing heavy is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BYTES = {"uint16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Shape:
    """Sizes of one extraction; ``kv_heads`` are those of the stored keys."""

    layers: int
    inputs: int
    heads: int
    kv_heads: int
    value_heads: int
    length: int
    head_size: int
    key_size: int
    hidden: int
    batch: int


@dataclass(frozen=True)
class Array:
    """One array.

    Attributes:
        axes: names of its dimensions.
        shape: of the array.
        dtype: of its numbers.
        chunks: shape of a chunk; the array as a whole unless given.
    """

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str = "float32"
    chunks: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of its chunks on disk, the last of an axis padded, without their checksums."""
        padded = (
            -(-n // c) * c for n, c in zip(self.shape, self.chunks or self.shape, strict=True)
        )
        return math.prod(padded) * BYTES[self.dtype]


def arrays(s: Shape, dtype: str, crossed: bool) -> dict[str, Array]:
    """Every array of a store (abspos.activations.store) by name.

    Args:
        s: its sizes.
        dtype: of the forward pass: ``float32`` or ``bfloat16``, whose bits are kept.
        crossed: whether what heads write from position 0 is stored.
    """
    kind, depth = "uint16" if dtype == "bfloat16" else "float32", s.layers + 1

    def by_input(heads: str, *own: int) -> Array:
        axes = ("layer", "input", heads, "position", "feature")
        return Array(axes, (s.layers, s.inputs, *own), kind, (1, s.batch, *own))

    found = {
        "q": by_input("head", s.heads, s.length, s.head_size),
        "k": by_input("kv_head", s.kv_heads, s.length, s.key_size),
        "v0": Array(
            ("layer", "input", "value_head", "feature"),
            (s.layers, s.inputs, s.value_heads, s.key_size),
        ),
        "loss": Array(("input",), (s.inputs,)),
        "state0": Array(("depth", "input", "hidden"), (depth, s.inputs, s.hidden)),
        "grand_mean": Array(("depth", "hidden"), (depth, s.hidden), "float64"),
        "by_position": Array(("depth", "position"), (depth, s.length), "float64"),
        "by_input": Array(("depth", "input"), (depth, s.inputs), "float64"),
        "median": Array(("depth", "input"), (depth, s.inputs)),
        "largest": Array(("depth", "input"), (depth, s.inputs)),
        "square": Array(("depth", "position"), (depth, s.length), "float64"),
    }
    if crossed:
        found["write0"] = Array(("layer", "head", "hidden"), (s.layers, s.heads, s.hidden))
    return found
