"""Mean attention rows of a few telling heads: the model against what the mask alone predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from abspos.arrays import open_dataset
from abspos.figures import style, tidy

QUERIES = (4, 12, 31)
NEAR = 4  # keys that count as local
SINK = 0.1  # sink excess from which a head counts as a sink reader here
TICKS = (0, 0.001, 0.01, 0.1, 0.3, 1)  # of attention, on a scale that shows small and large
LOOKS = {
    "model": style.Look(style.BLACK, "-", "o"),
    "mask alone": style.Look(style.BLUE, (0, (5, 1.5)), "D", filled=False),
}


@dataclass(frozen=True)
class Head:
    """One head that is shown, and why."""

    why: str
    layer: int
    head: int


@style.figure(
    tables=("energies", "sinks"),
    stores=("standard/bos",),
    category="Heads",
    label="Attention rows: model and mask-only prediction",
    caption=(
        "Mean attention of single queries by offset (keys back from the query; the last point is "
        "position 0), standard model under BOS (no-bos where a model has none), against the "
        "attention of the same head at later queries, cut to as many keys. Rows: the head with "
        "the largest sink excess, the head with the largest log-lens residual energy among those "
        "that read no sink, the head with most of its attention on the four nearest keys, and the "
        "head with the smallest residual energy. The heads were chosen on the same inputs, so the "
        "panels are illustrations and not estimates."
    ),
)
def draw(data: style.Data) -> Figure:
    """Attention rows, heads as rows and queries as columns."""
    energies, sinks = (
        tidy.base(data.tables[name], variant="standard") for name in ("energies", "sinks")
    )
    energies = tidy.of(energies, bin="early", component="residual")
    found = tidy.runs(data.tables["energies"], data.tables["sinks"])
    note = (
        f"{tidy.inputs(energies, sinks)}, standard, {tidy.under(energies)}; means over inputs, "
        "no intervals; cube-root scale; the last offset is position 0"
    )

    def draw_run(part: SubFigure, run: tuple[str, str]) -> None:
        own = tidy.of(energies, run)
        path = None
        if not own.empty:
            path = data.stores.get("/".join([*run, "standard", own["condition"].iloc[0]]))
        if path is None:
            style.absent(part.subplots(), "no standard arm with bos or no-bos in this study")
            return
        draw_heads(part, open_dataset(path), own, tidy.of(sinks, run))

    heading = "Mean attention rows: model and mask-only prediction"
    return style.per_run(found, heading, note, 8.0, draw_run)


def draw_heads(
    part: SubFigure, store: xr.Dataset, energies: pd.DataFrame, sinks: pd.DataFrame
) -> None:
    """One run: a row of panels per telling head."""
    shown = store["query"].values
    queries = [q for q in QUERIES if q <= shown[-1]] or [int(shown[-1])]
    # Of long inputs not every query has its fields stored.
    queries = [int(shown[np.abs(shown - q).argmin()]) for q in queries]
    near = store["predicted"].sel(query=queries[-1]).isel(offset=slice(0, NEAR)).sum("offset")
    heads = telling_heads(energies, sinks, near.values)
    panels = part.subplots(len(heads), len(queries), squeeze=False, sharex="col", sharey=True)
    for head, line in zip(heads, panels, strict=True):
        one = store[["attention", "predicted"]].isel(layer=head.layer, head=head.head)
        for ax, query in zip(line, queries, strict=True):
            row = one.sel(query=query).isel(offset=slice(0, query + 1))
            draw_row(ax, row["attention"].values, row["predicted"].values)
        line[0].set_ylabel("attention (share)")
        line[0].set_title(f"layer {head.layer}, head {head.head}: {head.why}", loc="left")
    for ax, query in zip(panels[-1], queries, strict=True):
        ax.set_xlabel(f"offset from query {query} (keys)")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0, 0].set_yscale("function", functions=(np.cbrt, lambda root: root**3))
    panels[0, 0].set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    panels[0, 0].set_ylim(-0.0001, 1.1)
    style.key(part, LOOKS)


def draw_row(ax: Axes, attention: np.ndarray, predicted: np.ndarray) -> None:
    """Both curves of one query."""
    for name, values in (("model", attention), ("mask alone", predicted)):
        ax.plot(np.arange(len(values)), values, label=name, **LOOKS[name].line())


def telling_heads(energies: pd.DataFrame, sinks: pd.DataFrame, near: np.ndarray) -> Sequence[Head]:
    """Up to four different heads that show what the numbers mean.

    Args:
        energies: residual energies of early queries by layer, head and lens.
        sinks: sink excess by layer and head.
        near: attention on the nearest keys that the mask alone predicts, (layer, head).
    """
    place = ["layer", "head"]
    log, probability = (
        tidy.of(energies, lens=lens).set_index(place)["energy"].dropna() for lens in style.LENSES
    )
    excess = sinks.set_index(place)["sink_excess"].dropna()
    layer, head = np.indices(near.shape)
    local = pd.Series(near.ravel(), index=pd.MultiIndex.from_arrays([layer.ravel(), head.ravel()]))
    quiet = log[~log.index.isin(excess[excess >= SINK].index)]
    wanted = {
        "largest sink excess": excess,
        "largest residual energy (log lens) of those without a sink": quiet,
        "most attention on the four nearest keys": local,
        "smallest residual energy (probability lens)": -probability.abs(),
    }
    chosen: list[Head] = []
    for why, ranking in wanted.items():
        taken = [(h.layer, h.head) for h in chosen]
        left = ranking[~ranking.index.isin(taken)] if taken else ranking
        if not left.empty:
            layer_of, head_of = left.index[int(left.to_numpy().argmax())]
            chosen.append(Head(why, int(layer_of), int(head_of)))
    return chosen
