"""Every verdict under other choices: rows are numbers, columns choices, marks verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from abspos.claims.sources import ONE, WITHOUT
from abspos.figures import style, tidy

COLORS = {
    "same": style.BLACK,
    "flips": style.VERMILLION,
    "too few inputs": "#9A9A9A",
    "not testable": "#9A9A9A",
}
PUBLISHED = "published"
NUMBER = ["claim", "arms", "number", "reading"]
ROW, HEAD, LEFT = 0.26, 1.9, 4.3  # inches of a row, around the rows, and beside them
COLUMN, WIDER = 0.27, 0.12  # inches of a choice, and for each further model in it


@style.figure(
    tables=("sensitivity",),
    category="Claims",
    label="Sensitivity: every verdict under other choices",
    caption=(
        "The verdict of every measured number that decides a claim, in each reading of the "
        "residual-stream component, as published (first column) "
        "and under other choices: the end of the early bin, the anchor of the mask, the mean over "
        "heads, halves of the inputs, intervals over sources of text, and other studies with "
        "another choice; single sources are in the next figure. An orange mark is a flip, which "
        "makes the verdict fragile. A grey mark "
        "differs too, but from fewer inputs whose interval still covers the published estimate. "
        "Empty: the choice does not affect the number. Numbers without a lens are left."
    ),
)
def draw(data: style.Data) -> Figure:
    """Numbers as rows, choices as columns, lenses side by side."""
    table = data.tables["sensitivity"]
    if "choice" in table:
        table = table[~table["choice"].astype(str).str.startswith((ONE, WITHOUT))]
    found = tidy.runs(table)
    order = list(dict.fromkeys(table["choice"])) if "choice" in table else []
    several = len(found) > 1
    places = {run: (k + 0.5) / len(found) - 0.5 for k, run in enumerate(found)}
    note = (
        f"{tidy.inputs(table)}; verdicts from {data.level} intervals; "
        "orange: flips; grey: other verdict, but too few inputs to tell"
        + "; models in each place from left to right: " * several
        + ", ".join(tidy.title(*run).replace("\n", " ") for run in found) * several
    )
    heading = "Verdicts under other choices"
    if table.empty:
        return style.empty(heading, "no measured claim in this study")
    choices = [PUBLISHED, *order]
    column = COLUMN + WIDER * (len(found) - 1)
    width = max(style.WIDTH, LEFT + 2 * column * (len(order) + 2))
    table = table.fillna({"reading": ""})
    rows = list(table[NUMBER].drop_duplicates().itertuples(index=False, name=None))
    title = heading if several else f"{heading}: {tidy.title(*found[0])}"
    figure = style.sheet(title, note + tidy.left_out(found), ROW * max(len(rows), 3) + HEAD, width)
    panels = figure.subplots(1, 2, sharey=True)
    right = table["lens"] == "probability"
    for ax, lens, chosen in zip(panels, style.LENSES, (~right, right), strict=True):
        for run, place in places.items():
            draw_lens(ax, tidy.of(table[chosen], run), rows, choices, 0.8 * place)
        ax.axvline(0.5, color=style.LINE, linewidth=0.8)
        ax.set_xticks(range(len(choices)), choices, rotation=90, fontsize=8)
        ax.set_xlim(-0.6, len(choices) - 0.4)
        ax.set_title(f"{lens} lens")
    panels[0].set_yticks(range(len(rows)), [label(*row) for row in rows], fontsize=8)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles = [
        Line2D([], [], label=name, **(look.line() | {"linestyle": "none"}))
        for name, look in style.VERDICTS.items()
        if name in {*table["published"], *table["verdict"]}
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8)
    return figure


def label(claim: str, arms: str, number: str, reading: str) -> str:
    """A number as a row of the figure names it; arms under bos by their variant."""
    what = number.split(": ")[-1].split(" [")[0]
    whose = arms.replace("/bos", "").replace("standard/", "")
    return ", ".join(filter(None, (f"{claim}: {what}", reading, whose)))


def draw_lens(
    ax: Axes,
    table: pd.DataFrame,
    rows: Sequence[tuple[str, ...]],
    choices: Sequence[str],
    place: float,
) -> None:
    """One lens of one run: a mark for each number and choice, at its place beside other runs'."""
    for one in table.to_dict("records"):
        y = rows.index(tuple(one[name] for name in NUMBER))
        mark(ax, place, y, one["published"], style.BLACK)
        mark(ax, choices.index(one["choice"]) + place, y, one["verdict"], COLORS[one["change"]])


def mark(ax: Axes, x: float, y: float, verdict: str, color: str) -> None:
    """One verdict."""
    look = style.Look(color, "-", style.VERDICTS[verdict].marker, style.VERDICTS[verdict].filled)
    ax.plot(x, y, markersize=5.5, **(look.line() | {"linestyle": "none"}))
