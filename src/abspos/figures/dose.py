"""How R, the mask and the loss answer to the size of a change: NTK factors and windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("changes",)
STORES = ()
CATEGORY = "Components"
LABELS = {"figure": "Dose", "shows": "reductions by NTK factor and by window"}
CAPTION = (
    "What a variant of the same weights takes from the residual-stream component and from the "
    "mask, as a share of the standard model's energy at early queries, and what it adds to the "
    "loss: left by the factor of NTK scaling (1 is the standard model), right by the keys of a "
    "sliding window. Median head, mean of layers; bars are intervals over inputs. "
    "An empty place says not testable."
)
ROWS = (
    ("reduction of residual energy", "R reduced by (%)"),
    ("reduction of mask energy", "mask reduced by (%)"),
    ("rise of loss [nats per token]", "rise of loss\n(nats per token)"),
)
COLUMNS = {"factor": "NTK factor", "window": "window (keys)"}


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Kinds of variants as columns; R, mask and loss as rows; lenses as marks.

    Args:
        tables: ``changes`` (see abspos.claims.doses); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    table = tables["changes"]
    found = style.runs(table)
    note = (
        f"{style.inputs(table)}, bos (no-bos where there is none), early queries, median head; "
        f"bars: {style.level(confidence)} intervals"
    )
    figure, parts = style.sheet(found, "Dose and response", note, 7.2)
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(table, run))
    return figure


def draw_run(part: SubFigure, table: pd.DataFrame) -> None:
    """One run: a column per kind of variant."""
    doses = {kind: series(table, kind) for kind in COLUMNS}
    if all(rows.empty for rows in doses.values()):
        style.absent(part.subplots(), "no ntk or window variant beside standard in this study")
        return
    panels = part.subplots(len(ROWS), len(COLUMNS), sharex="col", sharey="row")
    for column, (kind, words) in enumerate(COLUMNS.items()):
        rows = doses[kind]
        for ax, (number, unit) in zip(panels[:, column], ROWS, strict=True):
            ax.axhline(0, color="#808080", linewidth=0.8, zorder=0)
            draw_panel(ax, style.of(rows, number=number), kind)
            if column == 0:
                ax.set_ylabel(unit)
        ticks = sorted(set(rows[kind]) | ({1.0} if kind == "factor" else set()))
        panels[-1, column].set_xscale("log", base=2)
        panels[-1, column].set_xticks(ticks, [f"{t:g}" for t in ticks])
        panels[-1, column].minorticks_off()
        panels[-1, column].set_xlabel(words)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


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
        own = rows if loss else style.of(rows, lens=lens)
        own = own.sort_values(kind)
        x, low, high = own[kind], share * own["ci_low"], share * own["ci_high"]
        ax.vlines(x, low, high, color=look.color, linewidth=1.4)
        ax.plot(x, share * own["estimate"], **look.line())
