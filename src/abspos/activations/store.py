"""Content of an activation store, and its writing while the model computes.

With T positions, N inputs and L layers a store holds ``q`` (layer, input, head, position, feature)
and ``k`` (layer, input, kv_head, position, feature) after RoPE, float32 or the bits of bfloat16;
``v0`` (layer, input, value_head, feature) the values at position 0; ``state0`` (depth, input,
hidden) the residual stream there, and the moments of the rest (abspos.activations.states):
``grand_mean`` (depth, hidden), ``by_position`` and ``square`` (depth, position), ``by_input``
(depth, input); ``median`` and ``largest`` (depth, input), magnitudes; ``loss`` (input) in nats per
token; of arms that differ in the token at position 0 alone, ``write0`` (layer, head, hidden), its
value there times W_O; and `Facts` as attributes.
Source: docs/method.md, section 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

from abspos.activations.capture import Attention
from abspos.activations.shapes import Shape, arrays
from abspos.activations.states import away, magnitudes, moments
from abspos.arrays import NonFiniteError, create_array, from_bits, write_chunk


@dataclass(frozen=True)
class Facts:
    """Attributes of a store: how its logits are made, of what model, and how that was certified.

    Attributes:
        certificates: largest errors (see abspos.activations.certificates).
        closed_trajectory: error of position 0 against its token alone, one number a depth.
        substituted: query heads that read a substitute at position 0 (layer, head), or None.
        numbers: which inputs of the study these are (input).
        inert_window: keys of the model's own window where it hides nothing at this T, or None.
        condition: what stands at position 0.
        variant: one entry of the config's ``variants``.
        dtype: of the forward pass, and of q and k.
        batch: inputs per forward pass, and per chunk.
        scale: of the logits, one value a layer; so are the next three.
        softcap: bound of the logits, or None.
        window: keys that a query sees, or None where it sees all.
        kind: of the layer (see abspos.activations.layers).
        checkpoint: facts from the checkpoint's config.
    """

    certificates: Mapping[str, Any]
    closed_trajectory: Sequence[float]
    substituted: Sequence[Sequence[bool]] | None
    numbers: Sequence[int]
    inert_window: int | None
    condition: str
    variant: Mapping[str, Any]
    dtype: str
    batch: int
    scale: Sequence[float]
    softcap: Sequence[float | None]
    window: Sequence[int | None]
    kind: Sequence[str]
    checkpoint: Mapping[str, Any]


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor as NumPy; bfloat16 as its bits (uint16), which Zarr has no type for."""
    tensor = tensor.detach().cpu()
    bits = tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor
    return np.ascontiguousarray(bits.numpy())


def is_finite(array: np.ndarray) -> np.ndarray:
    """Which values of q or k are finite: float32, or the bits of bfloat16 (all exponent bits set
    where they are not)."""
    return (array & 0x7F80) != 0x7F80 if array.dtype == np.uint16 else np.isfinite(array)


