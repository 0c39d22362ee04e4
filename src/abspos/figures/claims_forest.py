"""The claims as one forest plot: estimates with intervals, what is claimed, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from abspos.documents import MIN_INPUTS
from abspos.figures import style

TABLES = ("claims",)
STORES = ()
CATEGORY = "Claims"
LABELS = {"figure": "Claims", "shows": "forest plot of all claims"}
CAPTION = (
    "Every claim as numbers with intervals, log lens left, probability lens right (numbers "
    "without a lens stand left); the median head where there is a choice, of bos-swap the energy "
    "reduction (all numbers: figure BOS swap and claims.csv). Each panel has units of its own. "
    "Orange marks show what is claimed: a bar a number, a triangle more or less than. Verdicts in "
    "bold are those of numbers named primary beforehand. Nothing is claimed of what is "
    "shown beside a claim."
)
ROW, HEAD = 0.25, 0.62  # inches of a row, and of a panel around its rows
MOST_DECADES = 7  # of an axis whose numbers differ that much


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """One panel per claim and lens, a row per number.

    Args:
        tables: ``claims`` (see abspos.claims.judgement); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    claims = shown(tables["claims"])
    found = style.runs(claims)
    per_run = [panels_of(style.of(claims, run)) for run in found]
    preliminary = claims.get("preliminary", pd.Series(dtype=bool)).astype(str).eq("True").any()
    note = (
        f"{style.inputs(claims)}; bars: {style.level(confidence)} intervals; orange: "
        "claimed; bold: primary"
    )
    if preliminary:
        note += f"; verdicts preliminary: N below {MIN_INPUTS}"
    height = max([2.0, *(panel_heights(panels).sum() + 0.5 for panels in per_run)])
    figure, parts = style.sheet(found, "The claims: estimates, intervals, verdicts", note, height)
    for part, panels in zip(parts, per_run, strict=True):
        draw_run(part, panels)
    return figure


