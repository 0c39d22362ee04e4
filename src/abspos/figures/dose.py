"""How readings of R, mask and loss answer to the size of a change: NTK factors and windows."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import marks, scales, style, tidy

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
APART = 0.3  # octaves that the marks of one size take


@style.figure(
    tables=("changes",),
    category="Components",
    label="Dose: reductions by NTK factor and by window",
    caption=(
        "Reduction of each reading of the residual-stream component and of the mask by variants of "
        "the same weights, as a share of the standard model's energy at early queries, and rise of "
        "the loss. Left: by the factor of NTK scaling (1 is the standard model). Right: by the "
        "keys of a sliding window. Median head, mean of layers; bars are intervals over inputs. "
        "Several models share an axis, each in its colour. An empty place means not testable. A "
        "kind of variant with fewer than two sizes is not shown."
    ),
)
def draw(data: style.Data) -> Figure:
    """Kinds of variants as columns; readings, mask and loss as rows; lenses and models as marks."""
    table = data.tables["changes"]
    found = tidy.runs(table)
    heading = "Dose and response"
    note = (
        f"{tidy.inputs(table)}, bos (no-bos where there is none), early queries, median head; "
        f"bars: {data.level} intervals"
    )
    doses = doses_of(table)
    shown = [row for row in ROWS if any(len(numbers_of(own, row)) for own in doses.values())]
    if not shown:
        few = (
            "fewer than two NTK factors and fewer than two windows in this study: see figure Claims"
        )
        return style.empty(heading, few)
    height = 2.2 * len(shown) + 0.5
    figure = style.sheet(marks.heading(heading, found), note + tidy.left_out(found), height)
    panels = figure.subplots(len(shown), len(doses), squeeze=False, sharex="col", sharey="row")
    for column, (kind, rows) in zip(panels.T, doses.items(), strict=True):
        for ax, row in zip(column, shown, strict=True):
            scales.zero(ax)
            draw_panel(ax, numbers_of(rows, row), found, kind)
        ticks = sorted(set(rows[kind]) | ({1.0} if kind == "factor" else set()))
        column[-1].set_xscale("log", base=2)
        column[-1].set_xticks(ticks, [f"{t:g}" for t in ticks])
        column[-1].minorticks_off()
        column[-1].set_xlabel(COLUMNS[kind])
    for ax, (_, _, unit) in zip(panels[:, 0], shown, strict=True):
        ax.set_ylabel(unit)
    marks.key(figure, found)
    return figure


def numbers_of(rows: pd.DataFrame, row: tuple[str, str, str]) -> pd.DataFrame:
    """The finite values of one number by dose; none where no model has two."""
    number, reading, _ = row
    own = tidy.of(rows, number=number, reading=reading)
    own = own[own["estimate"].notna()]
    sizes = own.groupby(tidy.RUN)["variant"].nunique()
    return own if len(sizes) and sizes.max() > 1 else own.iloc[:0]


def doses_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of each kind of variant of which some model has two sizes or more."""
    found = {kind: series(table, kind).fillna({"reading": ""}) for kind in COLUMNS}
    return {
        kind: rows
        for kind, rows in found.items()
        if len(rows) and rows.groupby(tidy.RUN)[kind].nunique().max() > 1
    }


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


def draw_panel(ax: Axes, rows: pd.DataFrame, found: tidy.Runs, kind: str) -> None:
    """One number of one kind of variant: every run in both lenses, or its loss."""
    if rows.empty:
        style.absent(ax, "not measured")
        return
    loss = rows["lens"].isna().all()
    share = 1.0 if loss else 100.0
    for mark in marks.of(found):
        if loss and mark.lens != style.LENSES[0]:
            continue
        own = tidy.of(rows, mark.run, **({} if loss else {"lens": mark.lens})).sort_values(kind)
        x = own[kind] * 2 ** (APART * mark.place)
        low, high = share * own["ci_low"], share * own["ci_high"]
        ax.vlines(x, low, high, color=mark.look.color, linewidth=1.4)
        ax.plot(x, share * own["estimate"], **mark.look.line())
