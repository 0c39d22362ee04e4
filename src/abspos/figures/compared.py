"""Several models beside each other: a column per run, on shared scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import scales, style, tidy

ABREAST = 4  # runs beside each other
GROWTH = 1.55  # most that a figure of several runs is taller than that of one
HEADING = 42  # characters to a line of a heading beside the legend of models
ALONG = 136  # characters of small titles beside each other, over the width of a figure
AROUND = 0.5  # inches around all panels


@dataclass(frozen=True)
class Beside:
    """Panels of several runs: a column for each, the same rows for all.

    Attributes:
        figure: that holds them.
        panels: by run, those of ``shown`` in order.
        lines: panels of each block of runs that share a vertical axis.
    """

    figure: Figure
    panels: list[list[Axes]]
    lines: list[list[Axes]]


def beside(
    found: Sequence[tuple[str, str]],
    heading: str,
    note: str,
    shown: Sequence[tuple[str, str]],
    height: float,
    *,
    abreast: int = 2,
    alone: float | None = None,
    sharex: bool | Literal["col"] = "col",
    sharey: bool | Literal["row"] = "row",
    named: Callable[[str, str], str] = tidy.title,
) -> Beside:
    """A figure whose height does not grow with every model: runs are columns, on shared scales.

    A single run has its panels side by side; more than ABREAST runs go into further blocks. Panels
    of several runs are lower where they would make the figure more than GROWTH times as tall.

    Args:
        found: (model, revision) of each column.
        heading: what is shown, above all panels.
        note: N, intervals and summaries, below all panels.
        shown: title and label of the vertical axis, with its unit, of each panel of a run.
        height: of one panel, in inches.
        abreast: panels beside each other where there is one run.
        alone: inches of all panels of one run, where its figure is another.
        sharex, sharey: as of ``Figure.subplots``, the latter where there are several runs.
        named: gives the title of a run.
    """
    width = min(abreast, len(shown))
    lines = -(-len(shown) // width)
    whole = height * lines + AROUND
    if len(found) == 1:
        figure = style.sheet(f"{heading}\n{named(*found[0])}", note, whole)
        grid = figure.subplots(lines, width, squeeze=False, sharex=sharex)
        panels = [list(grid.flat[: len(shown)])]
        for ax in grid.flat[len(shown) :]:
            ax.set_axis_off()
        for ax, (title, unit) in zip(panels[0], shown, strict=True):
            ax.set_title(title)
            ax.set_ylabel(unit)
        return Beside(figure, panels, [[ax] for ax in panels[0]])
    blocks = [found[i : i + ABREAST] for i in range(0, len(found), ABREAST)]
    most = GROWTH * ((alone or whole) + style.MARGIN) - style.MARGIN - AROUND
    total = len(blocks) * min(height * len(shown), most)
    figure = style.sheet(fill(heading, HEADING), note + tidy.left_out(found), total + AROUND)
    width = max(map(len, blocks))
    shape = (len(shown) * len(blocks), width)
    grid = figure.subplots(*shape, squeeze=False, sharex=sharex, sharey=sharey)
    panels, shared = [], []
    for number, block in enumerate(blocks):
        rows = grid[number * len(shown) : (number + 1) * len(shown)]
        for line, (title, unit) in zip(rows, shown, strict=True):
            line[0].set_ylabel("\n".join(filter(None, (title, unit))), fontsize=8.5)
            shared.append(list(line[: len(block)]))
            for ax in line[len(block) :]:
                ax.set_axis_off()
        for ax, run in zip(rows[0], block, strict=False):
            ax.set_title(named(*run))
        panels += [list(column[: len(shown)]) for column in rows.T[: len(block)]]
    return Beside(figure, panels, shared)


def wrapped(ax: Axes, title: str) -> str:
    """A small title in lines that end before the next panel begins."""
    grid = ax.get_gridspec()
    return fill(title, ALONG // (grid.ncols if grid else 1))


def lines(
    sheet: Beside, tables: Sequence[Sequence[Any]], shown: Sequence[Any]
) -> Iterator[tuple[list[Axes], list[Any], Any]]:
    """Panels that share a vertical axis, their tables, and what they show.

    Args:
        sheet: the panels.
        tables: by run, those of its panels.
        shown: by panel of a run.
    """
    for number, axes in enumerate(sheet.lines):
        block, place = divmod(number, len(shown))
        yield axes, [own[place] for own in tables[block * ABREAST :][: len(axes)]], shown[place]


@dataclass(frozen=True)
class Curves:
    """Curves of one panel of each run.

    Attributes:
        title: what they show.
        unit: of their values.
        wanted: columns and values that choose their rows.
    """

    title: str
    unit: str
    wanted: Mapping[str, Any] = field(default_factory=dict)


def draw(
    found: Sequence[tuple[str, str]],
    heading: str,
    note: str,
    rows: pd.DataFrame,
    shown: Sequence[Curves],
    axes: tuple[str, str],
    scale: Callable[[Sequence[Axes], Sequence[pd.DataFrame]], None],
    last: Callable[[Axes], None],
    alone: float,
) -> Figure:
    """Panels of all runs, those of a line on one scale.

    Args:
        found: (model, revision) of each column.
        heading: above all panels.
        note: below all panels.
        rows: of all runs and variants.
        shown: panels of each run, from above.
        axes: columns of the horizontal and of the vertical axis.
        scale: sets the vertical scale of a line of panels, given the rows of each.
        last: sets the horizontal axis of the lowest panel.
        alone: inches of all panels of the figure of one run.
    """
    looks = style.variants(list(rows["variant"].unique()))
    titles = [(one.title, one.unit) for one in shown]
    sheet = beside(found, heading, note, titles, 1.6, alone=alone)
    tables: list[list[pd.DataFrame]] = []
    for run, panels in zip(found, sheet.panels, strict=True):
        of_run = tidy.of(rows, run)
        tables.append([tidy.of(of_run, **one.wanted) for one in shown])
        for ax, own in zip(panels, tables[-1], strict=True):
            if own.empty:
                style.absent(ax, "not measured")
                continue
            for name, look in looks.items():
                line = tidy.of(own, variant=name)
                if not line.empty:
                    style.curve(ax, line, *axes, look, name)
            scales.zero(ax)
            if axes[0] == "layer":
                scales.shade(ax, tidy.hybrid_sliding(own))
        last(panels[-1])
    for axes_of, of_axes, _ in lines(sheet, tables, shown):
        scale(axes_of, of_axes)
    style.key(sheet.figure, looks, columns=3)
    return sheet.figure
