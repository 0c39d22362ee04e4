"""Data of the head map on a study's page: the numbers and mean attention rows of every head.

Plain values for JSON, rounded to what the page shows. Colours are those of the figure head_maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import LogNorm, Normalize, to_hex

from abspos.arrays import open_dataset
from abspos.components.lenses import LENSES
from abspos.figures import style, tidy
from abspos.figures.attention_rows import QUERIES, TICKS, stored_queries
from abspos.figures.head_maps import scale
from abspos.statistics.replicates import replicate_interval
from abspos.statistics.store import Arm, open_replicates

#: Energies that the map shows, by what the page calls them: components whose energies add up. The
#: first three are the readings of the residual-stream component (abspos.components.readings).
ENERGIES = {
    "R: residual stream, all that is not the mask": ("residual",),
    "sink: what position 0 takes, row and sink part": ("row", "sink"),
    "pattern: R on ordinary keys, renormalised": ("pattern",),
    "mask: causal mask": ("mask",),
    "row: taken by position 0 from all other keys": ("row",),
    "sink part: added at position 0": ("sink",),
}
#: Attention on position 0 beyond what the mask predicts; the figure head_maps shows it too.
EXCESS = "sink excess: attention on position 0"
#: Colours of a scale that the page shows as a bar.
STOPS = 48
#: Attention is sent in units of this.
UNIT = 1e-4


def head_map(
    stores: Mapping[str, Path],
    replicates: Mapping[str, Path],
    sinks: pd.DataFrame,
    confidence: float,
) -> dict[str, Any]:
    """The head map of a study.

    Args:
        stores: component store of each run's reference arm, by
            ``model/revision/variant/condition``.
        replicates: store of replicates by ``model/revision``.
        sinks: sinks.csv.
        confidence: level of the intervals.

    Returns:
        ``runs``: name, arm, kinds of layers, attention on position 0 and mean attention rows of
        each. ``maps``: for each quantity and lens the values of all runs with interval and colour,
        and their common scale. Values of a run are flat, layer by layer.
    """
    keys = [tuple(key.split("/")) for key in stores]
    shown = tidy.revisions(
        pd.DataFrame(keys, columns=["model", "revision", "variant", "condition"])
    )
    keys = [key for key in keys if key[:2] in shown]
    found = {(m, r, v, c): tidy.of(sinks, (m, r), variant=v, condition=c) for m, r, v, c in keys}
    rows = {key: own.sort_values(["layer", "head"]) for key, own in found.items()}
    energies = [
        open_replicates(replicates["/".join(key[:2])])[Arm(*key[2:])].bins["early"] for key in keys
    ]
    return {
        "level": f"{100 * confidence:g} %",
        "ticks": list(TICKS),
        "unit": UNIT,
        "runs": [
            run_of(key, own, open_dataset(stores["/".join(key)])) for key, own in rows.items()
        ],
        "maps": [*energy_maps(energies, confidence), excess_map(list(rows.values()))],
    }


def run_of(key: tuple[str, ...], sinks: pd.DataFrame, store: xr.Dataset) -> dict[str, Any]:
    """One run: its heads, and what each gives to position 0 and to every other key."""
    kinds = sinks.drop_duplicates("layer")["kind"].astype(str)
    return {
        "name": tidy.title(*key[:2]),
        "arm": "/".join(key[2:]),
        "heads": int(sinks["head"].max()) + 1,
        "kinds": kinds.tolist(),
        "first": rounded(sinks["a_1"]),
        "sinks": rounded(sinks["sink_share"]),
        "rows": list(attention(store)),
    }


def attention(store: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Mean attention rows of all heads at the queries that the figure attention_rows shows."""
    for query in stored_queries(store, QUERIES):
        fields = store[["attention", "predicted"]].sel(query=query)
        fields = fields.isel(offset=slice(0, query + 1)).stack(one=("layer", "head"))
        parts = {n: fields[n].transpose("one", "offset").values for n in ("attention", "predicted")}
        yield {
            "query": query,
            **{n: [whole(row) for row in values] for n, values in parts.items()},
        }


def energy_maps(runs: list[xr.DataArray], confidence: float) -> Iterator[dict[str, Any]]:
    """Early energies of every head: the readings of the residual-stream component, then others.

    Args:
        runs: replicates (lens, component, layer, head, replicate) of each run's early bin.
        confidence: level of the intervals.
    """
    for (label, parts), lens in product(ENERGIES.items(), LENSES):
        values = []
        for own in runs:
            whole = own.sel(lens=lens, component=list(parts)).sum("component", skipna=False)
            found = replicate_interval(whole, confidence)
            values.append((np.ravel(found.estimate), np.ravel(found.low), np.ravel(found.high)))
        yield {
            "label": label,
            "lens": lens,
            "quantity": f"energy, {lens} lens",
            "units": style.UNITS[lens],
            **colored(values, log=True),
        }


def excess_map(runs: list[pd.DataFrame]) -> dict[str, Any]:
    """Sink excess of every head; it has one lens alone."""
    columns = ("sink_excess", "sink_low", "sink_high")
    values = [tuple(own[name].to_numpy(float) for name in columns) for own in runs]
    named = {"label": EXCESS, "lens": "", "quantity": "excess attention", "units": ""}
    return {**named, **colored(values, log=False)}


def colored(runs: Sequence[tuple[np.ndarray, ...]], log: bool) -> dict[str, Any]:
    """Values of all runs with intervals, on the colour scale of the figure head_maps.

    Args:
        runs: estimates and ends of their intervals.
        log: whether the scale is logarithmic; values of 0 or less then have no colour.
    """
    every = np.concatenate([values[0] for values in runs])
    seen = every[np.isfinite(every)]
    norm, name = scale(seen if seen.size else np.ones(1), log)
    cmap = mpl.colormaps[name]

    def color(value: float) -> str | None:
        shown = math.isfinite(value) and (value > 0 or not log)
        return to_hex(cmap(norm(value))) if shown else None

    return {
        "log": log,
        "scale": [to_hex(cmap(x)) for x in np.linspace(0, 1, STOPS)],
        "ticks": [[round(float(norm(t)), 4), f"{float(f'{t:.2g}'):g}"] for t in ticks(norm)],
        "runs": [
            {
                "value": rounded(value),
                "low": rounded(low),
                "high": rounded(high),
                "color": [color(x) for x in value],
            }
            for value, low, high in runs
        ],
    }


def ticks(norm: Normalize) -> list[float]:
    """Values that the bar of a scale is marked at: decades, or its ends and its middle."""
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    if not isinstance(norm, LogNorm):
        return [low, (low + high) / 2, high]
    decades = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return decades if len(decades) > 1 else [low, high]


def rounded(values: Any) -> list[float | None]:
    """Numbers to three digits; None for those that are not finite."""
    numbers = np.asarray(values, dtype=float)
    return [float(f"{x:.3g}") if math.isfinite(x) else None for x in numbers]


def whole(values: np.ndarray) -> list[int | None]:
    """Attention in whole multiples of UNIT; None for those that are not finite."""
    return [round(float(x) / UNIT) if math.isfinite(x) else None for x in values]