class Writer:
    """Writes the layers of a batch to the store while the model computes the next ones.

    Everything handed over is checked to be finite first, and named where it is not. Writing
    overlaps computing only where another device computes: on the CPU it would take the cores
    from the model, and hold its queries and keys in memory for longer.
    """

    def __init__(
        self, folder: Path, shape: Shape, dtype: str, label: str, overlap: bool = False
    ) -> None:
        self.group = zarr.open_group(folder, mode="w", zarr_format=3)
        self.label, self.batch = label, shape.batch
        self.pool = ThreadPoolExecutor(max_workers=1) if overlap else None
        self.pending: list[Future[None]] = []
        self.inputs = slice(0, 0)
        self.arrays = arrays(shape, dtype, crossed=True)
        self.q, self.k = (self.create(name, scalar=dtype) for name in ("q", "k"))
        self.v0 = np.zeros(self.arrays["v0"].shape, dtype=np.float32)

    def create(self, name: str, **attributes: Any) -> zarr.Array:
        """Create one array of the store."""
        own = self.arrays[name]
        chunks = own.chunks or own.shape
        return create_array(self.group, name, own.axes, own.shape, chunks, own.dtype, **attributes)

    def __call__(self, seen: Attention) -> None:
        """Take one layer of the current batch."""
        value = seen.value0.float().cpu().numpy()
        self.v0[seen.layer, self.inputs, :, : value.shape[-1]] = value
        one = (seen.layer, self.inputs, seen.query, seen.key)
        if self.pool is None:
            self.write(*one)
        else:
            self.pending.append(self.pool.submit(self.write, *one))

    def write(self, layer: int, inputs: slice, query: Tensor, key: Tensor) -> None:
        """Check and store the queries and keys of one layer of one batch.

        In NumPy, on one thread: torch would start a second team of threads beside the model's.
        """
        for name, target, tensor in (("query", self.q, query), ("key", self.k, key)):
            array = to_numpy(tensor)
            # A sum is not finite where a value is not, and takes a fraction of the time.
            with np.errstate(over="ignore", invalid="ignore"):
                suspect = array.dtype == np.uint16 or not np.isfinite(array.sum())
            if suspect and not (finite := is_finite(array)).all():
                row, head = (int(i) for i in np.argwhere(~finite)[0, :2])
                raise NonFiniteError(
                    f"{self.label}: NaN or infinity in layer {layer}, {name} head {head}, input "
                    f"{inputs.start + row}; try dtype: float32, or check the checkpoint"
                )
            write_chunk(target, (layer, inputs.start // self.batch, 0, 0, 0), array[None])

    def finish(
        self,
        sums: Sums,
        losses: np.ndarray,
        write0: np.ndarray | None = None,
    ) -> None:
        """Write all arrays but q and k, once every batch is through.

        Args:
            sums: of the residual stream; used up.
            losses: in nats per token (input), float32.
            write0: value at position 0 times W_O (layer, head, hidden) float32, or None where it is
                not stored.
        """
        found = {**sums.moments(), "v0": self.v0, "loss": losses}
        found |= {} if write0 is None else {"write0": write0}
        for name, data in found.items():
            array = self.create(name)
            write_chunk(array, (0,) * data.ndim, data.astype(array.dtype, copy=False))

    def state(self, facts: Facts) -> None:
        """Write the attributes, as plain values."""
        self.group.attrs.update(json.loads(json.dumps(asdict(facts))))

    def drain(self) -> None:
        """Wait until everything handed over is on disk; raise what went wrong."""
        for future in self.pending:
            future.result()
        self.pending.clear()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        # Nothing may be written any more when a failure clears the store away.
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Sample:
    """q and k of a store's first inputs as float32, layer by layer: ``sample[layer]``."""

    writer: Writer
    inputs: int

    def __getitem__(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        found = (np.asarray(a[layer, : self.inputs]) for a in (self.writer.q, self.writer.k))
        q, k = (from_bits(a) if a.dtype == np.uint16 else a for a in found)
        return q, k


class Sums:
    """Stored parts of the residual stream: position 0 itself, and moments elsewhere."""

    def __init__(self, s: Shape) -> None:
        depth = s.layers + 1
        self.inputs = slice(0, 0)
        self.number = s.inputs
        self.state0 = np.zeros((depth, s.inputs, s.hidden), dtype=np.float32)
        #: Sums over inputs of states, and of their squared norms, at every position. In float32,
        #: as states are: of long inputs they are most of what is held beside the model.
        self.total = torch.zeros(depth, s.length, s.hidden)
        self.square = np.zeros((depth, s.length))
        #: Means over positions but 0; median magnitude, and the largest one but at position 0.
        self.centre = np.zeros((depth, s.inputs, s.hidden), dtype=np.float32)
        self.median, self.largest = np.zeros((2, depth, s.inputs), dtype=np.float32)

    def __call__(self, depth: int, state: Tensor) -> None:
        """Take the residual stream (input, position, feature) of the current batch at a depth."""
        state = state.float()
        self.state0[depth, self.inputs] = state[:, 0].cpu().numpy()
        self.total[depth] += state.sum(0).cpu()
        norm = torch.linalg.vector_norm(state, dim=2)
        self.square[depth] += norm.square_().sum(0).cpu().numpy()
        self.centre[depth, self.inputs] = state[:, 1:].mean(1).cpu().numpy()
        self.median[depth, self.inputs], self.largest[depth, self.inputs] = magnitudes(state)

    def moments(self) -> dict[str, np.ndarray]:
        """The arrays of the store that are read again, by name; the sums are used up."""
        found = [moments(total.numpy(), self.number) for total in self.total]
        grand_mean, by_position = (np.stack(part) for part in zip(*found, strict=True))
        by_input = np.stack([away(*pair) for pair in zip(self.centre, grand_mean, strict=True)])
        return {
            "state0": self.state0,
            "grand_mean": grand_mean,
            "by_position": by_position,
            "by_input": by_input,
            "median": self.median,
            "largest": self.largest,
            "square": self.square,
        }
