"""A synthetic model's activations: planted logits as a store like that of any model.

Any logits are those of some queries and keys: queries are the rows of the logits, keys the unit
vectors, one K/V head serves all heads, the scale is 1. What else a store holds is as simple as can
be and true: a residual stream as wide as the inputs are long, to which every layer adds a token's
embedding once more; values that are that state; heads that write their scale times the value. It
predicts nothing, so its loss is that of a guess.
Source: docs/method.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abspos.activations.certificates import TOLERANCE, allowed, relative
from abspos.activations.interventions import Batch, Setting, apply
from abspos.activations.store import Shape, Sums, Writer
from abspos.arrays import create_array, from_bits
from abspos.logits import rebuilt_logits
from abspos.models.planted import VOCABULARY, World, logits
from abspos.models.sources import ModelError
from abspos.progress import progress
from abspos.stores import whole_folder

#: Inputs that the certificate is made on.
SAMPLE = 2


def embeddings(world: World, width: int) -> Tensor:
    """One vector a token of the byte tokenizer (token, feature) float32, from the world's seed."""
    rng = np.random.default_rng([world.seed, 2**32])
    return torch.as_tensor(rng.normal(size=(VOCABULARY, width)).astype(np.float32))


def stream(world: World, embedded: Tensor) -> list[Tensor]:
    """The residual stream (input, position, feature) at every depth; no position sees another."""
    return [embedded * (1 + depth) for depth in range(world.layers + 1)]


def write_store(
    world: World,
    tokens: Tensor,
    setting: Setting,
    store: Path,
    manifest: Path,
    *,
    variant: Mapping[str, Any],
    condition: str,
    left: float,
    dtype: str,
    batch: int,
    writes: bool,
    label: str,
) -> None:
    """Write the activation store of one arm (layout: see activations.extract).

    Args:
        world: what is planted and drawn.
        tokens: of the windows (input, position); they set the states, and no logit.
        setting: what conditions draw on, with ``embeddings`` of this world as its table.
        store: where to write, and its manifest.
        variant: one entry of the config's ``variants``: its window hides keys, untrained leaves
            nothing planted; a change of RoPE acts by what is left.
        condition: what stands at position 0, in the states; in the logits it acts by what is left.
        left: share of the amplitude of sink and drift in this arm.
        dtype: in which queries and keys are stored.
        batch: inputs to a chunk.
        writes: whether what heads write from position 0 is stored.
        label: names the run in progress lines and errors.

    Raises:
        ModelError: what was stored gives other logits than those planted.
    """
    number, length = tokens.shape
    heads = len(world.heads)
    shape = Shape(
        world.layers, number, heads, 1, length, length, length, length, min(batch, number)
    )
    kind = getattr(torch, dtype)
    made: dict[str, Any] = {"left": left, "untrained": bool(variant.get("untrained"))}
    with (
        whole_folder(store, manifest) as folder,
        Writer(folder, shape, dtype, label) as writer,
    ):
        group, sums = writer.group, Sums(shape)
        starts = []
        blocks = range(0, number, shape.batch)
        for first in progress(blocks, len(blocks), label, f"batches of {shape.batch} inputs"):
            part = slice(first, min(first + shape.batch, number))
            inputs = range(number)[part]
            planted = torch.as_tensor(logits(world, inputs, length, **made)).to(kind)
            unit = torch.eye(length, dtype=kind).expand(len(inputs), 1, length, length)
            for layer in range(world.layers):
                writer.write(layer, part, planted[:, layer], unit)
            given = apply(condition, Batch(setting.table[tokens[part]], inputs), setting)
            starts.append(given.embeddings[:, :1])
            sums.inputs = part
            for depth, state in enumerate(stream(world, given.embeddings)):
                sums(depth, state)
        sums.save(group)
        v0 = sums.state0[:-1, :, None]
        loss = np.full(number, np.log(len(setting.table)), dtype=np.float32)
        for array, axes, data in (
            ("v0", ("layer", "input", "kv_head", "feature"), v0),
            ("loss", ("input",), loss),
        ):
            create_array(group, array, axes, data.shape, data.shape, "float32")[:] = data
        if writes:
            write = v0 * np.array(world.heads, dtype=np.float32)[:, None]
            axes = ("layer", "input", "head", "hidden")
            chunks = (1, *write.shape[1:])
            create_array(group, "write0", axes, write.shape, chunks, "float32")[:] = write
        window = variant.get("window")
        group.attrs.update(
            certificates=certificate(world, writer, window, dtype, made),
            closed_trajectory=trajectory_error(world, torch.cat(starts), sums.state0),
            exchanged=None,
            inert_window=None,
            condition=condition,
            variant=dict(variant),
            dtype=dtype,
            batch=shape.batch,
            scale=[1.0] * world.layers,
            softcap=[None] * world.layers,
            window=[window] * world.layers,
            kind=["full" if window is None else "sliding"] * world.layers,
            checkpoint={"model_type": "synthetic", **asdict(world)},
        )


