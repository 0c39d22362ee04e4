"""Each control of position beside the effect that it controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import scales, style, tidy

NUMBER = "difference share"


@style.figure(
    tables=("controlled_effects",),
    category="Controls",
    label="Controls: each control beside the effect it controls",
    caption=(
        "Change of each reading of the residual-stream component of early queries from its value "
        "under bos: energy of the difference, as a share, in the median head. Above: replacements "
        "at position 0. Below: the controls: the same token at a later position, all position ids "
        "shifted (which must have no effect beyond rounding), the text shuffled. Bars are "
        "intervals over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """Effects and controls as rows, readings as columns, lenses as marks."""
    table = tidy.of(data.tables["controlled_effects"], number=NUMBER, summary="median")
    found = tidy.runs(data.tables["controlled_effects"])
    note = f"{tidy.inputs(table)}, variant standard, early queries, median head; "
    note += f"bars: {data.level} intervals"
    heading = "Controls of position: change of the residual-stream component"
    if table.empty:
        return style.empty(heading, note, "no control of position in this study")
    conditions = list(dict.fromkeys(table["condition"]))
    unit = "difference from bos\n(% of the reading's energy)"
    sheet = style.beside(
        found,
        heading,
        note,
        [(reading, "") for reading in style.READINGS],
        0.26 * len(conditions) + 0.6,
        abreast=3,
        sharex=True,
    )
    for run, panels in zip(found, sheet.panels, strict=True):
        for ax, reading in zip(panels, style.READINGS, strict=True):
            draw_panel(ax, tidy.of(table, run, reading=reading), conditions)
        for ax in panels if len(found) == 1 else panels[-1:]:
            ax.set_xlabel(unit)
    for line in sheet.lines:
        line[0].set_yticks(range(len(conditions)), conditions, fontsize=8)
        line[0].set_ylim(len(conditions) - 0.5, -0.5)
    style.key(sheet.figure, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
    return sheet.figure


def draw_panel(ax: Axes, table: pd.DataFrame, conditions: Sequence[str]) -> None:
    """One reading of one run: both lenses of every condition, one below the other."""
    effects = len(set(table.loc[table["role"] == "effect", "condition"]))
    scales.zero(ax, "x")
    ax.axhline(effects - 0.5, color=style.LINE, linewidth=0.8, linestyle=":")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(table, lens=lens).to_dict("records"):
            low, middle, high = (100 * float(one[c]) for c in ("ci_low", "estimate", "ci_high"))
            y = conditions.index(one["condition"]) + shift
            style.estimate(ax, y, (middle, low, high), style.LENS_LOOKS[lens])
