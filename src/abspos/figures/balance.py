"""The balance R / (R + mask) against the anchor, for each variant under BOS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("balance",)
STORES = ()
CATEGORY = "Components"
LABELS = {"figure": "Balance", "shows": "residual share over anchors"}
CAPTION = (
    "Residual energy as a share of residual and mask energy together, early queries under BOS, "
    "against the anchor: the query at which the mask's part is set to zero. The mask's energy "
    "depends on it and the residual's does not, so variants compare at one anchor only. "
    "Bands are intervals over inputs."
)


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """R / (R + mask) by anchor, a panel per lens that the table has, a line per variant.

    Args:
        tables: ``balance`` (see abspos.statistics.aggregate); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    rows = style.base(tables["balance"])
    found = style.runs(tables["balance"])
    note = (
        f"{style.inputs(rows)}, {style.under(rows)}, early queries; "
        f"bands: {style.level(confidence)} intervals{style.pooled(rows)}"
    )
    figure, parts = style.sheet(found, "Residual share of the energy, by anchor", note, 3.3)
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(rows, run))
    return figure


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: its lenses side by side."""
    looks = style.variants(list(rows["variant"].unique()) if len(rows) else [])
    if not looks:
        style.absent(part.subplots(), "no arm with condition bos or no-bos in this study")
        return
    lenses = [lens for lens in style.LENSES if (rows["lens"] == lens).any()]
    panels = part.subplots(1, len(lenses), squeeze=False, sharex=True, sharey=True)[0]
    for ax, lens in zip(panels, lenses, strict=True):
        for name, look in looks.items():
            line = style.of(rows, lens=lens, variant=name)
            style.curve(ax, line, "anchor", "balance", look, name)
        ax.set(title=f"{lens} lens", xlabel="anchor (query position)")
        ax.axhline(0, color="#808080", linewidth=0.8, zorder=0)
        ax.set_ylim(min(-0.02, ax.get_ylim()[0]), max(1.02, min(1.5, ax.get_ylim()[1])))
    panels[0].set_ylabel("R / (R + mask)")
    style.key(part, looks)
