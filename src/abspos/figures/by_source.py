"""Primary numbers by source of text: each source alone, each left out, and all as units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.claims.names import as_text
from abspos.claims.sensitivity import tokens_as_one
from abspos.claims.sources import ONE, WITHOUT
from abspos.figures import marks, style, tidy
from abspos.figures.claims_forest import unit

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
        "Primary numbers of the claims on the inputs of each source of text alone (squares, with "
        "intervals over its documents) and without each source (bars). First row: the published "
        "estimate, its interval over documents (thick) and over sources (thin). The bars of a row "
        "show how far the number hangs on that source; squares rest on few inputs and are "
        "preliminary. Sources with fewer than 8 inputs have no number of their own. "
        "Several models share a panel, each in its colour, with the reading that decides on each."
    ),
)
def draw(data: style.Data) -> Figure:
    """A panel for each number, a row for each source, all models in one row."""
    claims, table = data.tables["claims"], data.tables["sensitivity"]
    found = tidy.runs(claims)
    shown = panels(pd.concat([tidy.of(claims, run) for run in found]), table)
    names = sources(table)
    heading = "Primary numbers by source of text"
    note = f"{tidy.inputs(claims)} in all; {data.level} intervals"
    if not (shown and names):
        text = "one source of text, or no measured claim in this study"
        return style.empty(heading, text)
    row = ROW + marks.MODEL * (len(found) - 1)
    lines = math.ceil(len(shown) / ACROSS)
    figure = style.sheet(
        marks.heading(heading, found),
        note + tidy.left_out(found),
        (row * (len(names) + 1) + HEAD) * lines + HEAD,
    )
    grid = figure.subplots(lines, ACROSS, squeeze=False, sharey=True)
    for ax in grid.flat[len(shown) :]:
        ax.set_axis_off()
    colors = style.models(found)
    for ax, (about, numbers) in zip(grid.flat, shown.items(), strict=False):
        title(ax, about, numbers)
        for place, (run, color) in enumerate(colors.items()):
            shift = marks.APART * ((place + 0.5) / len(found) - 0.5)
            for published, choices in numbers:
                if (published["model"], published["revision"]) == run:
                    own = looks(color if len(found) > 1 else "")
                    draw_number(ax, published, choices, names, shift, own)
    for line in grid:
        marks.name(line[0], ["all", *names])
        line[0].set_ylabel("source", fontsize=8)
    named = {tidy.title(*run): style.Look(color) for run, color in colors.items()}
    several = named | looks(style.LINE) if len(found) > 1 else looks("")
    style.key(figure, several, columns=3)
    return figure


def looks(color: str) -> dict[str, style.Look]:
    """Marks of a model in its colour; of the only one in colours of their own."""
    return {n: replace(look, color=color) if color else look for n, look in LOOKS.items()}


def sources(table: pd.DataFrame) -> list[str]:
    """Names of the sources that choices leave out or take alone, sorted."""
    choices = table["choice"].astype(str) if "choice" in table else pd.Series(dtype=str)
    return sorted(
        {c.removeprefix(head) for head in (ONE, WITHOUT) for c in choices if c.startswith(head)}
    )


#: A published row, and the same number under the choices among sources.
Number = tuple[Mapping[Any, Any], pd.DataFrame]


def panels(claims: pd.DataFrame, table: pd.DataFrame) -> dict[tuple[str, ...], list[Number]]:
    """Primary numbers that have other choices, one panel for those that models share.

    Returns:
        Claim, arms and number of a panel -> the numbers in it, one of each model.
    """
    if claims.empty or table.empty:
        return {}
    primary = claims[claims["primary"].astype(str).eq("True") & claims["ci_low"].notna()]
    primary = primary[primary["summary"] != "mean"]
    known = [
        name for name in (*tidy.RUN, *NUMBER, "lens", "reading") if name in claims and name in table
    ]
    found: dict[tuple[str, ...], list[Number]] = {}
    names = table[known].apply(as_text)
    for row in primary.to_dict("records"):
        same = names.eq(as_text(pd.Series(row)[known])).all(axis=1)
        if same.any():
            about = (str(row["claim"]), tokens_as_one(str(row["arms"])), str(row["number"]))
            found.setdefault(about, []).append((row, table[same]))
    return found


def title(ax: Axes, about: tuple[str, ...], numbers: Sequence[Number]) -> None:
    """What a panel shows: the claim with the readings that decide it, and the number."""
    claim, arms, number = about
    readings = dict.fromkeys(row.get("reading") for row, _ in numbers)
    named = [reading for reading in readings if isinstance(reading, str) and reading]
    text = ", ".join(filter(None, (claim, " or ".join(named))))
    ax.set_title(text, fontsize=9, loc="left", fontweight="bold")
    what = number.split(": ")[-1].split(" [")[0]
    whose = arms.replace("/bos", "").replace("standard/", "")
    of = unit(number, str(numbers[0][0].get("lens") or ""))
    ax.set_xlabel(fill(f"{what}, {whose} ({of})", LABEL), fontsize=8)
    ax.tick_params(labelsize=8)


def draw_number(
    ax: Axes,
    row: Mapping[Any, Any],
    table: pd.DataFrame,
    names: Sequence[str],
    shift: float,
    shown: Mapping[str, style.Look],
) -> None:
    """One number of one model: published, and by source.

    Args:
        ax: the panel.
        row: as published.
        table: under the choices among sources.
        names: of the sources.
        shift: of the model within a row.
        shown: its marks.
    """
    whole = shown["all sources"]
    ends = [float(row.get(end, math.nan)) for end in ("source_low", "source_high")]
    ax.plot(ends, [shift, shift], color=whole.color, linewidth=0.7)
    style.estimate(ax, shift, values(row), whole)
    ax.axvline(float(row["estimate"]), color=whole.color, linewidth=0.7, alpha=0.5, zorder=0)
    for one in table.to_dict("records"):
        choice = str(one["choice"])
        for head, look in ((ONE, "this source alone"), (WITHOUT, "all but this source")):
            if choice.startswith(head):
                y = names.index(choice.removeprefix(head)) + 1 + shift
                middle, low, high = values(one)
                bare = (middle, math.nan, math.nan)
                style.estimate(ax, y, bare if head == WITHOUT else (middle, low, high), shown[look])


def values(row: Mapping[Any, Any]) -> tuple[float, float, float]:
    """Estimate and interval of a row."""
    return float(row["estimate"]), float(row["ci_low"]), float(row["ci_high"])
