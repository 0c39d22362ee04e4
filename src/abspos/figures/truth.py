"""Synthetic models: every estimate with its interval against the planted truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from abspos.figures import marks, scales, style, tidy

COLUMNS: Mapping[str, Sequence[str]] = {
    "mask": ("mask",),
    "residual stream": ("residual",),
    "its parts": ("row", "sink", "rest", "pattern"),
}
#: Decades below the largest energy from which on the scale is linear.
DECADES = 3


@style.figure(
    tables=("truth", "numbers"),
    category="Calibration",
    label="Truth: estimates against the planted truth",
    caption=(
        "Synthetic models, whose truth is known: every estimate with its interval against the "
        "truth, both on one scale. Small marks are single heads in every arm and bin of queries, "
        "large ones models (median head, mean of layers). Identical arms are counted once; "
        "controls on fewer inputs are left out. Hollow: the interval does not cover the truth. "
        "Right: the claims' numbers (round median head, square mean head). Several models share "
        "the axes, each in its colour. The title of each panel counts the intervals of heads or "
        "numbers that cover the truth, the legend those of each model's heads."
    ),
)
def draw(data: style.Data) -> Figure:
    """Lenses as rows, components and claims as columns; several models on one axis, by colour."""
    truth, numbers = (
        whole(data.tables[name]).dropna(subset=["covered", "estimate"])
        for name in ("truth", "numbers")
    )
    found = tidy.runs(truth)
    note = (
        f"{tidy.inputs(truth)}; bars: {data.level} intervals, hollow where "
        "they miss the truth; grey: estimate = truth; small marks heads, large marks models"
    )
    heading = "Estimate against planted truth"
    if truth.empty:
        return style.empty(heading, "no synthetic model in this study")
    colors = style.models(found) if len(found) > 1 else {}
    figure = style.sheet(marks.heading(heading, found), note + tidy.left_out(found), 6.4)
    panels = figure.subplots(2, len(COLUMNS) + 1)
    for row, lens in zip(panels, style.LENSES, strict=True):
        of_lens = tidy.of(truth, lens=lens)
        for ax, (name, components) in zip(row, COLUMNS.items(), strict=False):
            rows = of_lens[of_lens["component"].isin(components)]
            energies(ax, rows, name, style.UNITS[lens], colors)
        row[0].set_ylabel(f"{lens} lens\nestimate [{style.UNITS[lens]}]")
        own = numbers[(numbers["lens"] == lens) & (numbers["claim"] != "both-present")]
        ratios(row[-1], own, colors)
    heads = once(truth[truth["head"].notna()])
    looks = {
        f"{tidy.title(*run)}: heads, {share(tidy.of(heads, run))}": style.Look(color)
        for run, color in colors.items()
    }
    bare = {
        name: replace(look, color=style.LINE) if colors else look
        for name, look in style.COMPONENTS.items()
    }
    style.key(figure, looks | bare, columns=3 if colors else None)
    return figure


def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of arms that have all inputs: controls on a few are left out."""
    return rows[rows["n_inputs"] == rows["n_inputs"].max()]


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of arms that agree in truth, estimate and interval, once."""
    place = [*tidy.RUN, "lens", "bin", "component", "layer", "head"]
    same = [*place, "truth", "estimate", "ci_low", "ci_high"]
    return rows.drop_duplicates(same)


def share(rows: pd.DataFrame) -> str:
    """How many intervals hold the truth, as text."""
    return f"{int(rows['covered'].sum())} of {len(rows)} hold it"


def energies(
    ax: Axes, rows: pd.DataFrame, name: str, unit: str, colors: Mapping[tuple[str, str], str]
) -> None:
    """Heads and models of some components on a symmetric scale of energies."""
    heads = once(rows[rows["head"].notna()])
    models = once(rows[rows["layer"].isna() & (rows["summary"] == "median")])
    for component, look in style.COMPONENTS.items():
        for one, size in ((heads, 2.2), (models, 6.0)):
            by_model(ax, tidy.of(one, component=component), look, size, colors)
    scale(ax, heads)
    ax.set_title(f"{name}: {share(heads)}")
    ax.set_xlabel(f"truth [{unit}]")


def by_model(
    ax: Axes,
    rows: pd.DataFrame,
    look: style.Look,
    size: float,
    colors: Mapping[tuple[str, str], str],
) -> None:
    """Points in their look, of several models in the colours of these."""
    for run, color in colors.items():
        points(ax, tidy.of(rows, run), replace(look, color=color), size)
    if not colors:
        points(ax, rows, look, size)


def ratios(ax: Axes, rows: pd.DataFrame, colors: Mapping[tuple[str, str], str]) -> None:
    """The claims' numbers on a linear symmetric scale."""
    if rows.empty:
        style.absent(ax, "no claim of this study\nhas a number that is known")
        return
    rows = rows.drop_duplicates([*tidy.RUN, "truth", "estimate", "ci_low", "ci_high"])
    for summary, filled in (("median", True), ("mean", False)):
        look = style.Look(style.BLACK if filled else "#7F7F7F", "-", "o" if filled else "D")
        by_model(ax, tidy.of(rows, summary=summary), look, 4.0, colors)
    ends = rows[["truth", "estimate"]].to_numpy(float)
    low, high = min(0.0, np.nanmin(ends)), np.nanmax(ends)
    room = 0.15 * (high - low or 1.0)
    ax.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    diagonal(ax)
    scales.cut(ax, rows)
    ax.set_title(f"claims: {share(rows)}")
    ax.set_xlabel("truth [ratio, slope]")


