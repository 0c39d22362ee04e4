"""Effects of exchanging position 0 in chosen heads, of silencing it and of unsinking it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from abspos.figures import marks, style, tidy
from abspos.study.conditions import SUBSTITUTES

#: Rows of panels: of energies, and of changes; a set of heads has the change under a swapped token
#: as its whole, a silence or an unsinking the energy under bos.
NUMBERS = {
    ("share of energy", "energy reduction"): "reduction of energy",
    ("share of the bos-swap change", "difference share"): "size of the change",
}
UNITS = ("% of the energy under bos", "% of the change under a swapped token, or of the energy")
DECIDES = "readers less others"
LIMITS = (-160.0, 160.0)  # per cent, of the axes, as far as they are needed


@style.figure(
    tables=("claims",),
    category="Claims",
    label="Readers of position 0: exchange, silence and unsinking in chosen heads",
    caption=(
        "Chosen heads read a substitute at position 0. Exchange: another token's key and value, in "
        "sink readers, in all other heads, in all heads, in thirds of the layers. Silence: a value "
        "of zero, for the third of each layer's heads that attend to it most or least, or for all. "
        "Unsink: the key, the value or both that BOS has in mid-text, for all heads. Columns are "
        "the readings of the residual-stream component. Above: reduction of its early energy. "
        "Below: size of its change, of an exchange as a share of the change when the token itself "
        "is replaced, otherwise of its energy. Median head (the mean head: claims.csv). Heads are "
        "chosen on one half of the inputs and measured on the other. Readers less others decides "
        "the claim. Several models share a row, each in its colour. Bars are intervals over "
        "inputs; an estimate outside the axis is an arrow with its value."
    ),
)
def draw(data: style.Data) -> Figure:
    """Sets of heads as rows, numbers as rows of panels, readings as columns."""
    shares = shares_of(data.tables["claims"])
    found = tidy.runs(data.tables["claims"])
    note = (
        f"{tidy.inputs(shares)} measured on, variant standard, early queries, median head; bars: "
        f"{data.level} intervals"
    )
    heading = "Position 0 replaced in chosen heads: effect on the residual stream"
    rows = rows_of(shares)
    if not rows:
        return style.empty(heading, "no substitute for position 0 in this study")
    columns = [name for name in style.READINGS if name in set(shares["reading"])]
    figure = style.sheet(
        marks.heading(heading, found),
        note + tidy.left_out(found),
        len(NUMBERS) * marks.height(len(rows), found) + 0.5,
    )
    panels = figure.subplots(len(NUMBERS), len(columns), squeeze=False, sharex=True, sharey=True)
    low = max(LIMITS[0], np.nanmin([-10, *100 * shares["ci_low"].astype(float)]))
    high = min(LIMITS[1], np.nanmax([100, *100 * shares["ci_high"].astype(float)]))
    for line, (numbers, title), unit in zip(panels, NUMBERS.items(), UNITS, strict=True):
        of_number = shares[shares["share"].isin(numbers)]
        for ax, reading in zip(line, columns, strict=True):
            for at in (0, 100):
                ax.axvline(at, color=style.LINE, linewidth=0.8, zorder=0)
            if DECIDES in rows:
                for side in (-0.5, 0.5):
                    ax.axhline(rows.index(DECIDES) + side, color=style.LINE, linewidth=0.8)
            own = tidy.of(of_number, reading=reading)
            marks.draw(ax, own, found, "heads", rows, (low, high))
        marks.name(line[0], rows)
        line[0].set_ylabel(title, fontweight="bold")
        line[len(line) // 2].set_xlabel(f"{title} ({unit})")
    for ax, reading in zip(panels[0], columns, strict=True):
        ax.set_title(reading, color=style.READINGS[reading].color, fontweight="bold")
    marks.key(figure, found)
    return figure


def shares_of(claims: pd.DataFrame) -> pd.DataFrame:
    """Rows of the claim in the median head; their number split into ``heads`` and ``share``."""
    rows = tidy.of(claims, claim="sink-readers", summary="median")
    rows = rows[rows["estimate"].notna()]
    split = rows["number"].astype(str).str.split(": ", n=1)
    return rows.assign(heads=split.str[0], share=split.str[-1])


def rows_of(shares: pd.DataFrame) -> list[str]:
    """Sets of heads that there are, exchanges first, then the difference that decides."""
    named = [name.removeprefix("exchange-") for name in SUBSTITUTES]
    exchanged = [name for name in named if name not in SUBSTITUTES]
    order = [*exchanged, DECIDES, *(name for name in named if name in SUBSTITUTES)]
    return [name for name in order if name in set(shares["heads"])]
