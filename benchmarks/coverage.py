"""A second look at coverage: one world, N = 128, median against mean head, width against spread.

    python -m benchmarks.coverage WORLD STUDIES [SEED]

WORLD is an index into abspos.calibration.WORLDS. Beside coverage it prints the mean standard error
over the spread of the estimates over studies, which is 1 where intervals are as wide as they should
be, and the coverage of intervals made on the logarithm of the mask's energies.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr

from abspos import calibration, estimands
from abspos import slots as sl
from abspos.synthetic import World

NUMBER = 128


def numbers(
    found: Mapping[tuple[str, str, str], xr.DataArray],
) -> Iterator[tuple[str, str, xr.DataArray]]:
    """Every number that is checked, (name, lens, slots), from energies (layer, head, slot)."""
    layers = np.ones(calibration.LAYERS, dtype=bool)
    for lens in calibration.LENSES:
        residual = [found[arm, lens, "residual"] for arm in ("second", "first")]
        mask = found["first", lens, "mask"]
        for summary in sl.SUMMARIES:
            pair = [sl.over_model(x, summary) for x in residual]
            yield f"reduction, {summary} head", lens, estimands.reduction(*pair)
            yield (
                f"slope, {summary} head",
                lens,
                estimands.accumulation(residual[1], layers, summary),
            )
            yield f"mask, {summary} head", lens, sl.over_model(mask, summary)
        yield "mask, each head", lens, mask


def main(world: World, studies: int, seed: int) -> None:
    """Print one line a number."""
    torch.set_num_threads(1)
    with patch.object(calibration, "numbers", numbers):
        expected = calibration.truth(world, 0)
    covered, on_log, errors, estimates = (defaultdict(list) for _ in range(4))
    for study in range(studies):
        made = calibration.simulate(world, NUMBER, np.random.default_rng([seed, 7, study]))
        slots = {
            key: xr.DataArray(
                sl.gram_slots(gram.astype(np.float64), None), dims=("layer", "head", "slot")
            )
            for key, gram in made.items()
        }
        for name, lens, value in numbers(slots):
            key, want = (name, lens), expected[name, lens]
            one = sl.slot_interval(value)
            covered[key].append(np.mean((one.low <= want) & (want <= one.high)))
            errors[key].append(one.se)
            estimates[key].append(one.estimate)
            if name.startswith("mask"):
                log = sl.slot_interval(np.log(np.abs(value)))
                inside = (np.exp(log.low) <= np.abs(want)) & (np.abs(want) <= np.exp(log.high))
                on_log[key].append(np.mean(inside))
    print(f"{world}: {studies} studies, N = {NUMBER}")
    for key, hits in covered.items():
        width = np.mean(np.mean(errors[key], 0) / np.std(estimates[key], 0))
        log_hits = f"  on the log {100 * np.mean(on_log[key]):5.1f} %" if key in on_log else ""
        text = f"{100 * np.mean(hits):5.1f} %  se over spread {width:.2f}{log_hits}"
        print(f"{key[0]:24} {key[1]:12} {text}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python -m benchmarks.coverage WORLD STUDIES [SEED]")
    given = [int(x) for x in sys.argv[1:]]
    main(calibration.WORLDS[given[0]], given[1], given[2] if len(given) == 3 else 1)
