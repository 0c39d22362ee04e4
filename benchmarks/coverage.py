"""Why intervals are made of halves: four kinds of error, by coverage and by width.

    python -m benchmarks.coverage WORLD STUDIES [N] [SEED]

WORLD is an index into abspos.calibration.simulation.WORLDS, or ``alike``: nine heads of nearly the
same size under noise 2. Printed for each number: coverage of 95 % intervals in percent, and the
mean standard error over the spread of the estimates over studies, which is 1 where it is as large
as it should be. *jackknife* deletes one input at a time; *halves* are what abspos takes for
medians; *smooth* is what it takes elsewhere; *unbiased* takes off all of the part that pairs add.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr
from scipy import special

from abspos.calibration import simulation as calibration
from abspos.calibration.worlds import World
from abspos.statistics import energies as statistics
from abspos.statistics import replicates as sl
from abspos.statistics.half_samples import half_variance

KINDS = ("jackknife", "halves", "smooth", "unbiased")
SIZES = tuple(float(x) for x in np.linspace(0.7, 1.4, 9))
ALIKE = World(2.0, heads=SIZES, sinks=tuple(1.4 / x for x in SIZES))
Found = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def errors(replicates: xr.DataArray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimate (...) and its four standard errors (kind, ...)."""
    values = replicates.transpose(..., "replicate").values
    estimate, without, halved = np.split(values, [1, 1 + number], axis=-1)
    estimate = estimate[..., 0]
    jackknife = statistics.interval(estimate, without).se
    halves, smooth = (half_variance(estimate, halved, number, smooth) for smooth in (False, True))
    kinds = [jackknife, np.sqrt(halves), np.sqrt(smooth), np.sqrt(2 * smooth - halves)]
    return estimate, np.stack(kinds)


def one_study(world: World, number: int, seed: int, study: int) -> Found:
    """Estimates and errors of every number of one simulated study."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, 7, study])
    replicates = {
        key: xr.DataArray(
            sl.gram_replicates(gram.astype(np.float64), None), dims=("layer", "head", "replicate")
        )
        for key, gram in calibration.simulate(world, number, rng).items()
    }
    return {(n, lens): errors(v, number) for n, lens, v in calibration.numbers(replicates)}


def simulated(world: World, studies: int, number: int, seed: int) -> Iterator[Found]:
    """All studies, on two processes."""
    with ProcessPoolExecutor(max_workers=2) as pool, patched(world):
        run = partial(patched_study, world, number, seed)
        yield from pool.map(run, range(studies), chunksize=5)


def patched(world: World) -> patch:  # type: ignore[valid-type]
    """The simulation with as many heads as a world has."""
    return patch.object(calibration, "HEADS", len(world.heads))


def patched_study(world: World, number: int, seed: int, study: int) -> Found:
    """one_study in a process of its own."""
    with patched(world):
        return one_study(world, number, seed, study)


def main(world: World, studies: int, number: int, seed: int) -> None:
    """Print one line a number."""
    with patched(world), patch.object(calibration, "BLOCK", 300):
        expected = calibration.truth(world, 0, 6000)
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for study in simulated(world, studies, number, seed):
        for key, value in study.items():
            found[key].append(value)
    reach = special.stdtrit(number - 1, 0.975)
    print(f"{world}: {studies} studies, N = {number}")
    print(f"{'':44}" + "".join(f"{kind:>16}" for kind in KINDS))
    for key, values in found.items():
        estimates = np.stack([estimate for estimate, _ in values])
        se = np.stack([error for _, error in values], axis=1)
        cells = [
            f"{100 * np.mean(abs(estimates - expected[key]) <= reach * one):9.1f} "
            f"{np.mean(one.mean(0) / estimates.std(0)):6.2f}"
            for one in se
        ]
        print(f"{key[0]:31} {key[1]:12}" + "".join(cells), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4, 5):
        sys.exit("usage: python -m benchmarks.coverage WORLD STUDIES [N] [SEED]")
    chosen = ALIKE if sys.argv[1] == "alike" else calibration.WORLDS[int(sys.argv[1])]
    counts = [int(x) for x in sys.argv[2:]]
    main(chosen, counts[0], *(counts[1:] + [128, 1][len(counts) - 1 :]))
