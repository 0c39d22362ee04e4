"""Estimates with intervals on one axis: lenses and models as marks beside each other.

A single model has the looks of the lenses. Of several each has its colour, and the probability lens
hollow marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import compared, scales, style, tidy

ROW, MODEL = 0.26, 0.07  # inches of a row, and for each further model in it
ROOM = 5.0  # per cent, outside the limits of an axis
ALONE = 68  # characters to a line of a heading beside the legend of lenses
APART = 0.64  # share of a row, from the first of its marks to the last


@dataclass(frozen=True)
class Mark:
    """One run in one lens.

    Attributes:
        run: model and revision.
        lens: of its numbers.
        look: of its marks.
        place: within a row, from -0.5 to 0.5.
    """

    run: tuple[str, str]
    lens: str
    look: style.Look
    place: float


def of(found: Sequence[tuple[str, str]]) -> Iterator[Mark]:
    """The marks of some runs, in the order of a row."""
    colors, number = style.models(found), len(found) * len(style.LENSES)
    pairs = [(run, lens) for run in found for lens in style.LENSES]
    for place, (run, lens) in enumerate(pairs):
        look = style.LENS_LOOKS[lens]
        if len(found) > 1:
            look = replace(look, color=colors[run])
        yield Mark(run, lens, look, APART * ((place + 0.5) / number - 0.5))


def key(figure: Figure, found: Sequence[tuple[str, str]], columns: int | None = None) -> None:
    """The legend: lenses, and where there are several, models by colour."""
    lenses = {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()}
    colors = style.models(found) if len(found) > 1 else {}
    named = {tidy.title(*run): style.Look(color) for run, color in colors.items()}
    style.key(figure, named | lenses, columns or (3 if named else None))


def heading(text: str, found: Sequence[tuple[str, str]]) -> str:
    """A heading beside the legend, and below it the run where there is one."""
    if len(found) > 1:
        return fill(text, compared.HEADING)
    return f"{fill(text, ALONE)}\n{tidy.title(*found[0])}"


def height(rows: int, found: Sequence[tuple[str, str]]) -> float:
    """Inches of a panel with so many rows, and with its axis."""
    return (ROW + MODEL * (len(found) - 1)) * max(rows, 3) + 0.6


def draw(
    ax: Axes,
    table: pd.DataFrame,
    found: Sequence[tuple[str, str]],
    column: str,
    names: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> None:
    """Estimates in per cent, every run and lens of a row one below the other.

    Args:
        ax: the panel.
        table: ``estimate``, ``ci_low`` and ``ci_high`` by run, lens and row.
        found: runs of the figure.
        column: of the names of rows.
        names: of the rows, from above.
        limits: of the axis, in per cent.
    """
    ax.grid(visible=False, axis="y")
    if len(found) > 1:
        for place in range(0, len(names), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="#000000", alpha=0.04, linewidth=0, zorder=0)
    for mark in of(found):
        for one in tidy.of(table, mark.run, lens=mark.lens).to_dict("records"):
            middle, low, high = (100 * float(one[c]) for c in ("estimate", "ci_low", "ci_high"))
            y = names.index(one[column]) + mark.place
            style.estimate(ax, y, (middle, low, high), mark.look, limits)
    if limits is not None:
        shown = pd.concat([tidy.of(table, run) for run in found])
        ends = 100 * shown[["ci_low", "ci_high"]].astype(float)
        ax.set_xlim(limits[0] - ROOM, limits[1] + ROOM)
        scales.cut(ax, ends, axis="x", unit=" %")


def name(ax: Axes, names: Sequence[str]) -> None:
    """Names of the rows of a panel, from above."""
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_ylim(len(names) - 0.5, -0.5)
