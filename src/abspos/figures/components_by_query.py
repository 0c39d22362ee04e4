"""Mask, residual and pattern energy against the query position, for each variant under BOS."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import compared, scales, style, tidy

HEIGHT = 5.2  # inches of the panels of one run
SHOWN = {name: style.COMPONENTS[name] for name in ("mask", "residual", "pattern")}


@style.figure(
    tables=("profile",),
    category="Components",
    label="Components by query: mask, residual and pattern, all variants",
    caption=(
        "Energy of the causal mask, of the residual stream (reading R) and of its pattern over "
        "ordinary keys in narrow bins of early queries, under BOS, one column per variant: medians "
        "over heads, averaged over layers. Top: log lens; bottom: probability lens. Bands are "
        "jackknife intervals over inputs; the scale is logarithmic and turns linear near 0, where "
        "energies may be negative; a number gives how far intervals reach below the axis. The mask "
        "is zero at the anchor."
    ),
)
def draw(data: style.Data) -> Figure:
    """Energies of the components by query: lenses as rows, variants as columns."""
    rows = tidy.base(data.tables["profile"], summary="median")
    found = tidy.runs(data.tables["profile"])
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}; median head, mean of layers; "
        f"bands: {data.level} jackknife intervals{tidy.pooled(rows)}"
    )
    if len(found) > 1 and len(rows):
        return compared.draw(
            found,
            "Mask and residual-stream energy by query position",
            note,
            rows.assign(query=(rows["first"].astype(float) * rows["last"].astype(float)) ** 0.5),
            [
                compared.Curves(
                    f"{component}, {lens} lens",
                    f"energy ({style.UNITS[lens]})",
                    {"component": component, "lens": lens},
                )
                for component in SHOWN
                for lens in style.LENSES
            ],
            ("query", "energy"),
            partial(scales.energy_axis, stride=2),
            lambda ax: scales.query_axis(ax, float(rows["last"].max()), "query position"),
            HEIGHT,
        )
    return style.of_one(
        found[0],
        "Mask, residual-stream and pattern energy by query position",
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
    for lens, line in zip(style.LENSES, panels, strict=True):
        seen = tidy.of(rows, lens=lens)
        for ax, name in zip(line, names, strict=True):
            draw_panel(ax, tidy.of(seen, variant=name))
        scales.energy_axis(line, [tidy.of(seen, variant=name) for name in names])
        line[0].set_ylabel(f"{lens} lens\nenergy ({style.UNITS[lens]})")
    last = float(rows["last"].max())
    for ax, name in zip(panels[0], names, strict=True):
        ax.set_title(name)
    for ax in panels[-1]:
        scales.query_axis(ax, last, "query position")
    style.key(part, SHOWN)


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """The components of one variant in one lens."""
    for component, look in SHOWN.items():
        line = tidy.of(rows, component=component)
        middle = (line["first"].astype(float) * line["last"].astype(float)) ** 0.5
        style.curve(ax, line.assign(query=middle), "query", "energy", look, component)
