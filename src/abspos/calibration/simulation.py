"""Simulated studies with planted components: do estimates hit, and intervals cover, the truth?

Logits are planted and go through the decomposition, the Gram matrices and the intervals of every
study. Source: docs/method.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy import stats

from abspos.calibration.worlds import World, draw, planted
from abspos.claims import estimands
from abspos.components import grams
from abspos.components.decomposition import by_offset, split
from abspos.components.lenses import LENSES
from abspos.csv_tables import write_csv
from abspos.progress import progress
from abspos.statistics import replicates as sl

LAYERS, HEADS, LENGTH, EARLY = 4, 3, 32, 12
COMPONENTS = ("mask", "residual")
#: Share of the planted amplitude that remains in the second arm.
LEFT = 0.8
#: Inputs that a truth is computed from at a time.
BLOCK = 1000
#: Worlds that are shown: noise of several sizes, heavy tails, and few inputs that carry half of it.
WORLDS = (World(0.5), World(1.0), World(2.0), World(1.0, "heavy"), World(1.0, "few"))

Grams = dict[tuple[str, str, str], np.ndarray]


def fields(logits: np.ndarray) -> dict[tuple[str, str], torch.Tensor]:
    """Flattened early fields (layer and head, input, element) by lens and component."""
    half = LENGTH // 2
    s = torch.as_tensor(logits).flatten(1, 2)
    early = by_offset(s[..., :half, :half], 0, half)
    parts = split(early, by_offset(s[..., half:, :], half, half), None)
    flat = grams.flat_fields(parts, grams.bins(half, EARLY, [])[0], half - 1)
    return {(lens, c): flat[lens, c] for lens in LENSES for c in COMPONENTS}


def simulate(world: World, number: int, rng: np.random.Generator) -> Grams:
    """Gram matrices (layer, head, input, input) of one study by arm, lens and component."""
    own = draw(world, number, LENGTH, rng)
    return {
        (arm, *key): grams.gram(x).reshape(LAYERS, HEADS, number, number).numpy()
        for arm, left in (("first", 1.0), ("second", LEFT))
        for key, x in fields(planted(world, LENGTH, left) + own).items()
    }


def numbers(
    found: Mapping[tuple[str, str, str], xr.DataArray],
) -> Iterator[tuple[str, str, xr.DataArray]]:
    """Every number that is checked as (name, lens, replicates).

    Args:
        found: energies (layer, head, replicate) by arm, lens and component.
    """
    layers = np.ones(LAYERS, dtype=bool)
    for lens in LENSES:
        residual = [found[arm, lens, "residual"] for arm in ("second", "first")]
        for component in COMPONENTS:
            yield f"{component} energy, each head", lens, found["first", lens, component]
        for summary in sl.SUMMARIES:
            for component in COMPONENTS:
                model = sl.over_model(found["first", lens, component], summary)
                yield f"{component} energy, {summary} head", lens, model
            pair = [sl.over_model(x, summary) for x in residual]
            yield f"paired reduction, {summary} head", lens, estimands.reduction(*pair)
            slope = estimands.accumulation(residual[1], layers, summary)
            yield f"depth slope, {summary} head", lens, slope


def summary_of(number: str) -> str:
    """Over which heads a number is: median, mean or each."""
    return number.removesuffix(" head").rsplit(" ", 1)[1]


def truth(world: World, seed: int, population: int) -> dict[tuple[str, str], np.ndarray]:
    """True numbers, from a population of so many inputs, by name and lens."""
    rng = np.random.default_rng([seed, 1])
    totals: dict[tuple[str, str, str], torch.Tensor] = {}
    squares: dict[tuple[str, str, str], torch.Tensor] = {}
    for first in range(0, population, BLOCK):
        own = draw(world, min(BLOCK, population - first), LENGTH, rng)
        for arm, left in (("first", 1.0), ("second", LEFT)):
            for key, x in fields(planted(world, LENGTH, left) + own).items():
                name = (arm, *key)
                totals[name] = totals.get(name, 0) + x.sum(1)
                squares[name] = squares.get(name, 0) + (x * x).sum((1, 2))
    pairs = population * (population - 1)
    energies = {
        name: xr.DataArray(
            (((total * total).sum(-1) - squares[name]) / pairs).reshape(LAYERS, HEADS, 1).numpy(),
            dims=("layer", "head", "replicate"),
        )
        for name, total in totals.items()
    }
    return {
        (name, lens): replicates.isel(replicate=0).values
        for name, lens, replicates in numbers(energies)
    }


def one_study(
    world: World, inputs: Sequence[int], seed: int, study: int
) -> list[tuple[int, str, str, np.ndarray, np.ndarray, np.ndarray]]:
    """Estimates and 95 % intervals of one simulated study, at every N of ``inputs``.

    Returns:
        N, name, lens, estimate, low and high of each number; the last three arrays.
    """
    torch.set_num_threads(1)
    made = simulate(world, max(inputs), np.random.default_rng([seed, 2, study]))
    rows = []
    for number in inputs:
        replicates = {
            key: xr.DataArray(
                sl.gram_replicates(gram[..., :number, :number].astype(np.float64), None),
                dims=("layer", "head", "replicate"),
            )
            for key, gram in made.items()
        }
        for name, lens, value in numbers(replicates):
            found = sl.replicate_interval(value, summary=summary_of(name))
            rows.append((number, name, lens, found.estimate, found.low, found.high))
    return rows


def summarise(
    world: World,
    expected: Mapping[tuple[str, str], np.ndarray],
    studies: Sequence[list[tuple[int, str, str, np.ndarray, np.ndarray, np.ndarray]]],
) -> pd.DataFrame:
    """Bias and coverage of every number over the simulated studies.

    Numbers by head count each head: bias in units of its truth, coverage over all of them. The
    interval of a coverage is Clopper and Pearson's, of the studies, not of studies times heads.
    """
    rows = []
    for cells in zip(*studies, strict=True):
        number, name, lens = cells[0][:3]
        want = expected[name, lens]
        estimate, low, high = (np.stack([cell[k] for cell in cells]) for k in (3, 4, 5))
        covers = (low <= want) & (want <= high)
        count = len(cells)
        hits = covers.mean() * count
        rows.append(
            {
                "noise": world.noise,
                "tails": world.tails,
                "n_inputs": number,
                "number": name,
                "lens": lens,
                "truth": float(np.mean(want)),
                "estimate": float(estimate.mean()),
                "bias": float(((estimate.mean(0) - want) / np.abs(want)).mean()),
                "spread": float((estimate.std(0) / np.abs(want)).mean()),
                "coverage": float(covers.mean()),
                "coverage_low": float(stats.beta.ppf(0.025, hits, count - hits + 1)),
                "coverage_high": float(stats.beta.ppf(0.975, hits + 1, count - hits)),
                "studies": count,
            }
        )
    return pd.DataFrame(rows).fillna({"coverage_high": 1.0})


def calibrate(
    table: Path,
    *,
    studies: int,
    inputs: Sequence[int],
    population: int,
    seed: int,
    threads: int,
    worlds: Sequence[World] = WORLDS,
) -> None:
    """Simulate studies in every world and write their table.

    Args:
        table: a CSV, see summarise.
        studies: in each world.
        inputs: every N to look at; studies of fewer inputs are the first of the largest.
        population: inputs that the truth is computed from.
        seed: of everything drawn.
        threads: processes.
    """
    frames = []
    with ProcessPoolExecutor(max_workers=threads) as pool:
        for world in worlds:
            label = f"calibration, noise {world.noise}, {world.tails} tails"
            run: Callable[[int], list] = partial(one_study, world, tuple(inputs), seed)
            expected = truth(world, seed, population)
            done = progress(pool.map(run, range(studies), chunksize=5), studies, label, "studies")
            frames.append(summarise(world, expected, list(done)))
    write_csv(pd.concat(frames, ignore_index=True), Path(table))
