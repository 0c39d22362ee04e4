"""Which of queries, ordinary keys and key 0 make R, by layer, from the shift pair."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import compared, scales, style, tidy

EFFECTS = {
    "key 0": style.Look(style.PURPLE, (0, (4, 1.5, 1, 1.5)), "D"),
    "keys": style.Look(style.BLUE, "-", "o"),
    "queries": style.Look(style.ORANGE, (0, (5, 1.5)), "^"),
    "interactions": style.Look(style.GREY, (0, (1.5, 1.5)), "v"),
}
WORDS = {"keys": "ordinary keys"}
COMPONENTS = {"residual": "R", "pattern": "pattern over ordinary keys"}
SHORT = {"residual": "R", "pattern": "pattern"}
LIMITS = (-60.0, 160.0)  # per cent, of the axes, as far as they are needed


@style.figure(
    tables=("factorial",),
    category="Components",
    label="Factorial: shares of R by queries, ordinary keys and key 0",
    caption=(
        "The same words at two places: after BOS, and half a window later after other words of "
        "their document. In one layer at a time, queries, ordinary keys and key 0 are taken from "
        "one place or the other in all ways. Shares of the energy of R of early queries that each "
        "alone makes, and that their interactions add; they add up to 100 %. Right: the pattern "
        "over ordinary keys, in which key 0 has no part. Several models stand beside each other on "
        "one scale. Median head of each layer; bands are intervals over inputs; the axes end where "
        "a band would hide the rest, and a number states how far it reaches."
    ),
)
def draw(data: style.Data) -> Figure:
    """Lenses as rows, R and its pattern as columns; of several runs each is a column."""
    table = data.tables["factorial"]
    rows, found = of_first(tidy.of(table, summary="median")), tidy.runs(table)
    heading = "Where R comes from: queries, ordinary keys and key 0 of the same words"
    note = (
        f"{tidy.inputs(rows)}, early queries; share of the median head's energy; above each panel: "
        f"all layers; bands: {data.level} intervals"
    )
    if rows.empty:
        return style.empty(heading, "no shift pair in this study")
    looks = {WORDS.get(name, name): look for name, look in EFFECTS.items()}
    if len(found) == 1:
        return style.of_one(found[0], heading, note, 4.6, lambda part: draw_run(part, rows, looks))
    places = [(component, lens) for component in COMPONENTS for lens in style.LENSES]
    shown = [(f"{SHORT[name]}, {lens} lens", "share (%)") for name, lens in places]
    sheet = compared.beside(found, heading, note, shown, 1.7, sharey=True)
    for run, panels in zip(found, sheet.panels, strict=True):
        for ax, (component, lens) in zip(panels, places, strict=True):
            draw_panel(ax, tidy.of(rows, run, component=component, lens=lens), 7.0)
        panels[0].set_title(f"{tidy.title(*run)}\n{panels[0].get_title()}", fontsize=7)
        scales.layer_axis(panels[-1])
    style.key(sheet.figure, looks, columns=2)
    return sheet.figure


def of_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's first variant that has a shift pair."""
    if rows.empty:
        return rows
    order = list(style.variants(list(rows["variant"].unique())))
    places = rows["variant"].map(order.index)
    return rows[places == places.groupby([rows[name] for name in tidy.RUN]).transform("min")]


def draw_run(part: SubFigure, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """One run: lenses as rows, components as columns."""
    panels = part.subplots(len(style.LENSES), len(COMPONENTS), sharex=True, sharey=True)
    for lens, line in zip(style.LENSES, panels, strict=True):
        for ax, component in zip(line, COMPONENTS, strict=True):
            draw_panel(ax, tidy.of(rows, lens=lens, component=component), 8.5)
            title = f"{COMPONENTS[component]} ({ax.get_title()})"
            ax.set_title(compared.wrapped(ax, title), fontsize=8.5)
        line[0].set_ylabel(f"{lens} lens\nshare (%)")
    for ax in panels[-1]:
        scales.layer_axis(ax)
    style.key(part, looks)


def said(rows: pd.DataFrame) -> str:
    """The model's shares, all layers together, as text."""
    pooled = rows[rows["kind"] == rows["kind"].iloc[0]] if len(rows) else rows
    shares = pooled.set_index("effect")["share"].astype(float)
    named = {name: name for name in EFFECTS} | {"interactions": "inter."}
    return ", ".join(
        f"{named[name]} {100 * shares[name]:.0f} %" for name in EFFECTS if name in shares
    )


def draw_panel(ax: Axes, rows: pd.DataFrame, size: float) -> None:
    """One component of one run in one lens: a line per effect, and above it all layers.

    Args:
        ax: the panel.
        rows: of layers, and of the whole model.
        size: of the text above, in points.
    """
    if rows.empty:
        style.absent(ax, "no shift pair")
        return
    for at in (0, 100):
        ax.axhline(at, color=style.LINE, linewidth=0.8, zorder=0)
    numbers = ["share", "ci_low", "ci_high"]
    percent = rows.assign(**{name: 100 * rows[name].astype(float) for name in numbers})
    percent = percent[rows["layer"].notna()]
    percent["layer"] = percent["layer"].astype(int)
    for name, look in EFFECTS.items():
        line = tidy.of(percent, effect=name)
        if not line.empty:
            style.curve(ax, line, "layer", "share", look, name)
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, LIMITS[0]), min(high, LIMITS[1]))
    scales.cut(ax, percent, unit=" %")
    ax.set_title(compared.wrapped(ax, said(rows[rows["layer"].isna()])), fontsize=size)
