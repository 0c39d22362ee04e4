"""Which of queries, ordinary keys and key 0 make R, by layer, from the shift pair."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import scales, style, tidy

EFFECTS = {
    "key 0": style.Look(style.PURPLE, (0, (4, 1.5, 1, 1.5)), "D"),
    "keys": style.Look(style.BLUE, "-", "o"),
    "queries": style.Look(style.ORANGE, (0, (5, 1.5)), "^"),
    "interactions": style.Look(style.GREY, (0, (1.5, 1.5)), "v"),
}
WORDS = {"keys": "ordinary keys"}
COMPONENTS = {"residual": "R", "pattern": "pattern over ordinary keys"}
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
        "over ordinary keys, in which key 0 has no part. Median head of each layer; bands are "
        "intervals over inputs; the axes end where a band would hide the rest."
    ),
)
def draw(data: style.Data) -> Figure:
    """Lenses as rows, R and its pattern as columns; a part per run and variant."""
    table = data.tables["factorial"]
    rows = tidy.of(table, summary="median")
    note = (
        f"{tidy.inputs(rows)}, early queries; share of the median head's energy; bands: "
        f"{data.level} intervals"
    )
    return style.per_run(
        tidy.runs(table),
        "Where R comes from: queries, ordinary keys and key 0 of the same words",
        note,
        4.6,
        lambda part, run: draw_run(part, tidy.of(rows, run)),
    )


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: the pair of its first variant that has one."""
    variants = list(style.variants(list(rows.get("variant", pd.Series(dtype=str)).unique())))
    if not variants:
        style.absent(part.subplots(), "no shift pair in this study")
        return
    rows = tidy.of(rows, variant=variants[0])
    by_layer, models = rows[rows["layer"].notna()], rows[rows["layer"].isna()]
    panels = part.subplots(len(style.LENSES), len(COMPONENTS), sharex=True, sharey=True)
    for lens, line in zip(style.LENSES, panels, strict=True):
        for ax, component in zip(line, COMPONENTS, strict=True):
            draw_panel(ax, tidy.of(by_layer, lens=lens, component=component))
            whole = tidy.of(models, lens=lens, component=component)
            ax.set_title(f"{COMPONENTS[component]} ({said(whole)})", fontsize=8.5)
        line[0].set_ylabel(f"{lens} lens\nshare (%)")
    for ax in panels[-1]:
        scales.layer_axis(ax)
    style.key(part, {WORDS.get(name, name): look for name, look in EFFECTS.items()})


def said(rows: pd.DataFrame) -> str:
    """The model's shares, all layers together, as text."""
    pooled = rows[rows["kind"] == rows["kind"].iloc[0]] if len(rows) else rows
    shares = pooled.set_index("effect")["share"].astype(float)
    named = {name: name for name in EFFECTS} | {"interactions": "inter."}
    return "all layers: " + ", ".join(
        f"{named[name]} {100 * shares[name]:.0f} %" for name in EFFECTS if name in shares
    )


def draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    """One component in one lens: a line per effect."""
    for at in (0, 100):
        ax.axhline(at, color=style.LINE, linewidth=0.8, zorder=0)
    numbers = ["share", "ci_low", "ci_high"]
    percent = rows.assign(**{name: 100 * rows[name].astype(float) for name in numbers})
    percent["layer"] = percent["layer"].astype(int)
    for name, look in EFFECTS.items():
        line = tidy.of(percent, effect=name)
        if not line.empty:
            style.curve(ax, line, "layer", "share", look, name)
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, LIMITS[0]), min(high, LIMITS[1]))
