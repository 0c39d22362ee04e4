"""By depth: how far position 0 and what heads write from it hang on its token."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from abspos.figures import scales, style, tidy


@style.figure(
    tables=("fingerprint",),
    category="Position 0",
    label="Fingerprint: what tells the token at position 0, by depth",
    caption=(
        "The same texts behind BOS and each listed token. Left: share of the mean square of the "
        "value at position 0 that differs between tokens. Middle: share of the variance of what "
        "sink readers write from position 0 (attention times value times W_O) that the token "
        "explains, less chance; dotted: what tokens exchanged at random within texts reach. Right: "
        "share of tokens decoded from these writes on held-out texts; dotted: chance. Mean over "
        "the sink readers of a layer, chosen on other texts; bands are intervals over texts."
    ),
)
def draw(data: style.Data) -> Figure:
    """Values, writes and decoding by layer, standard variant."""
    table = data.tables["fingerprint"]
    rows = tidy.of(table, variant="standard")
    note = f"{tidy.inputs(rows)}, variant standard, early queries; bands: {data.level} intervals"
    return style.per_run(
        tidy.runs(table),
        "What tells the token at position 0, by depth",
        note,
        3.2,
        lambda part, run: draw_run(part, tidy.of(rows, run)),
    )


def draw_run(part: SubFigure, rows: pd.DataFrame) -> None:
    """One run: three panels over layers."""
    if rows.empty:
        style.absent(part.subplots(), "no crossed design of tokens and texts in this study")
        return
    value, explained, decoded = part.subplots(1, 3)
    look = style.LENS_LOOKS["log"]
    value.plot(rows["layer"], rows["value_share"], **look.line())
    value.set_yscale("log")
    value.set(title="value at position 0", ylabel="share that differs")
    style.curve(explained, rows, "layer", "explained", look, "explained")
    explained.plot(rows["layer"], rows["chance_high"], color=style.LINE, linestyle=":")
    scales.zero(explained, "y")
    explained.set(title="writes: explained by token", ylabel="share of variance")
    bounds = ("decoded_low", "decoded_high")
    style.curve(decoded, rows, "layer", "decoded", look, "decoded", bounds)
    decoded.axhline(1 / rows["tokens"].iloc[0], color=style.LINE, linestyle=":")
    decoded.set(title="writes: token decoded", ylabel="share right", ylim=(0, 1.05))
    for ax in (value, explained, decoded):
        scales.layer_axis(ax)
