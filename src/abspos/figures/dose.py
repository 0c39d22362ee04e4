"""How readings of R, mask and loss answer to the size of a change: NTK factors and windows."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import scales, style, tidy

#: Number, reading, and what the axis says.
ROWS = (
    *(
        ("reduction of residual energy", reading, f"{reading} reduced by\n(% of its energy)")
        for reading in style.READINGS
    ),
    ("reduction of mask energy", "", "mask reduced by\n(% of its energy)"),
    ("rise of loss [nats per token]", "", "rise of loss\n(nats per token)"),
)
COLUMNS = {"factor": "NTK factor", "window": "window (keys)"}


@style.figure(
    tables=("changes",),
    category="Components",
    label="Dose: reductions by NTK factor and by window",
    caption=(
        "Reduction of each reading of the residual-stream component and of the mask by variants of "
        "the same weights, as a share of the standard model's energy at early queries, and rise of "
        "the loss. Left: by the factor of NTK scaling (1 is the standard model). Right: by the "
        "keys of a sliding window. Median head, mean of layers; bars are intervals over inputs. An "
        "empty place means not testable. A kind of variant with fewer than two sizes is not shown."
    ),
)
def draw(data: style.Data) -> Figure:
    """Kinds of variants as columns; readings, mask and loss as rows; lenses as marks."""
    table = data.tables["changes"]
    found = tidy.runs(table)
    note = (
        f"{tidy.inputs(table)}, bos (no-bos where there is none), early queries, median head; "
        f"bars: {data.level} intervals"
    )
    several = any(doses_of(tidy.of(table, run)) for run in found)
    return style.per_run(
        found,
        "Dose and response",
        note,
        2.4 * len(ROWS) if several else 1.0,
        lambda part, run: draw_run(part, tidy.of(table, run)),
    )


def draw_run(part: SubFigure, table: pd.DataFrame) -> None:
    """One run: a column per kind of variant."""
    doses = doses_of(table)
    if not doses:
        few = (
            "fewer than two NTK factors and fewer than two windows in this study: see figure Claims"
        )
        style.absent(part.subplots(), few)
        return
    panels = part.subplots(len(ROWS), len(doses), squeeze=False, sharex="col", sharey="row")
    for column, (kind, rows) in enumerate(doses.items()):
        rows = rows.fillna({"reading": ""})
        for ax, (number, reading, unit) in zip(panels[:, column], ROWS, strict=True):
            scales.zero(ax)
            draw_panel(ax, tidy.of(rows, number=number, reading=reading), kind)
            if column == 0:
                ax.set_ylabel(unit)
        ticks = sorted(set(rows[kind]) | ({1.0} if kind == "factor" else set()))
        panels[-1, column].set_xscale("log", base=2)
        panels[-1, column].set_xticks(ticks, [f"{t:g}" for t in ticks])
        panels[-1, column].minorticks_off()
        panels[-1, column].set_xlabel(COLUMNS[kind])
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


def doses_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of each kind of variant that comes in two sizes or more."""
    found = {kind: series(table, kind) for kind in COLUMNS}
    return {kind: rows for kind, rows in found.items() if rows[kind].nunique() > 1}


def series(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Early numbers of the variants in which this one thing is changed."""
    if table.empty:
        return table.assign(**{k: [] for k in COLUMNS if k not in table})
    other = "window" if kind == "factor" else "factor"
    rows = table[table[kind].notna() & table[other].isna()]
    if kind == "factor":
        rows = rows[rows["rope_type"] == "ntk"]
    shown = rows["summary"].isna() | (rows["summary"] == "median")
    return rows[shown & (rows["bin"].isna() | (rows["bin"] == "early"))]


def draw_panel(ax: Axes, rows: pd.DataFrame, kind: str) -> None:
    """One number of one kind of variant: both lenses, or the loss."""
    loss = rows["lens"].isna().all()
    share = 1.0 if loss else 100.0
    looks = {"": style.LENS_LOOKS["log"]} if loss else style.LENS_LOOKS
    for lens, look in looks.items():
        own = rows if loss else tidy.of(rows, lens=lens)
        own = own.sort_values(kind)
        x, low, high = own[kind], share * own["ci_low"], share * own["ci_high"]
        ax.vlines(x, low, high, color=look.color, linewidth=1.4)
        ax.plot(x, share * own["estimate"], **look.line())
