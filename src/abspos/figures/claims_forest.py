"""The claims as one forest plot: estimates with intervals, what is claimed, and the verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from abspos.claims.names import as_text
from abspos.documents import MIN_INPUTS
from abspos.figures import scales, style, tidy

BESIDE = "shown beside"
ROW, MODEL = 0.27, 0.07  # inches of a row, and for each further model in it
HEAD, BARE = 0.66, 0.34  # inches around a panel's rows, with an axis and without
LABEL, VERDICT, REASON = 34, 22, 44  # characters to a line of a label, a verdict, a reason
MOST_DECADES = 7  # of an axis whose numbers differ that much
#: Units of numbers whose name has none in brackets, by a word of the name; the first counts.
UNITS = {
    "reduction": "share",
    "share": "share",
    "attention": "share",
    "relative": "share of the norm",
    "variance explained": "share",
    "accuracy": "share",
    "energy": "{energy}",
}


@dataclass(frozen=True)
class Panel:
    """One claim in one unit a lens: rows of the table, log lens left.

    Attributes:
        claim: its name.
        sides: rows in the log lens or without a lens, and in the probability lens.
    """

    claim: str
    sides: tuple[pd.DataFrame, pd.DataFrame]

    @property
    def labels(self) -> list[str]:
        """Labels of its rows."""
        return list(dict.fromkeys(label for side in self.sides for label in side["label"]))

    @property
    def bare(self) -> bool:
        """Whether it has no number, and so needs no axis."""
        return not any(np.isfinite(side["estimate"].astype(float)).any() for side in self.sides)


@style.figure(
    tables=("claims",),
    category="Claims",
    label="Claims: forest plot of all claims",
    caption=(
        "Every claim as numbers with intervals, log lens left, probability lens right (numbers "
        "without a lens are left); the median head where there is a choice, and for bos-swap the "
        "energy reduction (all numbers: figure BOS swap and claims.csv). Numbers about the "
        "residual-stream component stand once for each of its readings, which is named in brackets "
        "and, of a single model, has its colour. Each panel has a unit of its own. Several models "
        "share a row, each in its colour; marks show their verdicts, and the text beside the row "
        "counts them. Orange marks show the claimed value: a bar for a number, a triangle for a "
        "least effect. Verdicts in bold belong to primary numbers, named beforehand; thin lines "
        "extend their intervals to the level that Holm's correction over the claims leaves, which "
        "decides. Rows that only accompany a claim have no claimed value."
    ),
)
def draw(data: style.Data) -> Figure:
    """A panel for each claim, lens and unit, a row for each number, all models in one row."""
    claims = shown(data.tables["claims"])
    found = tidy.runs(claims)
    colors = style.models(found)
    preliminary = claims.get("preliminary", pd.Series(dtype=bool)).astype(str).eq("True").any()
    note = (
        f"{tidy.inputs(claims)}; bars: {data.level} intervals, thin: at Holm's level"
        "; orange: claimed; bold: primary"
        + f"; verdicts preliminary: N below {MIN_INPUTS}" * bool(preliminary)
        + tidy.left_out(found)
    )
    panels = panels_of(pd.concat([tidy.of(claims, run) for run in found]))
    row = ROW + MODEL * (len(found) - 1)
    heights = [row * len(p.labels) + (BARE if p.bare else HEAD) for p in panels]
    figure = style.sheet("The claims: estimates, intervals, verdicts", note, sum(heights) + 0.6)
    key(figure, colors, claims)
    if not panels:
        style.absent(figure.subplots(), "no claims in this study")
        return figure
    grid = figure.subplots(len(panels), 2, squeeze=False, height_ratios=heights)
    for panel, line in zip(panels, grid, strict=True):
        for ax, side, lens in zip(line, panel.sides, style.LENSES, strict=True):
            draw_side(ax, side, panel, colors)
            title = panel.claim if lens == "log" else ""
            stated = (side["lens"] == lens).any()
            title = ", ".join(filter(None, [title, f"{lens} lens" if stated else ""]))
            ax.set_title(title, loc="left", fontweight="bold" if lens == "log" else "normal")
        line[0].set_yticks(range(len(panel.labels)), [fill(t, LABEL) for t in panel.labels])
        line[1].set_yticks([])
    return figure


def key(figure: Figure, colors: Mapping[tuple[str, str], str], claims: pd.DataFrame) -> None:
    """Models by colour; where there are several, verdicts by mark."""
    looks = {tidy.title(*run): style.Look(color) for run, color in colors.items()}
    if len(colors) == 1:
        read = set(claims.get("reading", pd.Series(dtype=str)).dropna())
        names = [name for name in style.READINGS if name in read]
        looks |= {name: style.Look(style.READINGS[name].color) for name in names}
    if len(colors) > 1:
        seen = set(claims["verdict"])
        marks = {name: look for name, look in style.VERDICTS.items() if name in seen}
        looks |= {name: replace(look, color=style.LINE) for name, look in marks.items()}
    style.key(figure, looks, columns=2 if max(map(len, looks)) > 22 else 3)


def shown(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows that one figure can hold: medians over heads, of bos-swap the energy reduction."""
    if claims.empty:
        return claims
    rows = claims[claims["summary"] != "mean"]
    number = as_text(rows["number"])
    other_swaps = (rows["claim"] == "bos-swap") & ~number.str.endswith("energy reduction")
    return rows[~other_swaps | (number == "")]


