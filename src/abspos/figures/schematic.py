"""One real head: its mean log attention as the sum of relative, mask and residual-stream parts."""

from __future__ import annotations

from collections.abc import Mapping
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
from abspos.figures import style, tidy

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
        "one colour scale, mask and residual another, centred at 0. The head was chosen on "
        "the same inputs, so the panels are an illustration and not estimates."
    ),
)
def draw(data: style.Data) -> Figure:
    """Four heatmaps of each run with the signs of the sum between them."""
    sinks = tidy.base(data.tables["sinks"], variant="standard")
    found = tidy.runs(data.tables["sinks"])
    note = (
        f"{tidy.inputs(sinks)}, standard, {tidy.under(sinks)}; means over inputs, no intervals; "
        "nats; white: keys in the future"
    )
    return style.per_run(
        found,
        "One head: log attention = relative + mask + residual",
        note,
        3.2,
        lambda part, run: draw_run(part, tidy.of(sinks, run), data),
    )


def draw_run(part: SubFigure, sinks: pd.DataFrame, data: style.Data) -> None:
    """The head with the largest sink excess of one run."""
    place = ["model", "revision", "variant", "condition"]
    stores = ["/".join(key) for key in sinks[place].drop_duplicates().to_numpy()]
    ranked = sinks.dropna(subset="sink_excess")
    if ranked.empty or stores[0] not in data.stores:
        style.absent(part.subplots(), "no standard arm with bos or no-bos in this study")
        return
    top = ranked.iloc[int(ranked["sink_excess"].to_numpy().argmax())]
    layer, head = int(top["layer"]), int(top["head"])
    fields = parts_of(open_dataset(data.stores[stores[0]]).isel(layer=layer, head=head))
    part.supylabel(f"layer {layer}, head {head}", fontsize=9)
    panels = part.subplots(1, len(PARTS), sharex=True, sharey=True)
    scales = scales_of(fields)
    for ax, name in zip(panels, PARTS, strict=True):
        draw_part(ax, name, fields, scales[name])
    panels[0].set_ylabel("query")
    for pair in (panels[:2], panels[2:]):
        drawn = ScalarMappable(*scales[PARTS[list(panels).index(pair[0])]])
        bar = part.colorbar(drawn, ax=list(pair), location="bottom", shrink=0.7, aspect=35)
        bar.set_label("nats", fontsize=8.5)
        bar.ax.xaxis.set_major_locator(MaxNLocator(5))


@dataclass(frozen=True)
class Fields:
    """Mean fields of one head in nats, NaN where a key lies in the future.

    Attributes:
        queries: explained queries that have a row.
        parts: by name, each (query, key).
    """

    queries: np.ndarray
    parts: Mapping[str, np.ndarray]


def parts_of(head: xr.Dataset) -> Fields:
    """The identity of one head, by query and key.

    Args:
        head: ``relative`` (offset), ``denominator`` (input, cut) and ``residual`` (query, offset)
            of a component store, in nats. Source: docs/method.md, section 1.
    """
    queries = np.asarray(head["query"].values)
    rows = np.flatnonzero(queries < SHOWN)
    queries = queries[rows]
    keys = np.arange(int(queries[-1]) + 1)
    offset = queries[:, None] - keys
    visible = offset >= 0
    residual = head["residual"].values[rows[:, None], offset.clip(0)]
    relative = head["relative"].values[offset.clip(0)]
    log_z = head["denominator"].mean("input").values
    mask = np.broadcast_to((log_z[-1] - log_z[queries])[:, None], offset.shape)
    parts = {"relative": relative, "mask": mask, "residual": residual}
    parts["log attention"] = relative + mask + residual
    return Fields(queries, {n: np.where(visible, f, np.nan) for n, f in parts.items()})


def scales_of(fields: Fields) -> dict[str, tuple[Normalize, str]]:
    """Colours of each part: one scale for what is of any level, one about 0."""
    level = np.concatenate([fields.parts[n].ravel() for n in PARTS[:2]])
    about = np.abs(np.concatenate([fields.parts[n].ravel() for n in PARTS[2:]]))
    level, about = level[np.isfinite(level)], about[np.isfinite(about)]
    top = float(about.max(initial=1e-6))
    plain = (Normalize(*np.quantile(level, [0.01, 1.0])), "viridis")
    signed = (Normalize(-top, top), "RdBu_r")
    return dict(zip(PARTS, (plain, plain, signed, signed), strict=True))


def draw_part(ax: Axes, name: str, fields: Fields, scale: tuple[Normalize, str]) -> None:
    """One part by query and key, with the sign that stands before it."""
    norm, cmap = scale
    keys = np.arange(fields.parts[name].shape[1])
    ax.pcolormesh(keys, fields.queries, fields.parts[name], norm=norm, cmap=cmap, rasterized=True)
    ax.grid(visible=False)
    ax.set_aspect("equal")
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.set_title(f"{name}\n{AXES[name]}", fontsize=8.5)
    ax.set_xlabel("key", fontsize=8.5)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if name in SIGNS:
        style_of_sign: dict[str, Any] = {"fontsize": 18, "ha": "center", "va": "center"}
        ax.text(-0.14, 0.5, SIGNS[name], transform=ax.transAxes, **style_of_sign)
