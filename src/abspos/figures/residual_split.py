"""The residual energy of early queries split into row, sink and rest, by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("layers",)
STORES = ()
CATEGORY = "Components"
LABELS = {"figure": "Residual split", "shows": "row, sink and rest by layer"}
CAPTION = (
    "The residual component at early queries under BOS, split orthogonally query by query: row is "
    "its mean over the keys after position 0 (the sink's share of the softmax denominator), sink "
    "what position 0 itself adds, rest what remains. Median head of each layer (medians do not add "
    "up to the median of the whole); variants with full attention only, since with a window "
    "position 0 drops out of sight. Bands are intervals over inputs; the scale is "
    "logarithmic and turns linear near 0, where energies may be negative."
)
SHOWN = {name: style.COMPONENTS[name] for name in ("residual", "row", "sink", "rest")}


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Row, sink and rest by layer: lenses as rows, variants with full attention as columns.

    Args:
        tables: ``layers`` (see abspos.statistics.aggregate); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    rows = style.base(tables["layers"], summary="median", bin="early")
    found = style.runs(tables["layers"])
    note = (
        f"{style.inputs(rows)}, {style.under(rows)}, early queries; median head of each layer; "
        f"bands: {style.level(confidence)} intervals"
    )
    figure, parts = style.sheet(
        found, "Residual-stream energy split into row, sink and rest", note, 5.2
    )
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(rows, run))
    return figure


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: its full-attention variants side by side, each lens on one scale."""
    full = rows[rows["component"].isin(["row", "sink", "rest"])].dropna(subset="energy")
    names = list(style.variants(list(full["variant"].unique())))
    if not names:
        style.absent(part.subplots(), "no arm with full attention in this study")
        return
    rows = rows[rows["variant"].isin(names) & rows["component"].isin(list(SHOWN))]
    panels = part.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    for lens, line in zip(style.LENSES, panels, strict=True):
        seen = style.of(rows, lens=lens)
        for ax, name in zip(line, names, strict=True):
            draw_panel(ax, style.of(seen, variant=name))
        style.energy_axis(line[0], style.span(seen))
        line[0].set_ylabel(f"{lens} lens\nenergy ({style.UNITS[lens]})")
    for ax, name in zip(panels[0], names, strict=True):
        ax.set_title(name)
    for ax in panels[-1]:
        style.layer_axis(ax)
    style.key(part, SHOWN)


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """The parts of one variant in one lens; the whole behind them."""
    for component, look in SHOWN.items():
        line = style.of(rows, component=component)
        if not line.empty:
            style.curve(ax, line, "layer", "energy", look, component)