def shown(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows that one figure can hold: medians over heads, of bos-swap the energy reduction."""
    if claims.empty:
        return claims
    rows = claims[claims["summary"].fillna("") != "mean"]
    number = rows["number"].fillna("").astype(str)
    other_swaps = (rows["claim"] == "bos-swap") & ~number.str.endswith("energy reduction")
    return rows[~other_swaps | (number == "")]


def label(row: Mapping[Any, Any]) -> str:
    """What one row shows: its number and arms, without what every row repeats."""
    texts = [str(row[k]) if isinstance(row[k], str) else "" for k in ("number", "arms")]
    number, arms = texts
    if row["claim"] == "bos-swap" and number:
        return number
    first, *others = (arm.removesuffix("/bos") for arm in arms.split(" vs "))
    pair = " vs ".join([first, *others])
    return " · ".join(filter(None, (pair if pair != "all" else "", number.split(" [")[0])))


def unit(number: str) -> str:
    """The unit in brackets behind a number's name; empty where it has none."""
    return number.partition("[")[2].rstrip("]")


def panels_of(claims: pd.DataFrame) -> list[tuple[str, list[str], pd.DataFrame]]:
    """The claims of one run as (title, row labels, rows), one per claim and unit."""
    if claims.empty:
        return []
    rows = claims.assign(
        label=[label(row) for row in claims.to_dict("records")],
        unit=[unit(str(number)) for number in claims["number"].fillna("")],
    )
    theorem = rows["verdict"].astype(str).eq("holds by construction") | rows["claimed"].astype(
        str
    ).str.startswith("<=")
    rows["kind"] = np.where(theorem, "theorem", "")
    groups = rows.groupby(["claim", "kind", "unit"], sort=False)
    return [
        (str(claim), list(dict.fromkeys(group["label"])), group) for (claim, _, _), group in groups
    ]


def panel_heights(panels: list[tuple[str, list[str], pd.DataFrame]]) -> np.ndarray:
    """Inches that each panel takes."""
    return np.array([ROW * len(labels) + HEAD for _, labels, _ in panels])


def draw_run(part: SubFigure, panels: list[tuple[str, list[str], pd.DataFrame]]) -> None:
    """One run: its claims from top to bottom."""
    if not panels:
        style.absent(part.subplots(), "no claims in this study")
        return
    axes = part.subplots(len(panels), 2, squeeze=False, height_ratios=list(panel_heights(panels)))
    for (claim, labels, rows), (left, right) in zip(panels, axes, strict=True):
        lens = rows["lens"].fillna("")
        draw_panel(left, rows[lens != "probability"], labels)
        draw_panel(right, rows[lens == "probability"], labels)
        named = [y for y, text in enumerate(labels) if text]
        left.set_yticks(named, [labels[y] for y in named])
        left.set_title(claim, loc="left", fontweight="bold")
        right.set_yticks([])
    axes[0, 0].set_title("log lens", loc="right")
    axes[0, 1].set_title("probability lens", loc="right")


def draw_panel(ax: Axes, rows: pd.DataFrame, labels: list[str]) -> None:
    """One claim in one lens, on an axis of its own."""
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(labelsize=8.5)
    if rows.empty:
        ax.set_axis_off()
        return
    if not np.isfinite(rows["estimate"].astype(float)).any():
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
    else:
        set_scale(ax, rows)
    for row in rows.to_dict("records"):
        draw_claim(ax, row, labels.index(row["label"]))


def draw_claim(ax: Axes, row: Mapping[Any, Any], y: int) -> None:
    """One number: its interval, what is claimed, its verdict."""
    verdict = row["verdict"] if isinstance(row["verdict"], str) else "shown beside"
    look = style.VERDICTS.get(verdict, style.VERDICTS["not reproduced"])
    estimate, low, high = (float(str(row[k])) for k in ("estimate", "ci_low", "ci_high"))
    style.estimate(ax, y, (estimate, low, high), look)
    if not math.isfinite(estimate) and isinstance(row["note"], str):
        ax.text(
            0.02,
            y,
            fill(row["note"], 30),
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color="#404040",
        )
    claimed, sign = parse_claimed(str(row["claimed"]))
    if math.isfinite(claimed) and math.isfinite(estimate):
        size = 13 if sign == "|" else 6
        ax.plot(
            claimed,
            y,
            marker=sign,
            color=style.ORANGE,
            markersize=size,
            markeredgewidth=2,
            zorder=2,
        )
    weight = "bold" if str(row["primary"]) == "True" else "normal"
    ax.text(
        1.02,
        y,
        verdict,
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize=8.5,
        fontweight=weight,
    )


def parse_claimed(text: str) -> tuple[float, str]:
    """The claimed value and its mark: a bar for a number, a triangle for more or less than."""
    mark = {">": ">", "<": "<"}.get(text[:1], "|")
    try:
        return float(text.lstrip("<>= ")), mark
    except ValueError:
        return math.nan, mark


def set_scale(ax: Axes, rows: pd.DataFrame) -> None:
    """Linear, or logarithmic down to 0 where sizes differ by more than a hundred; never where an
    estimate is negative, for there a small number would look like a large one."""
    claimed = [parse_claimed(str(text))[0] for text in rows["claimed"]]
    estimates = rows["estimate"].astype(float)
    sizes = np.abs([*estimates, *claimed])
    sizes = sizes[sizes > 0]
    if sizes.size and sizes.max() > 100 * sizes.min() and not (estimates < 0).any():
        decades = min(MOST_DECADES, math.ceil(math.log10(sizes.max() / sizes.min())) + 1)
        style.energy_axis(ax, [0.0, *sizes], decades, "x", max(2, decades // 2))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.axvline(0, color="#808080", linewidth=0.8, zorder=0)
    units = str(rows["unit"].iloc[0])
    if rows["number"].isin(["mask energy", "residual energy"]).all():
        units = style.UNITS.get(str(rows["lens"].iloc[0]), "")
    ax.set_xlabel(units, fontsize=8.5)
