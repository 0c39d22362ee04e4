"""Each control of position beside the effect that it controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import marks, scales, style, tidy

NUMBER = "difference share"


@style.figure(
    tables=("controlled_effects",),
    category="Controls",
    label="Controls: each control beside the effect it controls",
    caption=(
        "Change of each reading of the residual-stream component of early queries from its value "
        "under bos: energy of the difference, as a share, in the median head. Above: replacements "
        "at position 0. Below: the controls: the same token at a later position, all position ids "
        "shifted (which must have no effect beyond rounding), the text shuffled. Several models "
        "share a row, each in its colour. Bars are intervals over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """Effects and controls as rows, readings as columns, lenses and models as marks."""
    table = tidy.of(data.tables["controlled_effects"], number=NUMBER, summary="median")
    found = tidy.runs(data.tables["controlled_effects"])
    note = f"{tidy.inputs(table)}, variant standard, early queries, median head; "
    note += f"bars: {data.level} intervals"
    heading = "Controls of position: change of the residual-stream component"
    if table.empty:
        return style.empty(heading, "no control of position in this study")
    conditions = list(dict.fromkeys(table["condition"]))
    figure = style.sheet(
        marks.heading(heading, found),
        note + tidy.left_out(found),
        marks.height(len(conditions), found) + 0.5,
    )
    panels = figure.subplots(1, len(style.READINGS), sharey=True)
    for ax, reading in zip(panels, style.READINGS, strict=True):
        draw_panel(ax, tidy.of(table, reading=reading), found, conditions)
        ax.set_title(reading)
        ax.set_xlabel("difference from bos\n(% of the reading's energy)")
    marks.name(panels[0], conditions)
    marks.key(figure, found)
    return figure


def draw_panel(ax: Axes, table: pd.DataFrame, found: tidy.Runs, conditions: Sequence[str]) -> None:
    """One reading: every condition, effects above controls."""
    effects = len(set(table.loc[table["role"] == "effect", "condition"]))
    scales.zero(ax, "x")
    ax.axhline(effects - 0.5, color=style.LINE, linewidth=0.8, linestyle=":")
    marks.draw(ax, table, found, "condition", conditions)
