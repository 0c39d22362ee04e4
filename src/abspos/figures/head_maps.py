"""Layer by head maps of sink excess and of residual energy, standard attention under BOS."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from abspos.figures import style, tidy

DECADES = 5  # that a colour scale spans at most


@style.figure(
    tables=("energies", "sinks"),
    category="Heads",
    label="Head maps: sink excess and residual energy",
    caption=(
        "Every head of the standard model under BOS, early queries. Left: sink excess, the "
        "attention on position 0 beyond what the mask alone predicts. Middle and right: residual "
        "energy in the log and in the probability lens, on logarithmic colour scales; energies "
        "are unbiased and may be negative; a cross marks these."
    ),
)
def draw(data: style.Data) -> Figure:
    """Three maps per run, layers as rows and heads as columns."""
    energies, sinks = (
        tidy.base(data.tables[name], variant="standard") for name in ("energies", "sinks")
    )
    energies = tidy.of(energies, bin="early", component="residual")
    found = tidy.runs(data.tables["energies"], data.tables["sinks"])
    layers = int(max([0, *sinks.get("layer", []), *energies.get("layer", [])])) + 1
    note = (
        f"{tidy.inputs(energies, sinks)}, standard, {tidy.under(sinks)}, early queries; "
        "estimates of single heads (intervals: energies.csv, sinks.csv); ✕ marks estimates of 0 or "
        "less"
    )
    return style.per_run(
        found,
        "Sink excess and residual-stream energy of every head",
        note,
        min(8.0, 1.6 + 0.17 * layers),
        lambda part, run: draw_run(part, tidy.of(energies, run), tidy.of(sinks, run)),
    )


def draw_run(part: SubFigure, energies: pd.DataFrame, sinks: pd.DataFrame) -> None:
    """The three maps of one run."""
    panels = part.subplots(1, 3)
    draw_map(
        panels[0], sinks, "sink_excess", "sink excess", "excess attention on position 0", log=False
    )
    for ax, lens in zip(panels[1:], style.LENSES, strict=True):
        rows = tidy.of(energies, lens=lens)
        draw_map(ax, rows, "energy", f"residual energy, {lens} lens", style.UNITS[lens], log=True)


def draw_map(
    ax: Axes, rows: pd.DataFrame, value: str, heading: str, unit: str, *, log: bool
) -> None:
    """One map; where ``log``, values of 0 or less are blank and crossed."""
    table = rows.pivot_table(index="layer", columns="head", values=value, dropna=False)
    grid = table.to_numpy(dtype=float)
    if not np.isfinite(grid).any():
        style.absent(ax, "no standard arm with bos or no-bos in this study")
        return
    blank = ~np.isfinite(grid) | ((grid <= 0) if log else np.zeros(grid.shape, bool))
    norm, cmap = scale(grid, log)
    sns.heatmap(
        table,
        mask=blank,
        norm=norm,
        cmap=cmap,
        ax=ax,
        cbar=True,
        rasterized=False,
        xticklabels=ticks(table.shape[1], 10),
        yticklabels=ticks(table.shape[0], 20),
        cbar_kws={
            "label": unit,
            "location": "bottom",
            "shrink": 0.9,
            "aspect": 25,
            "ticks": None if log else MaxNLocator(4),
        },
    )
    rows_at, columns_at = np.nonzero(blank & np.isfinite(grid))
    ax.scatter(columns_at + 0.5, rows_at + 0.5, marker="x", s=12, linewidths=0.8, color="#505050")
    ax.set(title=heading, xlabel="head", ylabel="layer")
    ax.tick_params(rotation=0)
    ax.grid(visible=False)


def scale(grid: np.ndarray, log: bool) -> tuple[Normalize, str]:
    """Colours: by magnitude on a log scale, or about zero where values have either sign."""
    seen = grid[np.isfinite(grid)]
    if not log:
        top = float(max(np.abs(seen).max(), 1e-12))
        return Normalize(-top, top), "RdBu_r"
    positive = seen[seen > 0]
    top = float(positive.max()) if positive.size else 1.0
    low = float(positive.min()) if positive.size else 0.1
    return LogNorm(max(min(low, top / 2), top / 10**DECADES), top), "viridis"


def ticks(number: int, most: int) -> int:
    """Every how manieth label is shown so that there are at most so many."""
    return max(1, -(-number // most))
