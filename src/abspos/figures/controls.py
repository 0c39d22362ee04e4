"""Each control of position beside the effect that it guards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("controlled_effects",)
STORES = ()
CATEGORY = "Controls"
LABELS = {"figure": "Controls", "shows": "each control beside the effect it guards"}
CAPTION = (
    "How far the residual-stream component of early queries moves from that under bos: the energy "
    "of the difference, as a share. Above, what is put at position 0; below, the controls: the "
    "same token at a later position, all position ids shifted (which must do nothing beyond "
    "rounding), the text shuffled. Bars are intervals over inputs."
)
SUMMARIES = {"median": "median head", "mean": "mean head"}
NUMBER = "difference share"


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Effects and controls as rows, summaries as columns, lenses as marks.

    Args:
        tables: ``controlled_effects`` (see abspos.claims.controlled_effects).
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    table = style.of(tables["controlled_effects"], number=NUMBER)
    found = style.runs(tables["controlled_effects"])
    note = (
        f"{style.inputs(table)}, variant standard, early queries; bars: "
        f"{style.level(confidence)} intervals"
    )
    heading = "Controls of position: change of the residual-stream component"
    figure, parts = style.sheet(found, heading, note, 3.2)
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(table, run))
    return figure


def draw_run(part: SubFigure, table: pd.DataFrame) -> None:
    """One run: a panel per summary."""
    if table.empty:
        style.absent(part.subplots(), "no control of position in this study")
        return
    rows = list(dict.fromkeys(table["condition"]))
    effects = len(set(table.loc[table["role"] == "effect", "condition"]))
    panels = part.subplots(1, len(SUMMARIES), sharex=True, sharey=True)
    for ax, (summary, words) in zip(panels, SUMMARIES.items(), strict=True):
        ax.axvline(0, color="#808080", linewidth=0.8, zorder=0)
        ax.axhline(effects - 0.5, color="#808080", linewidth=0.8, linestyle=":")
        for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
            for one in style.of(table, summary=summary, lens=lens).to_dict("records"):
                low, middle, high = (100 * float(one[c]) for c in ("ci_low", "estimate", "ci_high"))
                y = rows.index(one["condition"]) + shift
                style.estimate(ax, y, (middle, low, high), style.LENS_LOOKS[lens])
        ax.set_title(words)
        ax.set_xlabel("difference from bos (% of R's energy)")
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
