"""Primary numbers by source of text: each source alone, each left out, and all as units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.claims.sources import ONE, WITHOUT
from abspos.figures import style, tidy

NUMBER = ["claim", "arms", "number"]
ACROSS = 3  # panels to a row
LABEL = 46  # characters to a line of a number's name
ROW, HEAD = 0.2, 1.1  # inches of a source, and around the sources of a panel
LOOKS = {
    "all sources": style.Look(style.BLACK, "-", "o"),
    "this source alone": style.Look(style.BLUE, "-", "s"),
    "all but this source": style.Look(style.VERMILLION, "-", "|"),
}


@style.figure(
    tables=("claims", "sensitivity"),
    category="Claims",
    label="Sensitivity: primary numbers by source of text",
    caption=(
        "Primary numbers of the claims on the inputs of each source of text alone (blue, with "
        "intervals over its documents) and without each source (red bars). First row: the "
        "published estimate, its interval over documents (thick) and over sources (thin). The red "
        "bars of a row show how far the number hangs on that source; blue numbers rest on few "
        "inputs and are preliminary. Sources with fewer than 8 inputs have no number of their own."
    ),
)
def draw(data: style.Data) -> Figure:
    """A panel for each number, a row for each source."""
    claims, table = data.tables["claims"], data.tables["sensitivity"]
    found = tidy.runs(claims)
    shown = {run: panels(tidy.of(claims, run), tidy.of(table, run)) for run in found}
    names = {run: sources(tidy.of(table, run)) for run in found}
    height = max(
        HEAD + (ROW * (len(names[run]) + 1) + HEAD) * max(1, math.ceil(len(shown[run]) / ACROSS))
        for run in found
    )
    note = f"{tidy.inputs(claims)} in all; {data.level} intervals"
    return style.per_run(
        found,
        "Primary numbers by source of text",
        note,
        height,
        lambda part, run: draw_run(part, shown[run], names[run]),
    )


def sources(table: pd.DataFrame) -> list[str]:
    """Names of the sources that choices leave out or take alone, sorted."""
    choices = table["choice"].astype(str) if "choice" in table else pd.Series(dtype=str)
    return sorted(
        {c.removeprefix(head) for head in (ONE, WITHOUT) for c in choices if c.startswith(head)}
    )


def panels(
    claims: pd.DataFrame, table: pd.DataFrame
) -> list[tuple[Mapping[Any, Any], pd.DataFrame]]:
    """Each primary number that has other choices, with the rows of those."""
    if claims.empty or table.empty:
        return []
    primary = claims[claims["primary"].astype(str).eq("True") & claims["ci_low"].notna()]
    primary = primary[primary["summary"] != "mean"]
    known = [name for name in (*NUMBER, "lens", "reading") if name in claims and name in table]
    found: list[tuple[Mapping[Any, Any], pd.DataFrame]] = []
    for row in primary.to_dict("records"):
        same = (table[known].fillna("") == pd.Series(row)[known].fillna("")).all(axis=1)
        if same.any():
            found.append((row, table[same]))
    return found


def draw_run(
    part: SubFigure, shown: list[tuple[Mapping[Any, Any], pd.DataFrame]], names: list[str]
) -> None:
    """One run: its panels in a grid."""
    if not (shown and names):
        style.absent(part.subplots(), "one source of text, or no measured claim in this study")
        return
    lines = math.ceil(len(shown) / ACROSS)
    grid = part.subplots(lines, ACROSS, squeeze=False, sharey=True)
    for ax in grid.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, (row, table) in zip(grid.flat, shown, strict=False):
        draw_number(ax, row, table, names)
    for line in grid:
        line[0].set_yticks(range(len(names) + 1), ["all", *names], fontsize=8)
        line[0].set_ylabel("source", fontsize=8)
        line[0].set_ylim(len(names) + 0.5, -0.5)
    style.key(part, LOOKS)


def draw_number(ax: Axes, row: Mapping[Any, Any], table: pd.DataFrame, names: list[str]) -> None:
    """One number: published, and by source."""
    ends = [float(row.get(end, math.nan)) for end in ("source_low", "source_high")]
    ax.plot(ends, [0, 0], color=style.BLACK, linewidth=0.7)
    style.estimate(ax, 0, values(row), LOOKS["all sources"])
    ax.axvline(float(row["estimate"]), color=style.LINE, linewidth=0.7, zorder=0)
    for one in table.to_dict("records"):
        choice = str(one["choice"])
        for head, look in ((ONE, "this source alone"), (WITHOUT, "all but this source")):
            if choice.startswith(head):
                y = names.index(choice.removeprefix(head)) + 1
                middle, low, high = values(one)
                bare = (middle, math.nan, math.nan)
                style.estimate(ax, y, bare if head == WITHOUT else (middle, low, high), LOOKS[look])
    ax.tick_params(labelsize=8)
    what = str(row["number"]).split(": ")[-1]
    whose = str(row["arms"]).replace("/bos", "").replace("standard/", "")
    reading = row.get("reading")
    claim = f"{row['claim']}, {reading}" if isinstance(reading, str) and reading else row["claim"]
    ax.set_title(str(claim), fontsize=9, loc="left", fontweight="bold")
    ax.set_xlabel(fill(f"{what}, {whose}", LABEL), fontsize=8)


def values(row: Mapping[Any, Any]) -> tuple[float, float, float]:
    """Estimate and interval of a row."""
    return float(row["estimate"]), float(row["ci_low"]), float(row["ci_high"])
