"""Mask and residual energy against the query position, for each variant under BOS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("profile",)
STORES = ()
CATEGORY = "Components"
LABELS = {"figure": "Components by query", "shows": "mask and residual, all variants"}
CAPTION = (
    "Energy of the causal mask and of the residual stream in narrow bins of early queries, under "
    "BOS, one column per variant: medians over heads, averaged over layers. Top: log lens; bottom: "
    "probability lens. Bands are jackknife intervals over inputs; the scale is logarithmic and "
    "turns linear near 0, where energies may be negative. The mask is zero at the anchor."
)
SHOWN = {name: style.COMPONENTS[name] for name in ("mask", "residual")}


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Energies of the two components by query: lenses as rows, variants as columns.

    Args:
        tables: ``profile`` (see abspos.statistics.aggregate); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    rows = style.base(tables["profile"], summary="median")
    found = style.runs(tables["profile"])
    note = (
        f"{style.inputs(rows)}, {style.under(rows)}; median head, mean of layers; "
        f"bands: {style.level(confidence)} jackknife intervals{style.pooled(rows)}"
    )
    figure, parts = style.sheet(
        found, "Mask and residual-stream energy by query position", note, 5.2
    )
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(rows, run))
    return figure


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: its variants side by side, each lens on one scale."""
    names = list(style.variants(list(rows["variant"].unique())))
    if not names:
        style.absent(part.subplots(), "no arm with condition bos or no-bos in this study")
        return
    panels = part.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    for lens, line in zip(style.LENSES, panels, strict=True):
        seen = style.of(rows, lens=lens)
        for ax, name in zip(line, names, strict=True):
            draw_panel(ax, style.of(seen, variant=name))
        style.energy_axis(line[0], style.span(seen))
        line[0].set_ylabel(f"{lens} lens\nenergy ({style.UNITS[lens]})")
    last = float(rows["last"].max())
    for ax, name in zip(panels[0], names, strict=True):
        ax.set_title(name)
    for ax in panels[-1]:
        style.query_axis(ax, last, "query position")
    style.key(part, SHOWN)


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """The two components of one variant in one lens."""
    for component, look in SHOWN.items():
        line = style.of(rows, component=component)
        middle = (line["first"].astype(float) * line["last"].astype(float)) ** 0.5
        style.curve(ax, line.assign(query=middle), "query", "energy", look, component)
