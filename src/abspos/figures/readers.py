"""Effects of exchanging position 0 in sink readers, as many other heads, or all heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style, tidy

NUMBERS = ("share of R energy", "share of the bos-swap change")
ROWS = {
    "readers": "sink readers",
    "matched": "as many others",
    "all": "all heads",
    "readers less matched": "readers less others",
}
SUMMARIES = {"median": "median head", "mean": "mean head"}
LIMITS = (-60.0, 160.0)  # per cent, of the axes, as far as they are needed


@style.figure(
    tables=("claims",),
    category="Claims",
    label="Readers of position 0: exchange in sink readers and other heads",
    caption=(
        "Keys and values at position 0 are exchanged for another token's in chosen heads only: "
        "sink readers, as many other heads of the same layers, or all heads. Left: share of R's "
        "early energy that the exchange removes. Right: size of the change of R, as a share of "
        "the change when the token itself is replaced. Heads are chosen on one half of the inputs "
        "and measured on the other. The last row decides the claim. Bars are intervals over "
        "inputs; an estimate outside the axis is an arrow with its value."
    ),
)
def draw(data: style.Data) -> Figure:
    """Sets of heads as rows, the two shares as columns, lenses as marks."""
    claims = data.tables["claims"]
    found = tidy.runs(claims)
    shares = shares_of(claims)
    note = (
        f"{tidy.inputs(shares)} measured on, variant standard, early queries; bars: "
        f"{data.level} intervals"
    )
    title = "Position 0 exchanged in chosen heads: effect on the residual-stream component"
    return style.per_run(
        found,
        title,
        note,
        2 * (0.27 * len(ROWS) + 0.55) + 0.9,
        lambda part, run: draw_run(part, tidy.of(shares, run)),
    )


def shares_of(claims: pd.DataFrame) -> pd.DataFrame:
    """Rows of the claim with a number, that number split into ``heads`` and ``share``."""
    rows = claims[(claims["claim"] == "sink-readers") & claims["estimate"].notna()].copy()
    split = rows["number"].astype(str).str.split(": ", n=1)
    return rows.assign(heads=split.str[0], share=split.str[-1])


def draw_run(part: SubFigure, shares: pd.DataFrame) -> None:
    """One run: a row of panels per summary."""
    if shares.empty:
        style.absent(part.subplots(), "no exchange of position 0 in this study")
        return
    panels = part.subplots(len(SUMMARIES), len(NUMBERS), sharex=True, sharey=True)
    low = max(LIMITS[0], np.nanmin([-10, *100 * shares["ci_low"].astype(float)]))
    high = min(LIMITS[1], np.nanmax([100, *100 * shares["ci_high"].astype(float)]))
    for (summary, words), line in zip(SUMMARIES.items(), panels, strict=True):
        for ax, number in zip(line, NUMBERS, strict=True):
            draw_panel(ax, tidy.of(shares, summary=summary, share=number), (low, high))
        line[0].set_ylabel(words)
        line[0].set_yticks(range(len(ROWS)), list(ROWS.values()))
        line[0].set_ylim(len(ROWS) - 0.5, -0.5)
    for ax, number in zip(panels[0], NUMBERS, strict=True):
        ax.set_title(number)
    for ax in panels[-1]:
        ax.set_xlabel("share (%)")
    panels[0, 0].set_xlim(low - 5, high + 5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


def draw_panel(ax: Axes, shares: pd.DataFrame, limits: tuple[float, float]) -> None:
    """One share in one summary: both lenses of every set of heads, one below the other."""
    for at in (0, 100):
        ax.axvline(at, color=style.LINE, linewidth=0.8, zorder=0)
    ax.axhline(2.5, color=style.LINE, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(shares, lens=lens).to_dict("records"):
            estimate, low, high = (100 * float(one[c]) for c in ("estimate", "ci_low", "ci_high"))
            y = list(ROWS).index(one["heads"]) + shift
            style.estimate(ax, y, (estimate, low, high), style.LENS_LOOKS[lens], limits)
