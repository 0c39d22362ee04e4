"""Layer by head maps of sink excess and of residual energy, standard attention under BOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abspos.figures import compared, style, tidy

DECADES = 5  # that a colour scale spans at most


@style.figure(
    tables=("energies", "sinks"),
    category="Heads",
    label="Head maps: sink excess and residual energy",
    caption=(
        "Every head of the standard model under BOS, early queries: sink excess, the attention on "
        "position 0 beyond what the mask alone predicts, and residual energy in the log and in "
        "the probability lens, on logarithmic colour scales. Models stand side by side on one "
        "scale. Energies are unbiased and may be negative; a cross marks these. A bar at the left "
        "edge marks sliding layers of a model that has others too."
    ),
)
def draw(data: style.Data) -> Figure:
    """Three maps of each run, layers as rows and heads as columns; a map has one scale."""
    energies, sinks = (
        tidy.base(data.tables[name], variant="standard") for name in ("energies", "sinks")
    )
    energies = tidy.of(energies, bin="early", component="residual")
    found = tidy.runs(data.tables["energies"], data.tables["sinks"])
    sliding = any(tidy.hybrid_sliding(tidy.of(sinks, run)) for run in found)
    note = (
        f"{tidy.inputs(energies, sinks)}, standard, {tidy.under(sinks)}, early queries; "
        "estimates of single heads (intervals: energies.csv, sinks.csv); ✕ marks estimates of 0 or "
        "less" + "; bars at the left edge: sliding layers of models that have others too" * sliding
    )
    heading = "Sink excess and residual-stream energy of every head"
    maps = [Map("sink excess", "excess attention on position 0", sinks, "sink_excess", log=False)]
    maps += [
        Map(f"R, {lens} lens", style.UNITS[lens], tidy.of(energies, lens=lens), "energy", log=True)
        for lens in style.LENSES
    ]
    maps = [one for one in maps if one.values.size]
    if not maps:
        return style.empty(heading, "no standard arm with bos or no-bos in this study")
    layers = 1 + int(max(one.rows["layer"].max() for one in maps))
    sheet = compared.beside(
        found,
        heading,
        note,
        [(one.title, "layer") for one in maps],
        min(6.0, 1.4 + 0.13 * layers),
        abreast=3,
        sharex=False,
        sharey=False,
    )
    for run, panels in zip(found, sheet.panels, strict=True):
        for ax, one in zip(panels, maps, strict=True):
            own = tidy.hybrid_sliding(tidy.of(sinks, run))
            draw_map(ax, one, tidy.of(one.rows, run), own, 20 if len(found) == 1 else 10)
    for line, one in zip(sheet.lines, cycle(maps)):
        bar = sheet.figure.colorbar(
            ScalarMappable(*one.scale),
            ax=line,
            location="bottom" if len(found) == 1 else "right",
            shrink=0.9,
            aspect=25,
            ticks=None if one.log else MaxNLocator(4),
        )
        bar.set_label(one.unit, fontsize=8.5)
    return sheet.figure


@dataclass(frozen=True)
class Map:
    """One map of all runs.

    Attributes:
        title: what it shows.
        unit: of its values.
        rows: of all runs, by layer and head.
        column: of the values.
        log: whether the scale is logarithmic; values of 0 or less are then blank and crossed.
    """

    title: str
    unit: str
    rows: pd.DataFrame
    column: str
    log: bool

    @property
    def values(self) -> np.ndarray:
        """Its finite values."""
        found = self.rows.get(self.column, pd.Series(dtype=float)).to_numpy(dtype=float)
        return found[np.isfinite(found)]

    @property
    def scale(self) -> tuple[Normalize, str]:
        """Colours, the same for all runs."""
        return scale(self.values, self.log)


def draw_map(ax: Axes, one: Map, rows: pd.DataFrame, sliding: Sequence[int], most: int) -> None:
    """The map of one run, with at most so many layers named."""
    ax.grid(visible=False)
    table = rows.pivot_table(index="layer", columns="head", values=one.column, dropna=False)
    grid = table.to_numpy(dtype=float)
    if not np.isfinite(grid).any():
        style.absent(ax, "no standard arm with bos or no-bos")
        return
    blank = ~np.isfinite(grid) | ((grid <= 0) if one.log else np.zeros(grid.shape, bool))
    norm, cmap = one.scale
    title, unit = ax.get_title(), ax.get_ylabel()
    sns.heatmap(
        table,
        mask=blank,
        norm=norm,
        cmap=cmap,
        ax=ax,
        cbar=False,
        rasterized=False,
        # To see whether labels overlap, seaborn draws the whole figure for each of them.
        xticklabels=False,
        yticklabels=False,
    )
    name(ax.xaxis, table.columns, 10)
    name(ax.yaxis, table.index, most)
    rows_at, columns_at = np.nonzero(blank & np.isfinite(grid))
    ax.scatter(columns_at + 0.5, rows_at + 0.5, marker="x", s=12, linewidths=0.8, color="#505050")
    bar: dict[str, Any] = {
        "color": style.GREEN,
        "linewidth": 5,
        "transform": ax.get_yaxis_transform(),
    }
    for layer in sliding:
        ax.plot([0, 0], [layer + 0.05, layer + 0.95], **bar)
    ax.set(title=title, xlabel="head", ylabel=unit)
    ax.tick_params(rotation=0)


def scale(seen: np.ndarray, log: bool) -> tuple[Normalize, str]:
    """Colours of finite values: by magnitude on a log scale, or about zero."""
    if not log:
        top = float(max(np.abs(seen).max(), 1e-12))
        return Normalize(-top, top), "RdBu_r"
    positive = seen[seen > 0]
    top = float(positive.max()) if positive.size else 1.0
    low = float(positive.min()) if positive.size else 0.1
    return LogNorm(max(min(low, top / 2), top / 10**DECADES), top), "viridis"


def name(axis: Axis, labels: pd.Index, most: int) -> None:
    """Name at most so many of the rows or columns of a map, at equal distances."""
    step = max(1, -(-len(labels) // most))
    axis.set_ticks(np.arange(0, len(labels), step) + 0.5, labels=list(map(str, labels[::step])))
