"""The numbers of bos-swap for every replacement, beside the claimed 40 %."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MultipleLocator

from abspos.claims.verdicts import SWAP_SHARE
from abspos.figures import compared, scales, style, tidy
from abspos.study.conditions import NUMBERED, split

NUMBERS = ("energy reduction", "aligned reduction", "difference share", "amplitude reduction")
HEADING = "BOS replaced: change of the residual-stream component"
CLAIMED = 100 * SWAP_SHARE  # per cent
LIMITS = (-60.0, 160.0)  # per cent, of the axes, as far as they are needed


@style.figure(
    tables=("swaps",),
    category="Claims",
    label="BOS swap: every replacement beside the claimed 40 %",
    caption=(
        "Effect of replacing the BOS embedding on each reading of the residual component at early "
        "queries (rows of panels), by four numbers and two lenses, for every replacement, in the "
        "median head (the mean head: swaps.csv). The dashed line is the claimed 40 %. Orange marks "
        "have intervals that cover it; a star marks the primary number. ablate-zero removes "
        "position 0 altogether. Bars are intervals over inputs; an estimate outside the axis is an "
        "arrow with its value."
    ),
)
def draw(data: style.Data) -> Figure:
    """Replacements as rows, the four numbers as columns, lenses as marks."""
    swaps = data.tables["swaps"]
    found = tidy.runs(swaps)
    order = replacements(swaps)
    note = (
        f"{tidy.inputs(swaps)}, variant standard, early queries, median head; bars: {data.level} "
        "intervals; dashed: claimed 40 %; orange: covers it; ★: primary"
    )
    if swaps.empty:
        return style.empty(HEADING, "no replacement of BOS in this study")
    if len(found) > 1:
        return draw_several(swaps, found, order, note)
    height = len(style.READINGS) * (0.27 * max(len(order), 3) + 0.55) + 0.9
    return style.of_one(
        found[0],
        HEADING,
        note,
        height,
        lambda part: draw_run(part, tidy.of(swaps, found[0]), order),
    )


def draw_several(
    swaps: pd.DataFrame, found: tidy.Runs, order: Mapping[str, str], note: str
) -> Figure:
    """Several runs: the primary number alone, readings as rows, runs as columns."""
    number, *others = NUMBERS
    shown = tidy.of(swaps, summary="median", number=number)
    sheet = compared.beside(
        found,
        f"BOS replaced: {number} of each reading",
        f"{note}; {', '.join(others)}: swaps.csv",
        [(reading, "") for reading in style.READINGS],
        0.24 * max(len(order), 3) + 0.3,
        sharex=True,
    )
    ends = limits_of(shown)
    for run, panels in zip(found, sheet.panels, strict=True):
        for ax, reading in zip(panels, style.READINGS, strict=True):
            draw_panel(ax, tidy.of(shown, run, reading=reading), list(order), ends)
            ax.set_xlim(ends[0] - 5, ends[1] + 5)
        panels[-1].set_xlabel(f"{number} (%)")
    for line in sheet.lines:
        line[0].set_yticks(range(len(order)), list(order.values()), fontsize=8)
        line[0].set_ylim(len(order) - 0.5, -0.5)
    style.key(sheet.figure, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
    return sheet.figure


def limits_of(swaps: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis in per cent, as far as intervals reach and LIMITS allow."""
    low = max(LIMITS[0], np.nanmin([-10, *100 * swaps["ci_low"].astype(float)]))
    return low, min(LIMITS[1], np.nanmax([60, *100 * swaps["ci_high"].astype(float)]))


def replacements(swaps: pd.DataFrame) -> dict[str, str]:
    """Label of every replacement in the order of its rows: the listed tokens first, mean on top."""
    if not {"replacement", "token"} <= set(swaps.columns):
        return {}
    pairs = swaps.drop_duplicates("replacement").set_index("replacement")["token"]
    labels = {
        # An escaped dollar sign begins no formula.
        str(name): f"{name} {token}".replace("$", r"\$").strip()
        if isinstance(token, str)
        else str(name)
        for name, token in pairs.items()
    }
    numbered = [split(name)[0] for name in labels if split(name)[1]]
    for name in set(numbered) & set(labels):
        labels[name] = f"{name}, mean of {numbered.count(name)}"
    first = [n for n in labels if split(n)[0] in NUMBERED]
    return {n: labels[n] for n in [*first, *(n for n in labels if n not in first)]}


def draw_run(part: SubFigure, swaps: pd.DataFrame, order: Mapping[str, str]) -> None:
    """One run: a row of panels per reading."""
    swaps = tidy.of(swaps, summary="median")
    if swaps.empty:
        style.absent(part.subplots(), "no replacement of BOS in this study")
        return
    panels = part.subplots(len(style.READINGS), len(NUMBERS), sharex=True, sharey=True)
    rows = list(order)
    low, high = limits_of(swaps)
    for (reading, look), line in zip(style.READINGS.items(), panels, strict=True):
        for ax, number in zip(line, NUMBERS, strict=True):
            draw_panel(ax, tidy.of(swaps, reading=reading, number=number), rows, (low, high))
        line[0].set_ylabel(reading, color=look.color, fontweight="bold")
        line[0].set_yticks(range(len(rows)), list(order.values()))
        line[0].set_ylim(len(rows) - 0.5, -0.5)
    for ax, number in zip(panels[0], NUMBERS, strict=True):
        ax.set_title(number)
    for ax, number in zip(panels[-1], NUMBERS, strict=True):
        ax.set_xlabel(f"{number.split()[-1]} (%)")
    panels[0, 0].xaxis.set_major_locator(MultipleLocator(50))
    panels[0, 0].set_xlim(low - 5, high + 5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


def draw_panel(
    ax: Axes, swaps: pd.DataFrame, rows: Sequence[str], limits: tuple[float, float]
) -> None:
    """One number in one reading: both lenses of every replacement, one below the other."""
    scales.zero(ax, "x")
    ax.axvline(CLAIMED, color=style.VERMILLION, linestyle=(0, (5, 1.5)), linewidth=1.3, zorder=0)
    ax.grid(visible=False, axis="y")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(swaps, lens=lens).to_dict("records"):
            estimate, low, high = (100 * float(one[c]) for c in ("estimate", "ci_low", "ci_high"))
            y = rows.index(one["replacement"]) + shift
            look = style.LENS_LOOKS[lens]
            if low <= CLAIMED <= high:
                look = replace(look, color=style.VERMILLION)
            style.estimate(ax, y, (estimate, low, high), look, limits)
            if bool(one["primary"]) and limits[0] <= estimate <= limits[1]:
                ax.plot(
                    estimate,
                    y,
                    marker="*",
                    markersize=12,
                    color=look.color,
                    zorder=4,
                    markeredgecolor="white",
                    markeredgewidth=0.7,
                )