def trajectory_error(world: World, starts: Tensor, state0: np.ndarray) -> list[float]:
    """Position 0 in its context against the stream of its embedding alone, by depth.

    Args:
        world: its depth.
        starts: embeddings at position 0 (input, 1, feature).
        state0: as stored (depth, input, feature).

    Returns:
        Largest absolute difference over the largest absolute value, one number per depth.
    """
    alone = stream(world, starts)
    return [
        float(np.abs(a[:, 0].numpy() - stored).max() / max(float(np.abs(stored).max()), 1e-30))
        for a, stored in zip(alone, state0, strict=True)
    ]


def certificate(
    world: World, writer: Writer, window: int | None, dtype: str, made: Mapping[str, Any]
) -> dict[str, Any]:
    """Logits and attention rebuilt from what lies in the store, against those planted.

    Args:
        world: what was planted.
        writer: of the store.
        window: keys that a query sees, or None.
        dtype: of the store; sets the tolerance.
        made: ``left`` and ``untrained`` of the arm.

    Returns:
        Largest relative errors over layers and the largest weight of a hidden key.

    Raises:
        ModelError: an error beyond tolerance, with its layer and size.
    """
    rows = min(SAMPLE, writer.q.shape[1])
    length = writer.q.shape[3]
    seen = allowed(length, window)
    wanted = torch.as_tensor(logits(world, range(rows), length, **made)).float()
    tolerance = {name: TOLERANCE[dtype][name] for name in ("logits", "weights")}
    worst = {"logits": 0.0, "weights": 0.0, "masked": 0.0}
    for layer in range(world.layers):
        q, k = (_stored(array[layer, :rows]) for array in (writer.q, writer.k))
        found, want = rebuilt_logits(q, k, 1.0), wanted[:, layer]
        pairs: dict[str, Sequence[Tensor]] = {
            "logits": [x.masked_fill(~seen, 0) for x in (found, want)],
            "weights": [x.masked_fill(~seen, -torch.inf).softmax(-1) for x in (found, want)],
        }
        for what, pair in pairs.items():
            error = relative(*pair)
            if not error <= tolerance[what]:
                raise ModelError(
                    f"certificate {what!r}: layer {layer}: relative error {error:.2g} of what was "
                    f"planted, allowed {tolerance[what]:g}; dtype {dtype} is too coarse for it"
                )
            worst[what] = max(worst[what], error)
        hidden = pairs["weights"][0].masked_fill(seen, 0).max()
        worst["masked"] = max(worst["masked"], float(hidden))
    return worst | {"tolerance": tolerance, "inputs": rows, "positions": length}


def _stored(array: Any) -> Tensor:
    data = np.asarray(array)
    return torch.as_tensor(from_bits(data) if data.dtype == np.uint16 else data)
