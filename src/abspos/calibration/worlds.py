"""Worlds whose logits are known: what is planted in them, and what each input adds of its own.

One definition for both that use it: the simulated studies (abspos.calibration.simulation), and
models of ``source: {type: synthetic}``, which go through the stores of every study
(abspos.calibration.planted_store).
Source: docs/method.md, section 7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abspos.models.families import WORLD

#: Tokens of the byte tokenizer that comes with it: BOS, EOS, and every byte.
VOCABULARY = 258
#: Under tails that are ``few``: the share of inputs that carry half of the variance.
FEW = 1 / 32


@dataclass(frozen=True)
class World:
    """Distribution of the inputs.

    Attributes:
        noise: size of an input's own logits, in units of the head's scale.
        tails: ``normal``; ``heavy``: Student's t with 3 degrees of freedom over inputs; ``few``:
            one input in 32 carries half of the variance.
        layers: their number.
        heads: scale of all that is planted in each head, and of its inputs' own logits.
        sinks: strength of each head's sink, in units of its scale.
        drift: strength of what changes with the query, in units of the head's scale.
        seed: of the inputs' own logits where they are asked for by number.
    """

    noise: float
    tails: str = "normal"
    layers: int = 4
    heads: tuple[float, ...] = (0.2, 1.0, 4.0)
    sinks: tuple[float, ...] = (3.0, 1.5, 0.75)
    drift: float = 1.0
    seed: int = 0


def planted(world: World, length: int, left: float = 1.0) -> np.ndarray:
    """Logits that all inputs share (layer, head, query, key): relative, sink and drift.

    The relative part is Toeplitz; early queries alone see position 0 within the offsets that
    count, and drift, so both make the residual part, which grows with depth.

    Args:
        world: what is planted.
        length: T.
        left: share of sink and drift that is left.
    """
    i, j = np.indices((length, length))
    back, half = i - j, length // 2
    relative = -0.15 * back + 0.5 * np.cos(back)
    drift = world.drift * np.where(i < half, (1 - i / half) * np.sin(1 + back), 0)
    first = np.where((j == 0) & (i < half), 1.0, 0)
    depth = (1 + np.arange(world.layers)[:, None, None, None]) / world.layers
    scale, sink = (np.array(x)[None, :, None, None] for x in (world.heads, world.sinks))
    return scale * (0.5 * relative + left * depth * (sink * first + drift))


def draw(world: World, number: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Inputs' own logits (input, layer, head, query, key): white, and a field of their own.

    Neither tells an early query from a late one that has as many keys, so that without sink and
    drift the residual part of the population is exactly 0.
    """
    shape = (number, world.layers, len(world.heads))
    own = rng.normal(size=(*shape, length, length))
    back = np.subtract.outer(np.arange(length), np.arange(length))
    own += rng.normal(size=(*shape, 1, 1)) * np.cos(0.7 * back)
    if world.tails == "heavy":
        own *= np.sqrt(3 / rng.chisquare(3, size=(number, 1, 1, 1, 1)))
    if world.tails == "few":
        chosen = rng.random(size=(number, 1, 1, 1, 1)) < FEW
        own *= np.sqrt(0.5 / np.where(chosen, FEW, 1 - FEW))
    return world.noise * np.array(world.heads)[:, None, None] * own


def logits(
    world: World, inputs: Sequence[int], length: int, left: float = 1.0, untrained: bool = False
) -> np.ndarray:
    """Logits (input, layer, head, query, key) of some inputs of a study, by their numbers.

    An input's own logits follow from its number and the world's seed alone: they are the same in
    every arm and in batches of any size.

    Args:
        world: what is planted and drawn.
        inputs: their numbers.
        length: T.
        left: share of sink and drift that is left.
        untrained: whether nothing is planted, as nothing was learnt.
    """
    own = [draw(world, 1, length, np.random.default_rng([world.seed, n])) for n in inputs]
    shared = 0.0 if untrained else planted(world, length, left)
    return np.concatenate(own) + shared


def read(folder: Path) -> World:
    """The world that the checkpoint folder of a synthetic model states."""
    return of_source(json.loads(Path(folder, WORLD).read_text(encoding="utf-8")))


def of_source(source: Mapping[str, Any]) -> World:
    """The world of a mapping with its attributes, such as a ``models[].source`` of the config."""
    found: dict[str, Any] = {
        name: tuple(source[name]) if isinstance(source[name], list) else source[name]
        for name in World.__dataclass_fields__
        if name in source
    }
    return World(**found)
