"""The share of R's energy that each reading holds, by layer: whose doing R is."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import PercentFormatter

from abspos.figures import compared, scales, style, tidy

HEIGHT = 4.6  # inches of the panels of one run
ROOM = 0.16  # of shares, above and below
SHOWN = {name: style.READINGS[name] for name in ("sink", "pattern")}


@style.figure(
    tables=("readings",),
    category="Components",
    label="Readings by layer: shares of R's energy",
    caption=(
        "Energy of the readings sink (row + sink) and pattern of the residual-stream component, "
        "as shares of the energy of R in the same layer, early queries, under BOS, in the mean "
        "head. In the log lens the two add up to R in every layer. In the probability lens the "
        "pattern is renormalised over ordinary keys: a measure of its own beside R, and its share "
        "can exceed what the sink leaves. Bands are intervals over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """Shares by layer: lenses as rows, variants as columns, readings as lines."""
    rows = tidy.base(data.tables["readings"], summary="mean")
    found = tidy.runs(data.tables["readings"])
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}, early queries; mean head of each layer; "
        f"bands: {data.level} intervals"
    )
    if len(found) > 1 and len(rows):
        return compared.draw(
            found,
            "What R is made of: the sink and the pattern over ordinary keys",
            note + "; shaded: sliding layers of models that have others too",
            rows,
            [
                compared.Curves(
                    f"{reading}, {lens} lens",
                    "share of R's energy",
                    {"reading": reading, "lens": lens},
                )
                for lens in style.LENSES
                for reading in SHOWN
            ],
            ("layer", "share"),
            share_axis,
            scales.layer_axis,
            HEIGHT,
        )
    return style.of_one(
        found[0],
        "What R is made of: the sink and the pattern over ordinary keys",
        note,
        HEIGHT,
        lambda part: draw_run(part, tidy.of(rows, found[0])),
    )


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: its variants side by side, each lens on one scale."""
    names = list(style.variants(list(rows["variant"].unique())))
    if not names:
        style.absent(part.subplots(), "no arm with condition bos or no-bos in this study")
        return
    panels = part.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    rows = rows[rows["reading"].isin(list(SHOWN))]
    for lens, line in zip(style.LENSES, panels, strict=True):
        tables = [tidy.of(rows, lens=lens, variant=name) for name in names]
        for ax, own in zip(line, tables, strict=True):
            draw_panel(ax, own)
        line[0].set_ylabel(f"{lens} lens\nshare of R's energy")
        share_axis(line, tables)
    for ax, name in zip(panels[0], names, strict=True):
        ax.set_title(name)
        scales.shade(ax, tidy.hybrid_sliding(tidy.of(rows, variant=name)))
    for ax in panels[-1]:
        scales.layer_axis(ax)
    style.key(part, SHOWN)


def share_axis(line: Sequence[Axes], tables: Sequence[pd.DataFrame]) -> None:
    """One scale of shares for a line of panels."""
    line[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    line[0].set_ylim(*limits(pd.concat(tables)))
    for ax, own in zip(line, tables, strict=True):
        scales.cut(ax, own, unit=" %", scale=100)


def limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Range of an axis of shares: 0 to 1, and further as far as estimates reach.

    Most shares are near 0 or 1: beyond them is room for what is printed of intervals.
    """
    shares = rows["share"].astype(float).dropna()
    return min([0.0, *shares]) - ROOM, max([1.0, *shares]) + ROOM


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """One variant in one lens: a line per reading, and R itself at 1."""
    for at in (0, 1):
        ax.axhline(at, color=style.LINE, linewidth=0.8, zorder=0)
    for reading, look in SHOWN.items():
        line = tidy.of(rows, reading=reading)
        if not line.empty:
            style.curve(ax, line, "layer", "share", look, reading)