def label(row: Mapping[Any, Any]) -> str:
    """Label of a row: number and arms, without parts that all rows of the claim share."""
    texts = [str(row[k]) if isinstance(row[k], str) else "" for k in ("number", "arms")]
    number, arms = texts
    reading = row.get("reading")
    of_reading = f" ({reading})" if isinstance(reading, str) and reading else ""
    if row["claim"] in ("bos-swap", "sink-readers") and number:
        return number + of_reading
    first, *others = (arm.removesuffix("/bos") for arm in arms.split(" vs "))
    pair = " vs ".join([first, *others])
    named = " · ".join(filter(None, (pair if pair != "all" else "", number.split(" [")[0])))
    return named + of_reading


def unit(number: str, lens: str) -> str:
    """The unit of a number: in brackets behind its name, or by a word of it."""
    energy = style.UNITS.get(lens, "")
    stated = number.partition("[")[2].rstrip("]")
    if stated:
        return stated.replace("energy", energy)
    return next((text for word, text in UNITS.items() if word in number), "").format(energy=energy)


def panels_of(claims: pd.DataFrame) -> list[Panel]:
    """The claims as panels: theorems apart from what is measured, and each unit apart."""
    if claims.empty:
        return []
    rows = claims.assign(
        label=[label(row) for row in claims.to_dict("records")],
        unit=[
            unit(*pair)
            for pair in zip(as_text(claims["number"]), as_text(claims["lens"]), strict=True)
        ],
        theorem=claims["verdict"].eq("holds by construction")
        | claims["claimed"].astype(str).str.startswith("<="),
        right=claims["lens"].eq("probability"),
    )
    panels = []
    for (claim, _), group in rows.groupby(["claim", "theorem"], sort=False):
        left, right = (
            [part for _, part in side.groupby("unit", sort=False)]
            for side in (group[~group["right"]], group[group["right"]])
        )
        pairs = zip_longest(left, right, fillvalue=group[:0])
        panels += [Panel(str(claim), pair) for pair in pairs]
    return panels


def draw_side(
    ax: Axes, rows: pd.DataFrame, panel: Panel, colors: Mapping[tuple[str, str], str]
) -> None:
    """One panel in one lens, on an axis of its own."""
    labels = panel.labels
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(labelsize=8)
    if rows.empty:
        ax.set_axis_off()
        return
    if np.isfinite(rows["estimate"].astype(float)).any():
        set_scale(ax, rows)
    else:
        ax.set_xticks([])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    of_label: dict[str, list[dict[Any, Any]]] = {}
    for row in rows.to_dict("records"):
        of_label.setdefault(str(row["label"]), []).append(row)
    for text, group in of_label.items():
        y = labels.index(text)
        for run, color in colors.items():
            shift = 0.7 * ((list(colors).index(run) + 0.5) / len(colors) - 0.5)
            for row in (r for r in group if (r["model"], r["revision"]) == run):
                look = style.VERDICTS.get(verdict_of(row), style.NO_VERDICT)
                middle, low, high = (float(str(row[k])) for k in ("estimate", "ci_low", "ci_high"))
                own = style.READINGS.get(str(row.get("reading"))) if len(colors) == 1 else None
                shade = own.color if own else color
                decided = [float(row.get(k, math.nan)) for k in ("decided_low", "decided_high")]
                ax.plot(decided, [y + shift] * 2, color=shade, linewidth=0.6, zorder=1)
                style.estimate(ax, y + shift, (middle, low, high), replace(look, color=shade))
        draw_claim(ax, group, y)
        draw_verdicts(ax, group, y)


def verdict_of(row: Mapping[Any, Any]) -> str:
    """The verdict of one row; numbers beside a claim have none."""
    return row["verdict"] if isinstance(row["verdict"], str) and row["verdict"] else BESIDE


def draw_claim(ax: Axes, group: Sequence[Mapping[Any, Any]], y: int) -> None:
    """Draw the claimed value of a number, or the reason for a missing estimate."""
    measured = [row for row in group if math.isfinite(float(row["estimate"]))]
    at = ax.get_yaxis_transform()
    if not measured:
        reasons = "; ".join(dict.fromkeys(str(r["note"]) for r in group if pd.notna(r["note"])))
        text = fill(reasons, REASON)
        ax.text(0.01, y, text, transform=at, va="center", fontsize=7, color=style.DIM)
        return
    claimed, sign = parse_claimed(str(measured[0]["claimed"]))
    if math.isfinite(claimed):
        (mark,) = ax.plot(claimed, y, marker=sign, color=style.ORANGE, zorder=2)
        mark.set(markersize=13 if sign == "|" else 6, markeredgewidth=2)


def draw_verdicts(ax: Axes, group: Sequence[Mapping[Any, Any]], y: int) -> None:
    """The verdict of one number beside its row; of several models how many have which."""
    found = Counter(map(verdict_of, group))
    texts = [f"{n} {name}" if len(found) > 1 else name for name, n in found.most_common()]
    weight = "bold" if any(str(row["primary"]) == "True" for row in group) else "normal"
    ax.text(
        *(1.02, y, fill("; ".join(texts), VERDICT)),
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize=8,
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
        scales.signed_log(ax, [0.0, *sizes], decades, "x", max(2, decades // 2))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    scales.zero(ax, "x")
    ax.set_xlabel(str(rows["unit"].iloc[0]), fontsize=8.5)
