"""Sign-flip tests of a model's early summaries over heads, of the mask and of every reading.

Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product

import numpy as np
import xarray as xr

from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics import replicates as sl
from abspos.statistics.sign_flips import sign_flip_summary_p

#: Components that are tested.
TESTED = ("mask", *(reading.joint for reading in READINGS))

#: Summaries of energies (head, flip) over heads.
SUMMARY_OF_HEADS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "median": lambda energies: np.median(energies, axis=0),
    "mean": lambda energies: energies.mean(axis=0),
}


def untested(kinds: Iterable[str] = ()) -> xr.DataArray:
    """p-values (kind, lens, component, summary) before any test: NaN.

    Args:
        kinds: of an arm's layers; the tests are of all of them, and in hybrids of each kind.
    """
    coords = {
        "kind": list(sl.by_kind(kinds)),
        "lens": list(LENSES),
        "component": list(TESTED),
        "summary": list(sl.SUMMARIES),
    }
    sizes = [len(names) for names in coords.values()]
    return xr.DataArray(np.full(sizes, np.nan), coords, dims=list(coords))


def summary_tests(
    packed: Mapping[tuple[str, str], np.ndarray],
    kinds: Iterable[str],
    flips: int,
    seed: int,
    documents: np.ndarray | None,
) -> xr.DataArray:
    """p-values (kind, lens, component, summary) of a model's summaries > 0.

    Args:
        packed: early Grams (layer, head, pair) by lens and component.
        kinds: of the layers.
        flips, seed, documents: as in abspos.statistics.sign_flips.sign_flip_p.
    """
    kinds = list(kinds)
    found = untested(kinds)
    for lens in LENSES:
        tested = {"mask": packed[lens, "mask"]}
        tested |= {r.joint: sl.of_reading(packed, lens, r) for r in READINGS}
        for component, own in tested.items():
            for (kind, layers), summary in product(sl.by_kind(kinds).items(), SUMMARY_OF_HEADS):
                found.loc[kind, lens, component, summary] = sign_flip_summary_p(
                    own[layers], SUMMARY_OF_HEADS[summary], flips, seed, documents
                )
    return found
