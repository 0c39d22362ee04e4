"""Effects of exchanging position 0 in chosen heads, of silencing it and of unsinking it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style, tidy
from abspos.study.conditions import SUBSTITUTES

#: Columns: of energies, and of changes; a set of heads has the change under a swapped token as its
#: whole, a silence or an unsinking the energy under bos.
NUMBERS = {
    ("share of energy", "energy reduction"): "reduction of energy",
    ("share of the bos-swap change", "difference share"): "size of the change",
}
DECIDES = "readers less others"
SUMMARIES = {"median": "median head", "mean": "mean head"}
LIMITS = (-160.0, 160.0)  # per cent, of the axes, as far as they are needed


@style.figure(
    tables=("claims",),
    category="Claims",
    label="Readers of position 0: exchange, silence and unsinking in chosen heads",
    caption=(
        "Chosen heads read a substitute at position 0. Exchange: another token's key and value, in "
        "sink readers, in all other heads, in all heads, in thirds of the layers. Silence: a value "
        "of zero, for the third of each layer's heads that attend to it most or least, or for all. "
        "Unsink: the key, the value or both that BOS has in mid-text, for all heads. Left: "
        "reduction of R's early energy. Right: size of the change of R, of an exchange as a share "
        "of the change when the token itself is replaced, otherwise of R's energy. Heads are "
        "chosen on one half of the inputs and measured on the other. Readers less others decides "
        "the claim. Bars are intervals over inputs; an estimate outside the axis is an arrow with "
        "its value."
    ),
)
def draw(data: style.Data) -> Figure:
    """Sets of heads as rows, the two numbers as columns, lenses as marks."""
    claims = data.tables["claims"]
    found = tidy.runs(claims)
    shares = shares_of(claims)
    note = (
        f"{tidy.inputs(shares)} measured on, variant standard, early queries; bars: "
        f"{data.level} intervals"
    )
    title = "Substitutes for position 0 in chosen heads: effect on the residual-stream component"
    return style.per_run(
        found,
        title,
        note,
        2 * (0.22 * max(4, len(rows_of(shares))) + 0.55) + 0.9,
        lambda part, run: draw_run(part, tidy.of(shares, run)),
    )


def shares_of(claims: pd.DataFrame) -> pd.DataFrame:
    """Rows of the claim with a number, of R; that number split into ``heads`` and ``share``."""
    rows = claims[(claims["claim"] == "sink-readers") & claims["estimate"].notna()].copy()
    if "reading" in rows:
        rows = rows[rows["reading"].fillna("R") == "R"]
    split = rows["number"].astype(str).str.split(": ", n=1)
    return rows.assign(heads=split.str[0], share=split.str[-1])


def rows_of(shares: pd.DataFrame) -> list[str]:
    """Sets of heads that there are, exchanges first, then the difference that decides."""
    named = [name.removeprefix("exchange-") for name in SUBSTITUTES]
    exchanged = [name for name in named if name not in SUBSTITUTES]
    order = [*exchanged, DECIDES, *(name for name in named if name in SUBSTITUTES)]
    return [name for name in order if name in set(shares["heads"])]


def draw_run(part: SubFigure, shares: pd.DataFrame) -> None:
    """One run: a row of panels per summary."""
    if shares.empty:
        style.absent(part.subplots(), "no substitute for position 0 in this study")
        return
    rows = rows_of(shares)
    panels = part.subplots(len(SUMMARIES), len(NUMBERS), sharex=True, sharey=True)
    low = max(LIMITS[0], np.nanmin([-10, *100 * shares["ci_low"].astype(float)]))
    high = min(LIMITS[1], np.nanmax([100, *100 * shares["ci_high"].astype(float)]))
    for (summary, words), line in zip(SUMMARIES.items(), panels, strict=True):
        for ax, numbers in zip(line, NUMBERS, strict=True):
            own = tidy.of(shares, summary=summary)
            draw_panel(ax, own[own["share"].isin(numbers)], rows, (low, high))
        line[0].set_ylabel(words)
        line[0].set_yticks(range(len(rows)), rows)
        line[0].set_ylim(len(rows) - 0.5, -0.5)
    for ax, title in zip(panels[0], NUMBERS.values(), strict=True):
        ax.set_title(title)
    for ax in panels[-1]:
        ax.set_xlabel("share (%)")
    panels[0, 0].set_xlim(low - 5, high + 5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


def draw_panel(
    ax: Axes, shares: pd.DataFrame, rows: list[str], limits: tuple[float, float]
) -> None:
    """One number in one summary: both lenses of every set of heads, one below the other."""
    for at in (0, 100):
        ax.axvline(at, color=style.LINE, linewidth=0.8, zorder=0)
    if DECIDES in rows:
        ax.axhline(rows.index(DECIDES) - 0.5, color=style.LINE, linewidth=0.8)
        ax.axhline(rows.index(DECIDES) + 0.5, color=style.LINE, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(shares, lens=lens).to_dict("records"):
            estimate, low, high = (100 * float(one[c]) for c in ("estimate", "ci_low", "ci_high"))
            y = rows.index(one["heads"]) + shift
            style.estimate(ax, y, (estimate, low, high), style.LENS_LOOKS[lens], limits)
