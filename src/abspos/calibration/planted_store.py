"""A synthetic model's activations: planted logits as a store like that of any model.

Any logits are those of some queries and keys: queries are the rows of the logits, keys the unit
vectors, one K/V head serves all heads, the scale is 1. What else a store holds is as simple as can
be and true: a residual stream as wide as the inputs are long, to which every layer adds a token's
embedding once more; values that are that state; heads that write their scale times the value. It
predicts nothing, so its loss is that of a guess.
Source: docs/method.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abspos.activations.arms import Extraction, tokens_for
from abspos.activations.certificates import TOLERANCE, allowed, relative
from abspos.activations.interventions import Batch, Setting, apply
from abspos.activations.shapes import Shape
from abspos.activations.store import Facts, Sums, Writer
from abspos.arrays import from_bits, open_dataset
from abspos.calibration.worlds import VOCABULARY, World, logits, read
from abspos.logits import rebuilt_logits
from abspos.models.sources import ModelError
from abspos.progress import progress
from abspos.stores import Stored, check, whole_folder
from abspos.study.conditions import condition_of

#: Inputs that the certificate is made on.
SAMPLE = 2


def embeddings(world: World, width: int) -> Tensor:
    """One vector a token of the byte tokenizer (token, feature) float32, from the world's seed."""
    rng = np.random.default_rng([world.seed, 2**32])
    return torch.as_tensor(rng.normal(size=(VOCABULARY, width)).astype(np.float32))


def stream(world: World, embedded: Tensor) -> list[Tensor]:
    """The residual stream (input, position, feature) at every depth; no position sees another."""
    return [embedded * (1 + depth) for depth in range(world.layers + 1)]


@dataclass(frozen=True)
class Planting(Extraction):
    """Settings of a synthetic model's arm.

    Its variant's window hides keys, untrained weights have nothing planted; a change of RoPE acts
    by what is left. Its condition acts in the states, and in the logits by what is left.

    Attributes:
        left: share of the amplitude of sink and drift in this arm.
    """

    left: float = 1.0

    @property
    def made(self) -> dict[str, Any]:
        """Settings that determine the logits, besides the world."""
        return {"left": self.left, "untrained": bool(self.variant.get("untrained"))}


def plant(
    checkpoint: Stored,
    inputs: Stored,
    target: Stored,
    settings: Planting,
    *,
    threads: int,
    label: str,
) -> None:
    """Write the activation store of one arm of a synthetic model (see abspos.activations.store).

    Args:
        checkpoint: a checkpoint folder that states a world.
        inputs: the store of windows; their tokens set the states, and no logit.
        target: where to write.
        settings: of this arm.
        threads: that torch may use.
        label: names the run in progress lines and errors.

    Raises:
        StoreError: checkpoint or windows are missing or altered.
        InterventionError: the tokenizer cannot give what the condition needs.
        ModelError: what was stored gives other logits than those planted.
    """
    torch.set_num_threads(threads)
    check(*checkpoint)
    source, windows = Path(checkpoint.store), open_dataset(*inputs)
    tokens = torch.as_tensor(windows["tokens"].values[: settings.number]).long()
    bos, swap = tokens_for(source, windows, settings.condition, settings.token)
    world = read(source)
    number, length = tokens.shape
    setting = Setting(embeddings(world, length), bos, swap, 0, 0, settings.seed)
    heads, batch = len(world.heads), min(settings.batch, number)
    shape = Shape(world.layers, number, heads, 1, 1, length, length, length, length, batch)
    kind = getattr(torch, settings.dtype)
    with (
        whole_folder(*target) as folder,
        Writer(folder, shape, settings.dtype, label) as writer,
    ):
        sums = Sums(shape)
        starts = []
        blocks = range(0, number, batch)
        for first in progress(blocks, len(blocks), label, f"batches of {batch} inputs"):
            part = slice(first, min(first + batch, number))
            numbers = range(number)[part]
            planted = torch.as_tensor(logits(world, numbers, length, **settings.made)).to(kind)
            unit = torch.eye(length, dtype=kind).expand(len(numbers), 1, length, length)
            for layer in range(world.layers):
                writer.write(layer, part, planted[:, layer], unit)
            given = apply(settings.condition, Batch(setting.table[tokens[part]], numbers), setting)
            starts.append(given.embeddings[:, :1])
            sums.inputs = part
            for depth, state in enumerate(stream(world, given.embeddings)):
                sums(depth, state)
        writer.v0[:] = sums.state0[:-1, :, None]
        losses = np.full(number, np.log(len(setting.table)), dtype=np.float32)
        scales = np.array(world.heads, dtype=np.float32)[:, None]
        crossed = condition_of(settings.condition).crossed
        writer.finish(sums, losses, writer.v0[:, 0] * scales if crossed else None)
        window = settings.window
        facts = Facts(
            certificates=certificate(world, writer, settings),
            closed_trajectory=trajectory_error(world, torch.cat(starts), sums.state0),
            substituted=None,
            numbers=list(range(number)),
            inert_window=None,
            condition=settings.condition,
            variant=dict(settings.variant),
            dtype=settings.dtype,
            batch=batch,
            scale=[1.0] * world.layers,
            softcap=[None] * world.layers,
            window=[window] * world.layers,
            kind=["full" if window is None else f"sliding {window}"] * world.layers,
            checkpoint={"model_type": "synthetic", **asdict(world)},
        )
        writer.state(facts)


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


def certificate(world: World, writer: Writer, settings: Planting) -> dict[str, Any]:
    """Logits and attention rebuilt from what lies in the store, against those planted.

    Args:
        world: what was planted.
        writer: of the store.
        settings: of the arm; the dtype sets the tolerance.

    Returns:
        Largest relative errors over layers and the largest weight of a hidden key.

    Raises:
        ModelError: an error beyond tolerance, with its layer and size.
    """
    rows = min(SAMPLE, writer.q.shape[1])
    length = writer.q.shape[3]
    seen = allowed(length, settings.window)
    wanted = torch.as_tensor(logits(world, range(rows), length, **settings.made)).float()
    tolerance = {name: TOLERANCE[settings.dtype][name] for name in ("logits", "weights")}
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
                    f"planted, allowed {tolerance[what]:g}; dtype {settings.dtype} is too coarse "
                    "for it"
                )
            worst[what] = max(worst[what], error)
        hidden = pairs["weights"][0].masked_fill(seen, 0).max()
        worst["masked"] = max(worst["masked"], float(hidden))
    return worst | {"tolerance": tolerance, "inputs": rows, "positions": length}


def _stored(array: Any) -> Tensor:
    data = np.asarray(array)
    return torch.as_tensor(from_bits(data) if data.dtype == np.uint16 else data)
