"""Norm and variance across inputs of the state at position 0, through depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import compared, scales, style, tidy


@style.figure(
    tables=("position0",),
    category="Position 0",
    label="State at position 0: norm and variance through depth",
    caption=(
        "The residual stream at position 0 through depth (0 is the embedding) with BOS prepended "
        "and with the text's own first token. Left: its norm, mean over inputs. Right: its "
        "variance across inputs, summed over features. Under BOS position 0 sees nothing that "
        "differs between inputs, so the variance must be exactly zero, which is drawn on the "
        "bottom line of the scale."
    ),
)
def draw(data: style.Data) -> Figure:
    """Norm and cross-input variance by depth under bos and no-bos, standard variant."""
    rows = tidy.of(data.tables["position0"], variant="standard")
    rows = rows[rows["condition"].isin(list(style.CONDITIONS))] if len(rows) else rows
    found = tidy.runs(data.tables["position0"])
    note = (
        f"{tidy.inputs(rows)}, variant standard; depth 0: embedding, l: after layer l; "
        f"bands: {data.level} intervals"
    )
    heading = "The state at position 0 through depth"
    looks = {n: s for n, s in style.CONDITIONS.items() if not tidy.of(rows, condition=n).empty}
    if not looks:
        return style.empty(heading, "no standard arm with bos or no-bos in this study")
    shown = [("norm", "Euclidean norm"), ("variance across inputs", "variance (squared norm)")]
    sheet = compared.beside(found, heading, note, shown, 2.9)
    for run, (norm, variance) in zip(found, sheet.panels, strict=True):
        own = tidy.of(rows, run)
        if own.empty:
            style.absent(norm, "no standard arm with bos or no-bos")
            variance.set_axis_off()
            continue
        for name, look in looks.items():
            line = tidy.of(own, condition=name)
            style.curve(norm, line, "depth", "state_norm", look, name, ("norm_low", "norm_high"))
            variance.plot(line["depth"], line["state_variance"], label=name, **look.line())
        for ax in (norm, variance) if len(found) == 1 else (variance,):
            scales.layer_axis(ax, "depth (layers passed)")
    norms, variances = sheet.lines[::2], sheet.lines[1::2]
    for line_of_norms, line_of_variances in zip(norms, variances, strict=True):
        line_of_norms[0].set_yscale("log")
        variance_axis(line_of_variances[0], rows)
    style.key(sheet.figure, looks)
    return sheet.figure


def variance_axis(ax: Axes, rows: pd.DataFrame) -> None:
    """Logarithmic with a place for exact zeros at the bottom, set apart from all that is not."""
    values = rows["state_variance"].to_numpy(dtype=float)
    positive = values[np.isfinite(values) & (values > 0)]
    low = scales.decade(positive.min()) if positive.size else 1.0
    top = positive.max() if positive.size else 10.0
    ax.set_yscale("symlog", linthresh=low, linscale=0.5)
    ax.set_ylim(-0.3 * low, top * 3)
    decades = np.arange(np.log10(low), np.log10(top) + 1).round()
    ticks = [0.0, *10.0 ** decades[:: max(1, len(decades) // 6)]]
    ax.set_yticks(ticks, ["exactly 0", *(f"$10^{{{int(np.log10(t))}}}$" for t in ticks[1:])])
    ax.set_yticks([], minor=True)
