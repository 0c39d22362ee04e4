"""By depth: how far position 0 and what heads write from it hang on its token."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import compared, scales, style, tidy

SHOWN = (
    ("value at position 0", "share that differs"),
    ("writes: explained by token", "share of variance"),
    ("writes: token decoded", "share right"),
)


@style.figure(
    tables=("fingerprint",),
    category="Position 0",
    label="Fingerprint: what tells the token at position 0, by depth",
    caption=(
        "The same texts behind BOS and each listed token. Left: share of the mean square of the "
        "value at position 0 that differs between tokens. Middle: share of the variance of what "
        "sink readers write from position 0 (attention times value times W_O) that the token "
        "explains, less chance; dotted: what tokens exchanged at random within texts reach. Right: "
        "share of tokens decoded from these writes on held-out texts; dotted: chance. Several "
        "models stand side by side, with these panels one below the other. Mean over the sink "
        "readers of a layer, chosen on other texts; bands are intervals over texts."
    ),
)
def draw(data: style.Data) -> Figure:
    """Values, writes and decoding by layer, standard variant."""
    table = data.tables["fingerprint"]
    rows = tidy.of(table, variant="standard")
    found = tidy.runs(table)
    note = f"{tidy.inputs(rows)}, variant standard, early queries; bands: {data.level} intervals"
    heading = "What tells the token at position 0, by depth"
    if rows.empty:
        return style.empty(heading, "no crossed design of tokens and texts in this study")
    sheet = compared.beside(found, heading, note, SHOWN, 2.9, abreast=3)
    for run, panels in zip(found, sheet.panels, strict=True):
        draw_run(panels, tidy.of(rows, run))
        for ax in panels if len(found) == 1 else panels[-1:]:
            scales.layer_axis(ax)
    return sheet.figure


def draw_run(panels: Sequence[Axes], rows: pd.DataFrame) -> None:
    """One run: three panels over layers."""
    value, explained, decoded = panels
    if rows.empty:
        style.absent(value, "no crossed design of tokens and texts")
        explained.set_axis_off()
        decoded.set_axis_off()
        return
    look = style.LENS_LOOKS["log"]
    value.plot(rows["layer"], rows["value_share"], **look.line())
    value.set_yscale("log")
    style.curve(explained, rows, "layer", "explained", look, "explained")
    explained.plot(rows["layer"], rows["chance_high"], color=style.LINE, linestyle=":")
    scales.zero(explained, "y")
    bounds = ("decoded_low", "decoded_high")
    style.curve(decoded, rows, "layer", "decoded", look, "decoded", bounds)
    decoded.axhline(1 / rows["tokens"].iloc[0], color=style.LINE, linestyle=":")
    decoded.set_ylim(0, 1.05)
    scales.cut(decoded, rows, bounds)
