"""Every verdict under other choices: rows are numbers, columns choices, marks verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

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
COLUMN = 0.27  # inches of a choice


@style.figure(
    tables=("sensitivity",),
    category="Claims",
    label="Sensitivity: every verdict under other choices",
    caption=(
        "The verdict of every measured number that decides a claim, in each reading of the "
        "residual-stream component, as published (first column) "
        "and under other choices: the end of the early bin, the anchor of the mask, the mean over "
        "heads, halves of the inputs, single sources of the corpus, and other studies with "
        "another choice. An orange mark is a flip, which makes the verdict fragile. A grey mark "
        "differs too, but from fewer inputs whose interval still covers the published estimate. "
        "Empty: the choice does not affect the number. Numbers without a lens are left."
    ),
)
def draw(data: style.Data) -> Figure:
    """Numbers as rows, choices as columns, lenses side by side."""
    table = data.tables["sensitivity"]
    found = tidy.runs(table)
    order = list(dict.fromkeys(table["choice"])) if "choice" in table else []
    longest = max((len(tidy.of(table, run)[NUMBER].drop_duplicates()) for run in found), default=0)
    note = (
        f"{tidy.inputs(table)}; verdicts from {data.level} intervals; "
        "orange: flips; grey: other verdict, but too few inputs to tell"
    )
    width = max(style.WIDTH, LEFT + 2 * COLUMN * (len(order) + 2))
    return style.per_run(
        found,
        "Verdicts under other choices",
        note,
        ROW * max(longest, 3) + HEAD,
        lambda part, run: draw_run(part, tidy.of(table, run), [PUBLISHED, *order]),
        width,
    )


def draw_run(part: SubFigure, table: pd.DataFrame, choices: Sequence[str]) -> None:
    """One run: a panel per lens."""
    if table.empty:
        style.absent(part.subplots(), "no measured claim in this study")
        return
    table = table.fillna({"reading": ""})
    rows = list(table[NUMBER].drop_duplicates().itertuples(index=False, name=None))
    panels = part.subplots(1, 2, sharey=True)
    right = table["lens"] == "probability"
    for ax, lens, chosen in zip(panels, style.LENSES, (~right, right), strict=True):
        draw_lens(ax, table[chosen], rows, choices)
        ax.set_title(f"{lens} lens")
    panels[0].set_yticks(range(len(rows)), [label(*row) for row in rows], fontsize=8)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles = [
        Line2D([], [], label=name, **(look.line() | {"linestyle": "none"}))
        for name, look in style.VERDICTS.items()
        if name in {*table["published"], *table["verdict"]}
    ]
    part.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8)


def label(claim: str, arms: str, number: str, reading: str) -> str:
    """A number as a row of the figure names it; arms under bos by their variant."""
    what = number.split(": ")[-1].split(" [")[0]
    whose = arms.replace("/bos", "").replace("standard/", "")
    return ", ".join(filter(None, (f"{claim}: {what}", reading, whose)))


def draw_lens(
    ax: Axes, table: pd.DataFrame, rows: Sequence[tuple[str, ...]], choices: Sequence[str]
) -> None:
    """One lens: a mark for each number and choice."""
    for one in table.to_dict("records"):
        y = rows.index(tuple(one[name] for name in NUMBER))
        mark(ax, 0, y, one["published"], style.BLACK)
        mark(ax, choices.index(one["choice"]), y, one["verdict"], COLORS[one["change"]])
    ax.axvline(0.5, color=style.LINE, linewidth=0.8)
    ax.set_xticks(range(len(choices)), choices, rotation=90, fontsize=8)
    ax.set_xlim(-0.6, len(choices) - 0.4)


def mark(ax: Axes, x: float, y: float, verdict: str, color: str) -> None:
    """One verdict."""
    look = style.Look(color, "-", style.VERDICTS[verdict].marker, style.VERDICTS[verdict].filled)
    ax.plot(x, y, markersize=6, **(look.line() | {"linestyle": "none"}))
