"""One real head: its mean log attention as the sum of relative, mask and residual-stream parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from abspos.arrays import open_dataset
from abspos.figures import compared, style, tidy

HEIGHT = 3.7  # inches of the panels of one run
SHOWN = 48  # queries and keys, from position 0 on
PARTS = ("log attention", "relative", "mask", "residual")
SIGNS = {"relative": "=", "mask": "+", "residual": "+"}
AXES = {
    "log attention": "what the head does",
    "relative": "depends on the offset alone",
    "mask": "depends on the query alone",
    "residual": "what remains: residual stream",
}


@style.figure(
    tables=("sinks",),
    stores=("standard/bos",),
    category="Components",
    label="One head: log attention as relative, mask and residual",
    caption=(
        "The decomposition on one real head: the head with the largest sink excess of the standard "
        "model under BOS (no-bos where a model has none). Mean log attention over inputs, by "
        "query (rows) and key (columns), is the sum of three parts without a remainder: the "
        "relative part depends on the offset between query and key alone, the mask part on the "
        "query alone, and the residual-stream part is all else. Attention and relative part share "
        "one colour scale, mask and residual another, centred at 0; several models, each at its "
        "last revision, share them. The head was chosen on the same inputs, so the panels are an "
        "illustration and not estimates."
    ),
)
def draw(data: style.Data) -> Figure:
    """Four heatmaps of each run, side by side; of several runs each is a column."""
    sinks = tidy.base(data.tables["sinks"], variant="standard")
    found = tidy.last_of_each(tidy.runs(data.tables["sinks"]))
    note = (
        f"{tidy.inputs(sinks)}, standard, {tidy.under(sinks)}; means over inputs, no intervals; "
        "nats; white: keys that a query does not see"
    )
    heading = "One head: log attention = relative + mask + residual"
    heads = {run: one for run in found if (one := head_of(tidy.of(sinks, run), data))}
    if not heads:
        return style.empty(heading, "no standard arm with bos or no-bos in this study")
    scales = scales_of([head.fields for head in heads.values()])
    if len(found) == 1:
        (head,) = heads.values()
        return style.of_one(
            found[0], heading, note, HEIGHT, lambda part: draw_run(part, head, scales)
        )
    shown = [(f"{SIGNS.get(name, '')} {name}".strip(), "query") for name in PARTS]
    sheet = compared.beside(found, heading, note, shown, 1.5, alone=HEIGHT)
    for run, panels in zip(found, sheet.panels, strict=True):
        if run not in heads:
            for ax in panels:
                ax.set_axis_off()
            continue
        for ax, name in zip(panels, PARTS, strict=True):
            draw_part(ax, name, heads[run].fields, scales[name])
        panels[0].set_title(f"{tidy.title(*run)}\n{heads[run].name}", fontsize=9)
        panels[-1].set_xlabel("key", fontsize=8.5)
    for axes, _, name in compared.lines(sheet, [PARTS] * len(found), PARTS):
        bar = sheet.figure.colorbar(ScalarMappable(*scales[name]), ax=axes, aspect=12)
        bar.set_label("nats", fontsize=8.5)
    return sheet.figure


@dataclass(frozen=True)
class Head:
    """The head that is shown of one run: its name and fields."""

    name: str
    fields: Fields


def head_of(sinks: pd.DataFrame, data: style.Data) -> Head | None:
    """The head with the largest sink excess of one run; None without an arm or a sink excess."""
    place = ["model", "revision", "variant", "condition"]
    stores = ["/".join(key) for key in sinks[place].drop_duplicates().to_numpy()]
    ranked = sinks.dropna(subset="sink_excess")
    if ranked.empty or stores[0] not in data.stores:
        return None
    top = ranked.iloc[int(ranked["sink_excess"].to_numpy().argmax())]
    layer, head = int(top["layer"]), int(top["head"])
    store = open_dataset(data.stores[stores[0]])
    fields = parts_of(store.isel(layer=layer, head=head), store.attrs["window"][layer])
    return Head(f"layer {layer}, head {head}", fields)


def draw_run(part: SubFigure, head: Head, scales: Mapping[str, tuple[Normalize, str]]) -> None:
    """The parts of one run side by side, with the signs of the sum between them."""
    part.supylabel(head.name, fontsize=9)
    panels = part.subplots(1, len(PARTS), sharex=True, sharey=True)
    for ax, name in zip(panels, PARTS, strict=True):
        draw_part(ax, name, head.fields, scales[name])
        ax.set_title(f"{name}\n{AXES[name]}", fontsize=8.5)
        ax.set_xlabel("key", fontsize=8.5)
        if name in SIGNS:
            place: dict[str, Any] = {"fontsize": 18, "ha": "center", "va": "center"}
            ax.text(-0.14, 0.5, SIGNS[name], transform=ax.transAxes, **place)
    panels[0].set_ylabel("query")
    for pair in (panels[:2], panels[2:]):
        drawn = ScalarMappable(*scales[PARTS[list(panels).index(pair[0])]])
        bar = part.colorbar(drawn, ax=list(pair), location="bottom", shrink=0.7, aspect=35)
        bar.set_label("nats", fontsize=8.5)
        bar.ax.xaxis.set_major_locator(MaxNLocator(5))


@dataclass(frozen=True)
class Fields:
    """Mean fields of one head in nats, NaN where a query does not see a key.

    Attributes:
        queries: explained queries that have a row.
        parts: by name, each (query, key).
    """

    queries: np.ndarray
    parts: Mapping[str, np.ndarray]


def parts_of(head: xr.Dataset, window: int | None = None) -> Fields:
    """The identity of one head, by query and key.

    Args:
        head: ``relative`` (offset), ``denominator`` (input, cut) and ``residual`` (query, offset)
            of a component store, in nats. Source: docs/method.md, section 1.
        window: keys that a query of this layer sees, itself included, or None for all.
    """
    queries = np.asarray(head["query"].values)
    rows = np.flatnonzero(queries < SHOWN)
    queries = queries[rows]
    keys = np.arange(int(queries[-1]) + 1)
    offset = queries[:, None] - keys
    visible = (offset >= 0) & (offset < (window or np.inf))
    residual = head["residual"].values[rows[:, None], offset.clip(0)]
    relative = head["relative"].values[offset.clip(0)]
    log_z = head["denominator"].mean("input").values
    mask = np.broadcast_to((log_z[-1] - log_z[queries])[:, None], offset.shape)
    parts = {"relative": relative, "mask": mask, "residual": residual}
    parts["log attention"] = relative + mask + residual
    return Fields(queries, {n: np.where(visible, f, np.nan) for n, f in parts.items()})


def scales_of(heads: Sequence[Fields]) -> dict[str, tuple[Normalize, str]]:
    """Colours of each part: one scale for what is of any level, one about 0."""

    def values(names: Sequence[str]) -> np.ndarray:
        found = np.concatenate([head.parts[name].ravel() for head in heads for name in names])
        return found[np.isfinite(found)]

    level, about = values(PARTS[:2]), np.abs(values(PARTS[2:]))
    top = float(about.max(initial=1e-6))
    plain = (Normalize(*np.quantile(level, [0.01, 1.0])), "viridis")
    signed = (Normalize(-top, top), "RdBu_r")
    return dict(zip(PARTS, (plain, plain, signed, signed), strict=True))


def draw_part(ax: Axes, name: str, fields: Fields, scale: tuple[Normalize, str]) -> None:
    """One part by query and key."""
    norm, cmap = scale
    keys = np.arange(fields.parts[name].shape[1])
    ax.pcolormesh(keys, fields.queries, fields.parts[name], norm=norm, cmap=cmap, rasterized=True)
    ax.grid(visible=False)
    ax.set_aspect("equal")
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
