"""Each control of position beside the effect that it controls, and R under one repeated token."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from abspos.figures import scales, style, tidy

NUMBER = "difference share"
REPEATED = ("control-repeat", "control-repeat-bos")
SMALLEST = 1e-30  # stands for an energy that is exactly 0


@style.figure(
    tables=("controlled_effects", "controls"),
    category="Controls",
    label="Controls: each control beside the effect it controls",
    caption=(
        "Change of each reading of the residual-stream component of early queries from its value "
        "under bos: energy of the difference, as a share, in the median head. Above: replacements "
        "at position 0. Below: the controls: the same token at a later position, all position ids "
        "shifted (which must have no effect beyond rounding), the text shuffled. Bars are "
        "intervals over inputs. Last row: one token at every position, where R must be nothing "
        "(largest energy of a head), and the same token after BOS, where it must not (smallest "
        "over layers of the largest head)."
    ),
)
def draw(data: style.Data) -> Figure:
    """Effects and controls as rows, readings as columns, lenses as marks."""
    table = tidy.of(data.tables["controlled_effects"], number=NUMBER, summary="median")
    repeats = repeats_of(data.tables["controls"])
    found = tidy.runs(data.tables["controlled_effects"], repeats)
    note = f"{tidy.inputs(table)}, variant standard, early queries, median head; "
    note += f"bars: {data.level} intervals"
    heading = "Controls of position: change of the residual-stream component"
    if table.empty and len(repeats):
        heading, note = "Controls: R under one repeated token", "variant standard, early queries"
        return style.per_run(
            found, heading, note, 1.9, lambda part, run: draw_repeats(part, tidy.of(repeats, run))
        )

    def draw_run(part: SubFigure, run: tuple[str, str]) -> None:
        if repeats.empty:
            draw_effects(part, tidy.of(table, run))
            return
        above, below = part.subfigures(2, 1, squeeze=False, height_ratios=[3.2, 1.9])[:, 0]
        draw_effects(above, tidy.of(table, run))
        draw_repeats(below, tidy.of(repeats, run))

    return style.per_run(found, heading, note, 3.2 if repeats.empty else 5.1, draw_run)


def repeats_of(controls: pd.DataFrame) -> pd.DataFrame:
    """Checks of one repeated token under standard, with their lens and what counts as nothing."""
    rows = tidy.of(controls, variant="standard")
    rows = rows[rows["condition"].isin(REPEATED)] if len(rows) else rows
    # "largest energy of R, at most 1e-06, log"
    said = [str(check).split(", ") for check in rows.get("check", ())]
    nothing = [float(words[-2].split()[-1]) for words in said]
    return rows.assign(lens=[words[-1] for words in said], nothing=nothing)


def draw_repeats(part: SubFigure, rows: pd.DataFrame) -> None:
    """Energy of R under one repeated token, and what counts as nothing."""
    ax = part.subplots()
    if rows.empty:
        style.absent(ax, "no repeated token in this study")
        return
    names = [name for name in REPEATED if name in set(rows["condition"])]
    ax.axvline(rows["nothing"].iloc[0], color=style.LINE, linewidth=0.8, linestyle=":")
    for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
        for one in tidy.of(rows, lens=lens).to_dict("records"):
            value = max(float(one["value"]), SMALLEST)
            y = names.index(one["condition"]) + shift
            ax.plot(value, y, **(style.LENS_LOOKS[lens].line() | {"linestyle": "none"}))
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("energy of R (nats² or probability²); left of the dotted line it is nothing")
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})


def draw_effects(part: SubFigure, table: pd.DataFrame) -> None:
    """Effects and controls of one run: a panel per reading."""
    if table.empty:
        style.absent(part.subplots(), "no control of position in this study")
        return
    rows = list(dict.fromkeys(table["condition"]))
    effects = len(set(table.loc[table["role"] == "effect", "condition"]))
    panels = part.subplots(1, len(style.READINGS), sharex=True, sharey=True)
    for ax, (reading, look) in zip(panels, style.READINGS.items(), strict=True):
        scales.zero(ax, "x")
        ax.axhline(effects - 0.5, color=style.LINE, linewidth=0.8, linestyle=":")
        for lens, shift in zip(style.LENSES, (-0.16, 0.16), strict=True):
            for one in tidy.of(table, reading=reading, lens=lens).to_dict("records"):
                low, middle, high = (100 * float(one[c]) for c in ("ci_low", "estimate", "ci_high"))
                y = rows.index(one["condition"]) + shift
                style.estimate(ax, y, (middle, low, high), style.LENS_LOOKS[lens])
        ax.set_title(reading, color=look.color)
        ax.set_xlabel("difference from bos\n(% of the reading's energy)")
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    style.key(part, {f"{lens} lens": look for lens, look in style.LENS_LOOKS.items()})
