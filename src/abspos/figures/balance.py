"""The balance R / (R + mask) against the anchor, for each variant under BOS."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from abspos.figures import scales, style, tidy


@style.figure(
    tables=("balance",),
    category="Components",
    label="Balance: residual share over anchors",
    caption=(
        "Residual energy as a share of residual and mask energy together, early queries under "
        "BOS, against the anchor: the query at which the mask's part is set to zero. The mask's "
        "energy depends on the anchor and the residual's does not, so variants are comparable "
        "only at one anchor. A lens with fewer than two anchors is not shown. Bands are intervals "
        "over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """R / (R + mask) by anchor, a panel per lens that the table has, a line per variant."""
    rows = tidy.base(data.tables["balance"])
    found = tidy.runs(data.tables["balance"])
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}, early queries; "
        f"bands: {data.level} intervals{tidy.pooled(rows)}"
    )
    if single := [lens for lens in lenses_of(rows, 1) if lens not in lenses_of(rows, 2)]:
        note += f"; {' and '.join(single)} lens at one anchor only: balance.csv"
    return style.per_run(
        found,
        "Residual share of the energy, by anchor",
        note,
        3.3,
        lambda part, run: draw_run(part, tidy.of(rows, run)),
    )


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: its lenses side by side."""
    looks = style.variants(list(rows["variant"].unique()) if len(rows) else [])
    if not looks:
        style.absent(part.subplots(), "no arm with condition bos or no-bos in this study")
        return
    lenses = lenses_of(rows, 2)
    if not lenses:
        style.absent(part.subplots(), "one anchor in this study: balance.csv has its numbers")
        return
    panels = part.subplots(1, len(lenses), squeeze=False, sharex=True, sharey=True)[0]
    for ax, lens in zip(panels, lenses, strict=True):
        for name, look in looks.items():
            line = tidy.of(rows, lens=lens, variant=name)
            style.curve(ax, line, "anchor", "balance", look, name)
        ax.set(title=f"{lens} lens", xlabel="anchor (query position)")
        scales.zero(ax)
        ax.set_ylim(min(-0.02, ax.get_ylim()[0]), max(1.02, min(1.5, ax.get_ylim()[1])))
    panels[0].set_ylabel("R / (R + mask) (share)")
    style.key(part, looks)


def lenses_of(rows: pd.DataFrame, anchors: int) -> list[str]:
    """The lenses in which a balance is known at so many anchors at least."""
    return [
        lens for lens in style.LENSES if tidy.of(rows, lens=lens)["anchor"].nunique() >= anchors
    ]
