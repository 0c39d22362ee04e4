"""Curves of several models beside each other: a column per run, a line per variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import scales, style, tidy


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
    """
    looks = style.variants(list(rows["variant"].unique()))
    titles = [(one.title, one.unit) for one in shown]
    sheet = style.beside(found, heading, note, titles, 1.5)
    tables: list[list[pd.DataFrame]] = []
    for run, panels in zip(found, sheet.panels, strict=True):
        of_run = tidy.of(rows, run)
        tables.append([tidy.of(of_run, **one.wanted) for one in shown])
        for ax, own in zip(panels, tables[-1], strict=True):
            for name, look in looks.items():
                line = tidy.of(own, variant=name)
                if not line.empty:
                    style.curve(ax, line, *axes, look, name)
            scales.zero(ax)
            scales.shade(ax, tidy.hybrid_sliding(own))
        last(panels[-1])
    for number, axes_of in enumerate(sheet.lines):
        block, place = divmod(number, len(shown))
        scale(axes_of, [t[place] for t in tables[block * style.ABREAST :][: len(axes_of)]])
    style.key(sheet.figure, looks, columns=3)
    return sheet.figure
