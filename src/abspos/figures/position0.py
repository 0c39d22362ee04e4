"""Norm and variance across inputs of the state at position 0, through depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("position0",)
STORES = ()
CATEGORY = "Position 0"
LABELS = {"figure": "State at position 0", "shows": "norm and variance through depth"}
CAPTION = (
    "The residual stream at position 0 through depth (0 is the embedding) with BOS prepended and "
    "with the text's own first token. Left: its norm, mean over inputs. Right: its variance across "
    "inputs, summed over features. Under BOS position 0 sees nothing that differs between inputs, "
    "so the variance must be exactly zero: the bottom line of the scale."
)


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Norm and cross-input variance by depth under bos and no-bos, standard variant.

    Args:
        tables: ``position0`` (see abspos.statistics.aggregate); other tables are ignored.
        stores: not used.
        confidence: level of the intervals of the norm, stated in the figure.
    """
    rows = style.of(tables["position0"], variant="standard")
    rows = rows[rows["condition"].isin(list(style.CONDITIONS))] if len(rows) else rows
    found = style.runs(tables["position0"])
    note = (
        f"{style.inputs(rows)}, variant standard; depth 0: embedding, l: after layer l; "
        f"bands: {style.level(confidence)} intervals"
    )
    figure, parts = style.sheet(found, "The state at position 0 through depth", note, 3.4)
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(rows, run))
    return figure


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: norm left, variance right."""
    looks = {n: s for n, s in style.CONDITIONS.items() if not style.of(rows, condition=n).empty}
    if not looks:
        style.absent(part.subplots(), "no standard arm with bos or no-bos in this study")
        return
    norm, variance = part.subplots(1, 2)
    for name, look in looks.items():
        line = style.of(rows, condition=name)
        style.curve(norm, line, "depth", "state_norm", look, name, ("norm_low", "norm_high"))
        variance.plot(line["depth"], line["state_variance"], label=name, **look.line())
    norm.set_yscale("log")
    norm.set(title="norm", ylabel="Euclidean norm")
    variance.set(title="variance across inputs", ylabel="variance (squared norm)")
    for ax in (norm, variance):
        style.layer_axis(ax, "depth (layers passed)")
    variance_axis(variance, rows)
    style.key(part, looks)


def variance_axis(ax: Axes, rows: pd.DataFrame) -> None:
    """Logarithmic with a place for exact zeros at the bottom, set apart from all that is not."""
    values = rows["state_variance"].to_numpy(dtype=float)
    positive = values[np.isfinite(values) & (values > 0)]
    low = style.decade(positive.min()) if positive.size else 1.0
    top = positive.max() if positive.size else 10.0
    ax.set_yscale("symlog", linthresh=low, linscale=0.5)
    ax.set_ylim(-0.3 * low, top * 3)
    decades = np.arange(np.log10(low), np.log10(top) + 1).round()
    ticks = [0.0, *10.0 ** decades[:: max(1, len(decades) // 6)]]
    ax.set_yticks(ticks, ["exactly 0", *(f"$10^{{{int(np.log10(t))}}}$" for t in ticks[1:])])
    ax.set_yticks([], minor=True)
