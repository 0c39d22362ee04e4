"""The residual energy of early queries split into row, sink and rest, by layer."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import compared, scales, style, tidy

HEIGHT = 5.2  # inches of the panels of one run
SHOWN = {name: style.COMPONENTS[name] for name in ("residual", "row", "sink", "rest")}


@style.figure(
    tables=("layers",),
    category="Components",
    label="Residual split: row, sink and rest by layer",
    caption=(
        "The residual component at early queries under BOS, split orthogonally query by query: row "
        "is its mean over the keys after position 0 (the sink's share of the softmax denominator), "
        "sink the part at position 0 itself, rest the remainder, which in the log lens is the "
        "pattern. Median head of each layer (medians do not add up to the median of the whole). "
        "Bands are intervals over inputs; the scale is logarithmic and turns linear near 0, where "
        "energies may be negative; a number gives how far intervals reach below the axis."
    ),
)
def draw(data: style.Data) -> Figure:
    """Row, sink and rest by layer: lenses as rows, variants as columns."""
    rows = tidy.base(data.tables["layers"], summary="median", bin="early")
    found = tidy.runs(data.tables["layers"])
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}, early queries; median head of each layer; "
        f"bands: {data.level} intervals"
    )
    if len(found) > 1 and len(rows):
        return compared.draw(
            found,
            "Residual-stream energy split into row, sink and rest",
            note + "; shaded: sliding layers of models that have others too",
            rows,
            [
                compared.Curves(
                    f"{component}, {lens} lens",
                    style.UNITS[lens],
                    {"component": component, "lens": lens},
                )
                for lens in style.LENSES
                for component in SHOWN
                if component != "residual"
            ],
            ("layer", "energy"),
            partial(scales.energy_axis, stride=2),
            scales.layer_axis,
            HEIGHT,
        )
    return style.of_one(
        found[0],
        "Residual-stream energy split into row, sink and rest",
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
    rows = rows[rows["component"].isin(list(SHOWN))]
    panels = part.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    for lens, line in zip(style.LENSES, panels, strict=True):
        seen = tidy.of(rows, lens=lens)
        for ax, name in zip(line, names, strict=True):
            draw_panel(ax, tidy.of(seen, variant=name))
            scales.shade(ax, tidy.hybrid_sliding(tidy.of(seen, variant=name)))
        scales.energy_axis(line, [tidy.of(seen, variant=name) for name in names])
        line[0].set_ylabel(f"{lens} lens\nenergy ({style.UNITS[lens]})")
    for ax, name in zip(panels[0], names, strict=True):
        ax.set_title(name)
    for ax in panels[-1]:
        scales.layer_axis(ax)
    style.key(part, SHOWN)


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """The parts of one variant in one lens; the whole behind them."""
    for component, look in SHOWN.items():
        line = tidy.of(rows, component=component)
        if not line.empty:
            style.curve(ax, line, "layer", "energy", look, component)
