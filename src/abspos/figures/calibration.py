"""Simulated studies: bias of the estimates, and how often the intervals cover the planted truth."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import scales, style, tidy

NUMBERS = {
    "residual energy, median head": style.Look(style.BLACK, "-", "o"),
    "mask energy, median head": style.Look(style.BLUE, "-", "s"),
    "residual energy, each head": style.Look("#7F7F7F", "--", "o", filled=False),
    "mask energy, each head": style.Look(style.SKY, "--", "s", filled=False),
    "paired reduction, median head": style.Look(style.VERMILLION, "-", "^"),
    "paired reduction, mean head": style.Look(style.VERMILLION, "--", "^", filled=False),
    "depth slope, median head": style.Look(style.GREEN, "-.", "D"),
}
GOOD = (0.93, 0.97)
MOST_BIAS = 0.3  # that the axis still shows
LOWEST = 0.6  # coverage that the axis still shows


@style.figure(
    tables=("calibration",),
    category="Calibration",
    label="Calibration: bias and coverage on planted components",
    caption=(
        "Simulated studies with planted components, processed by the decomposition, Gram matrices "
        "and intervals of every study. Top: mean estimate minus truth, as a share of the truth. "
        "Bottom: share of 95 % intervals that cover the truth; the grey band is 93 to 97 %. "
        "Columns are worlds: the size of an input's own logits, heavy tails over inputs, and few "
        "inputs that carry half of the variance."
    ),
)
def draw(data: style.Data) -> Figure:
    """Worlds as columns; bias and coverage of both lenses as rows."""
    table = data.tables["calibration"]
    worlds = list(table[["noise", "tails"]].drop_duplicates().itertuples(index=False, name=None))
    studies = ", ".join(str(n) for n in sorted(table["studies"].unique())) if len(table) else "no"
    note = (
        f"{studies} simulated studies a point; 95 % intervals; bars of coverage: Clopper-Pearson "
        "over studies; values beyond an axis stand at its edge"
    )
    figure = style.sheet("Planted components: bias and coverage", note, 9.6)
    if not worlds:
        style.absent(figure.subplots(), "no simulated studies")
        return figure
    panels = figure.subplots(4, len(worlds), sharex=True, sharey="row", squeeze=False)
    for column, (noise, tails) in enumerate(worlds):
        for row, (kind, lens) in enumerate(
            (kind, lens) for kind in ("bias", "coverage") for lens in style.LENSES
        ):
            ax = panels[row, column]
            (bias if kind == "bias" else coverage)(
                ax, tidy.of(table, noise=noise, tails=tails, lens=lens)
            )
            if column == 0:
                unit = "bias (% of truth)" if kind == "bias" else "coverage (%)"
                ax.set_ylabel(f"{unit}\n{lens} lens")
        panels[0, column].set_title(f"noise {noise:g}, {tails} tails")
        panels[-1, column].set_xlabel("N inputs")
    handles = panels[0, 0].get_lines()
    named = [line for line in handles if line.get_label() in NUMBERS]
    figure.legend(handles=named, loc="outside upper right", ncols=2, fontsize=9, handlelength=3.2)
    return figure


def axis(ax: Axes, rows: pd.DataFrame) -> None:
    """N on a logarithmic axis, with its values as ticks."""
    numbers = sorted(rows["n_inputs"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(numbers, [str(n) for n in numbers])
    ax.minorticks_off()


def bias(ax: Axes, rows: pd.DataFrame) -> None:
    """Mean estimate less truth, as a share of the truth."""
    scales.zero(ax)
    for name, look in NUMBERS.items():
        one = tidy.of(rows, number=name)
        shown = one["bias"].clip(-MOST_BIAS, MOST_BIAS)
        ax.plot(one["n_inputs"], 100 * shown, label=name, **look.line())
    if (rows["bias"].abs() > MOST_BIAS).any():
        scales.beyond(ax, f"reaches {100 * max(rows['bias'], key=abs):.0f} %")
    ax.set_ylim(-100 * MOST_BIAS - 2, 100 * MOST_BIAS + 2)
    axis(ax, rows)


def coverage(ax: Axes, rows: pd.DataFrame) -> None:
    """Share of intervals that cover the truth, with its own interval."""
    ax.axhspan(100 * GOOD[0], 100 * GOOD[1], color="#d9d9d9", zorder=0)
    for name, look in NUMBERS.items():
        one = tidy.of(rows, number=name)
        shown = one["coverage"].clip(lower=LOWEST)
        ax.plot(one["n_inputs"], 100 * shown, **look.line())
        low, high = (one[c].clip(lower=LOWEST) for c in ("coverage_low", "coverage_high"))
        ax.vlines(one["n_inputs"], 100 * low, 100 * high, color=look.color, linewidth=0.8)
    if (lowest := rows["coverage"].min()) < LOWEST:
        scales.beyond(ax, f"down to {100 * lowest:.0f} %")
    ax.set_ylim(100 * LOWEST - 2, 102)
    axis(ax, rows)
