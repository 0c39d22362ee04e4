"""Each control of position beside the effect that it controls."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure

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
    return style.per_run(
        found, heading, note, 3.2, lambda part, run: draw_run(part, tidy.of(table, run))
    )


def draw_run(part: SubFigure, table: pd.DataFrame) -> None:
    """One run: a panel per reading."""
    if table.empty:
        style.absent(part.subplots(), "no control of position in this study")
        return
    rows = list(dict.fromkeys(table["condition"]))
    effects = len(set(table.loc[table["role"] == "effect", "condition"]))
    panels = part.subplots(1, len(style.READINGS), sharex=True, sharey=True)
    for ax, (reading, look) in zip(panels, style.READINGS.items(), strict=True):
        scales.zero(ax, "x")
        ax.axhline(effects - 0.5, color=style.LINE, linewidth=0.8, linestyle=":")
        for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
            for one in tidy.of(table, reading=reading, lens=lens).to_dict("records"):
                low, middle, high = (100 * float(one[c]) for c in ("ci_low", "estimate", "ci_high"))
                y = rows.index(one["condition"]) + shift
                style.estimate(ax, y, (middle, low, high), style.LENS_LOOKS[lens])
        ax.set_title(reading, color=look.color)
        ax.set_xlabel("difference from bos\n(% of the reading's energy)")
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
