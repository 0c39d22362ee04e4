"""R under one repeated token: nothing without BOS, something behind it."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import compared, style, tidy

REPEATED = ("control-repeat", "control-repeat-bos")
SMALLEST = 1e-30  # stands for an energy that is exactly 0


@style.figure(
    tables=("controls",),
    category="Controls",
    label="Repeats: R under one repeated token",
    caption=(
        "Energy of R of early queries where one token stands at every position. Without BOS "
        "nothing tells positions apart, so R must be nothing: the largest energy of a head is "
        "shown. After BOS it must not be: the smallest, over layers, of the largest head is shown. "
        "The dotted line is what counts as nothing."
    ),
)
def draw(data: style.Data) -> Figure:
    """Conditions as rows, lenses as marks, runs beside each other."""
    repeats = repeats_of(data.tables["controls"])
    heading = "R under one repeated token"
    note = "variant standard, early queries; extremes over heads, without intervals"
    if repeats.empty:
        return style.empty(heading, "no repeated token in this study")
    found = tidy.runs(repeats)
    names = [name for name in REPEATED if name in set(repeats["condition"])]
    sheet = compared.beside(found, heading, note, [("", "")], 1.3, sharex=True)
    for run, panels in zip(found, sheet.panels, strict=True):
        draw_repeats(panels[0], tidy.of(repeats, run), names)
    for line in sheet.lines:
        line[0].set_yticks(range(len(names)), names)
        line[0].set_ylim(len(names) - 0.5, -0.5)
    style.key(sheet.figure, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
    return sheet.figure


def repeats_of(controls: pd.DataFrame) -> pd.DataFrame:
    """Checks of one repeated token under standard, with their lens and what counts as nothing."""
    rows = tidy.of(controls, variant="standard")
    rows = rows[rows["condition"].isin(REPEATED)] if len(rows) else rows
    # "largest energy of R, at most 1e-06, log"
    said = [str(check).split(", ") for check in rows.get("check", ())]
    nothing = [float(words[-2].split()[-1]) for words in said]
    return rows.assign(lens=[words[-1] for words in said], nothing=nothing)


def draw_repeats(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """Energy of R under one repeated token, and what counts as nothing."""
    ax.axvline(rows["nothing"].iloc[0], color=style.LINE, linewidth=0.8, linestyle=":")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(rows, lens=lens).to_dict("records"):
            value = max(float(one["value"]), SMALLEST)
            y = names.index(one["condition"]) + shift
            ax.plot(value, y, **(style.LENS_LOOKS[lens].line() | {"linestyle": "none"}))
    ax.set_xscale("log")
    ax.set_xlabel("energy of R (nats² or probability²)")
