"""Mean attention rows of a few telling heads: the model against what the mask alone predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abspos.arrays import open_dataset
from abspos.figures import compared, style, tidy

QUERIES = (4, 12, 31)
LONE_QUERY = 12  # where several models are shown
MOST_HEADS = 4
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

    heading = "Mean attention rows: model and mask-only prediction"
    stores = {
        run: path
        for run in found
        if (own := tidy.of(energies, run)).size
        and (path := data.stores.get("/".join([*run, "standard", own["condition"].iloc[0]])))
    }
    if not stores:
        return style.empty(heading, "no standard arm with bos or no-bos in this study")
    queries = QUERIES if len(found) == 1 else (LONE_QUERY,)
    shown = [("", "attention (share)")] * (MOST_HEADS * len(queries))
    sheet = compared.beside(found, heading, note, shown, 1.9, abreast=len(queries), sharex=False)
    for run, panels in zip(found, sheet.panels, strict=True):
        if run in stores:
            rows = tidy.of(energies, run), tidy.of(sinks, run)
            draw_heads(panels, open_dataset(stores[run]), *rows, queries)
        else:
            style.absent(panels[0], "no standard arm with bos or no-bos")
    for ax in sheet.figure.axes:
        if not ax.lines:
            ax.set_axis_off()
            continue
        ax.set_yscale("function", functions=(np.cbrt, lambda root: root**3))
        ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
        ax.set_ylim(-0.0001, 1.1)
    style.key(sheet.figure, LOOKS)
    return sheet.figure


def draw_heads(
    panels: Sequence[Axes],
    store: xr.Dataset,
    energies: pd.DataFrame,
    sinks: pd.DataFrame,
    wanted: Sequence[int],
) -> None:
    """One run: its telling heads, each at the queries that are wanted."""
    queries = stored_queries(store, wanted)
    near = store["predicted"].sel(query=queries[-1]).isel(offset=slice(0, NEAR)).sum("offset")
    heads = telling_heads(energies, sinks, near.values)
    kinds = sinks.drop_duplicates("layer").set_index("layer").get("kind", pd.Series(dtype=str))
    several = kinds.nunique() > 1
    for (head, query), ax in zip(product(heads, queries), panels, strict=False):
        one = store[["attention", "predicted"]].isel(layer=head.layer, head=head.head)
        row = one.sel(query=query).isel(offset=slice(0, query + 1))
        draw_row(ax, row["attention"].values, row["predicted"].values)
        name = f"layer {head.layer}, head {head.head}"
        name += f" ({kinds[head.layer]})" if several else ""
        above = ax.get_title() if head is heads[0] and len(wanted) == 1 else ""
        if query == queries[0]:
            why = compared.wrapped(ax, head.why)
            ax.set_title(f"{above}\n{name}:\n{why}".strip(), loc="left", fontsize=8.5)
            ax.title.set_text("")
        ax.set_xlabel(f"offset from query {query} (keys)", fontsize=8.5)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def stored_queries(store: xr.Dataset, wanted: Sequence[int]) -> list[int]:
    """Queries nearest to those wanted whose mean fields a store holds: of long inputs, not all."""
    shown = store["query"].values
    within = [q for q in wanted if q <= shown[-1]] or [int(shown[-1])]
    return list(dict.fromkeys(int(shown[np.abs(shown - q).argmin()]) for q in within))


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
