"""The balance R / (R + mask) against the anchor, for each variant under BOS."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import compared, scales, style, tidy


@style.figure(
    tables=("balance",),
    category="Components",
    label="Balance: residual share over anchors",
    caption=(
        "Residual energy as a share of residual and mask energy together, early queries under "
        "BOS, against the anchor: the query at which the mask's part is set to zero. The mask's "
        "energy depends on the anchor and the residual's does not, so variants are comparable "
        "only at one anchor. Above the dotted line, at one half, the residual's is the larger. "
        "A lens with fewer than two anchors is not shown. Bands are intervals over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """R / (R + mask) by anchor: a row per lens that has several, a column per run."""
    rows = tidy.base(data.tables["balance"])
    found = tidy.runs(data.tables["balance"])
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}, early queries; "
        f"bands: {data.level} intervals{tidy.pooled(rows)}"
    )
    if single := [lens for lens in lenses_of(rows, 1) if lens not in lenses_of(rows, 2)]:
        note += f"; {' and '.join(single)} lens at one anchor only: balance.csv"
    heading = "Residual share of the energy, by anchor"
    looks = style.variants(list(rows["variant"].unique()) if len(rows) else [])
    if not looks:
        return style.empty(heading, "no arm with condition bos or no-bos in this study")
    lenses = lenses_of(rows, 2)
    if not lenses:
        return style.empty(heading, "one anchor in this study: balance.csv has its numbers")
    shown = [(f"{lens} lens", "R / (R + mask) (share)") for lens in lenses]
    sheet = compared.beside(found, heading, note, shown, 2.8)
    for run, panels in zip(found, sheet.panels, strict=True):
        for ax, lens in zip(panels, lenses, strict=True):
            draw_panel(ax, tidy.of(rows, run, lens=lens), looks)
        own = tidy.of(rows, run)["anchor"]
        scales.query_axis(panels[-1], own.max(), "anchor (query position)", own.min())
    style.key(sheet.figure, looks, columns=3)
    return sheet.figure


def draw_panel(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """One lens of one run: a line per variant."""
    for name, look in looks.items():
        style.curve(ax, tidy.of(rows, variant=name), "anchor", "balance", look, name)
    scales.zero(ax)
    ax.axhline(0.5, color=style.LINE, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_ylim(min(-0.02, ax.get_ylim()[0]), max(1.02, min(1.5, ax.get_ylim()[1])))
    scales.cut(ax, rows)


def lenses_of(rows: pd.DataFrame, anchors: int) -> list[str]:
    """The lenses in which a balance is known at so many anchors at least."""
    return [
        lens for lens in style.LENSES if tidy.of(rows, lens=lens)["anchor"].nunique() >= anchors
    ]
