"""True energies of synthetic models: the same U-statistics, of a population that no study has.

Where neither sink nor drift is left, the residual part is 0 by symmetry
(abspos.calibration.worlds.draw).
Source: docs/method.md, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from abspos.calibration.worlds import World, draw, of_source, planted
from abspos.components import grams
from abspos.components.blocks import block_parts
from abspos.components.readings import READINGS
from abspos.csv_tables import write_csv
from abspos.progress import progress
from abspos.statistics.replicates import of_reading, with_rest
from abspos.study import grid

#: Bytes of logits of a block of inputs: what a processor's caches hold.
BLOCK_BYTES = 2**22
#: Parts of the residual stream, which are 0 where nothing is left of sink and drift.
RESIDUAL = ("residual", "row", "sink", "rest", "pattern", "row+sink")
RUN = ["model", "revision", "variant", "condition"]


@dataclass(frozen=True)
class PlantedArm:
    """Settings that determine an arm's truth; arms with equal settings share one.

    Attributes:
        left: share of the amplitude of sink and drift.
        untrained: whether nothing is planted.
        window: keys that a query sees, or None.
        windows: of the bins beyond them.
    """

    left: float
    untrained: bool
    window: int | None
    windows: tuple[int, ...]

    @property
    def bare(self) -> bool:
        """Whether there is no residual part."""
        return self.untrained or self.left == 0


Key = tuple[str, str, str]


def flat(logits: Tensor, arm: PlantedArm, early: int, anchor: int) -> dict[Key, Tensor]:
    """Fields (layer and head, input, element) by bin, lens and component, as a run has them.

    Args:
        logits: (input, layer and head, query, key).
        arm: its window and bins.
        early: first query after the early bin.
        anchor: a of mask_i = M_i - M_a.
    """
    length = logits.shape[-1]
    half = length // 2
    named = {anchor, *(w - 1 for w in arm.windows), *arm.windows}
    queries = torch.tensor(grid.explained(length, early, named))
    unit = torch.eye(length, dtype=logits.dtype).expand(len(logits), 1, length, length)
    parts, _ = block_parts(logits, unit, 1.0, arm.window, None, queries)
    fields = grams.fields(parts)
    gaps = torch.tensor(grid.gaps(queries.tolist(), early), dtype=torch.float64)
    return {
        (which.name, *key): x
        for which in grams.bins(half, early, arm.windows)
        for key, x in grams.flat_fields(parts, which, anchor, fields, gaps).items()
    }


class Population:
    """Sums over a population of inputs that give the energies of one arm."""

    def __init__(self) -> None:
        self.number = 0
        self.total: dict[Key, Tensor] = {}
        self.other: dict[Key, Tensor] = {}
        self.within: dict[Key, Tensor] = {}

    def add(self, fields: Mapping[Key, Tensor], reference: Mapping[Key, Tensor]) -> None:
        """Take a block of inputs, and the same inputs' fields in the arm compared with."""
        crossed = {
            ("cross", *key[1:]): (x, reference[key])
            for key, x in fields.items()
            if key[0] == "early" and key[2] in RESIDUAL and key in reference
        }
        pairs = {key: (x, x) for key, x in fields.items()} | crossed
        for key, (x, y) in pairs.items():
            sums = x.sum(1), y.sum(1), (x * y).sum((1, 2))
            for store, found in zip((self.total, self.other, self.within), sums, strict=True):
                store[key] = store[key] + found if key in store else found
        self.number += next(iter(fields.values())).shape[1]

    def energies(self, heads: int) -> dict[Key, np.ndarray]:
        """U-statistics (layer, head), those that follow from others included."""
        pairs = self.number * (self.number - 1)
        found = {
            key: ((total * self.other[key]).sum(-1) - self.within[key]).reshape(-1, heads).numpy()
            / pairs
            for key, total in self.total.items()
        }
        by_bin: dict[str, dict[tuple[str, str], np.ndarray]] = {}
        for (which, lens, component), values in found.items():
            by_bin.setdefault(which, {})[lens, component] = values
        derived = {which: with_rest(own) for which, own in by_bin.items()}
        if "cross" in derived:
            derived["cross"] = joint(derived["cross"])
        return {(which, *key): x for which, own in derived.items() for key, x in own.items()}