def points(ax: Axes, rows: pd.DataFrame, look: style.Look, size: float) -> None:
    """Estimates with intervals; hollow where the interval misses the truth."""
    ax.vlines(
        rows["truth"],
        rows["ci_low"],
        rows["ci_high"],
        color=look.color,
        linewidth=0.6 if size < 5 else 1.4,
        alpha=0.6,
    )
    for holds in (True, False):
        one = rows[rows["covered"].astype(bool) == holds]
        mark = style.Look(look.color, "none", look.marker, filled=holds).line()
        ax.plot(one["truth"], one["estimate"], markersize=size, zorder=3, **mark)


def scale(ax: Axes, rows: pd.DataFrame) -> None:
    """Set one scale for both axes: logarithmic, and linear around 0.

    A truth is not negative, an estimate may be: its axis reaches down to all of them, and states
    how far intervals reach below.
    """
    values = np.abs(rows[["truth", "estimate"]].to_numpy(float))
    largest = float(np.nanmax(values)) if values.size and np.nanmax(values) > 0 else 1.0
    threshold = scales.decade(largest) / 10 ** (DECADES - 1)
    lowest = float(np.nanmin(rows["estimate"])) if len(rows) else 0.0
    marks = [scales.decade(largest) / 10.0**k for k in range(DECADES)]
    for which, shown in ((ax.xaxis, marks[::2]), (ax.yaxis, [*marks, *(-m for m in marks)])):
        getattr(ax, f"set_{which.axis_name}scale")("symlog", linthresh=threshold, linscale=0.6)
        which.set_major_locator(FixedLocator([0.0, *shown]))
        which.set_minor_locator(NullLocator())
    ax.set(xlim=(-0.4 * threshold, 3 * largest))
    ax.set(ylim=(1.5 * min(lowest, -0.4 * threshold), 3 * largest))
    diagonal(ax)
    scales.cut(ax, rows)


def diagonal(ax: Axes) -> None:
    """Where estimate and truth agree: a straight line, for both axes have one scale."""
    ends, room = ax.get_xlim(), ax.get_ylim()
    ax.plot(ends, ends, color=style.LINE, linewidth=0.8, zorder=0)
    ax.set(xlim=ends, ylim=room)