def joint(crossed: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Inner products by lens and the joint component of each reading."""
    return {
        (lens, reading.joint): of_reading(crossed, lens, reading)
        for lens in grams.LENSES
        for reading in READINGS
    }


def energies(
    world: World,
    arms: Sequence[PlantedArm],
    reference: PlantedArm,
    *,
    length: int,
    early: int,
    anchor: int,
    population: int,
    label: str = "",
) -> dict[PlantedArm, dict[Key, np.ndarray]]:
    """True energies (layer, head) of some arms, by bin, lens and component.

    The bin ``cross`` has the inner products of the arm's mean fields with the reference's, by
    reading.

    Args:
        world: what is planted and drawn.
        arms: each once.
        reference: what arms are compared with: bos of the same variant.
        length: T.
        early: first query after the early bin.
        anchor: a of mask_i = M_i - M_a.
        population: number of inputs.
        label: of progress lines.
    """
    heads = len(world.heads)
    block = max(1, BLOCK_BYTES // (8 * world.layers * heads * length**2))
    rng = np.random.default_rng([world.seed, 2**33])
    found = {arm: Population() for arm in arms}
    starts = range(0, population, block)
    for first in progress(starts, len(starts), label, f"blocks of {block} inputs"):
        own = draw(world, min(block, population - first), length, rng)

        def of(arm: PlantedArm, own: np.ndarray = own) -> dict[Key, Tensor]:
            shared = 0.0 if arm.untrained else planted(world, length, arm.left)
            # In float64: heavy tails would drive single precision to its slow ways.
            logits = torch.as_tensor(own + shared).flatten(1, 2)
            return flat(logits, arm, early, min(anchor, length // 2 - 1))

        compared = of(reference)
        for arm, sums in found.items():
            sums.add(compared if arm == reference else of(arm), compared)
    result = {arm: sums.energies(heads) for arm, sums in found.items()}
    for arm, by_key in result.items():
        for key in by_key:
            bare = arm.bare or (key[0] == "cross" and reference.bare)
            if bare and key[2] in RESIDUAL:
                by_key[key] = np.zeros_like(by_key[key])
    return result


def write_energies(
    table: Path,
    *,
    source: Mapping[str, Any],
    arms: Sequence[Mapping[str, Any]],
    length: int,
    early: int,
    anchor: int,
    population: int,
    model: str,
    revision: str,
    threads: int,
) -> None:
    """Write the true energies of a synthetic model, one row a head.

    Args:
        table: a CSV: model, revision, variant, condition, bin, lens, component, layer, head, truth.
        source: of the model, as the config has it.
        arms: ``variant``, ``condition`` and what PlantedArm has of every run.
        length: T.
        early: first query after the early bin.
        anchor: a of mask_i = M_i - M_a.
        population: inputs that a truth is computed from.
        model: its name.
        revision: of the model.
        threads: that torch may use.
    """
    torch.set_num_threads(threads)
    world = of_source(source)
    made = {
        (a["variant"], a["condition"]): PlantedArm(
            a["left"], a["untrained"], a["window"], tuple(a["windows"])
        )
        for a in arms
    }
    frames = []
    for variant in dict.fromkeys(name for name, _ in made):
        own = {c: arm for (name, c), arm in made.items() if name == variant}
        reference = own.get("bos", next(iter(own.values())))
        truths = energies(
            world,
            list(dict.fromkeys(own.values())),
            reference,
            length=length,
            early=early,
            anchor=anchor,
            population=population,
            label=f"{model} {variant}: truth",
        )
        for condition, arm in own.items():
            keys = dict(zip(RUN, (model, revision, variant, condition), strict=True))
            frames += [long(keys, key, values) for key, values in truths[arm].items()]
    write_csv(pd.concat(frames, ignore_index=True), Path(table))


def long(keys: Mapping[str, str], key: Key, values: np.ndarray) -> pd.DataFrame:
    """Energies (layer, head) as rows."""
    layer, head = np.indices(values.shape)
    named = dict(zip(("bin", "lens", "component"), key, strict=True))
    return pd.DataFrame(
        {**keys, **named, "layer": layer.ravel(), "head": head.ravel(), "truth": values.ravel()}
    )
