"""Components, sinks and the BOS swap against training tokens: a sweep of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from abspos.claims.verdicts import SWAP_SHARE
from abspos.figures import compared, scales, style, tidy

CLAIMED = SWAP_SHARE
SHOWN = ("mask", "residual")
#: Title and label of the vertical axis of each panel; energies by lens, others by table.
PANELS = {
    **{
        lens: (f"early energy, {lens} lens", f"energy ({style.UNITS[lens]})")
        for lens in style.LENSES
    },
    "sink_share": ("heads that sink at position 0", "share of heads"),
    "swaps": ("BOS swapped: residual energy removed", "energy reduction (share)"),
}


@style.figure(
    tables=("checkpoints", "summary", "sink_share", "swaps"),
    category="Training",
    label="Training: components, sinks and BOS swap by training tokens",
    caption=(
        "Absolute position during training: energy of the mask and of the residual-stream "
        "component at early queries (median head, mean of layers), the share of heads that sink "
        "at position 0, and the share of the residual energy that replacing the BOS embedding "
        "removes (dashed: the claimed 40 %), each against the training tokens of the checkpoint. "
        "The axis is linear from 0 to the first checkpoint after it and logarithmic from there. "
        "Dotted lines are gaps: checkpoints that are missing or broken. Several models stand side "
        "by side on one scale; a model with one checkpoint is left out. Bands are intervals over "
        "inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """Models along their training as columns; energies, sinks and the BOS swap as panels."""
    known = data.tables["checkpoints"].dropna(subset=["tokens"])
    summary = tidy.base(data.tables["summary"], variant="standard", bin="early", summary="median")
    summary = summary[summary["component"].isin(SHOWN)]
    swaps = tidy.of(data.tables["swaps"], replacement="swap-token", number="energy reduction")
    rows = {lens: tidy.of(summary, lens=lens) for lens in style.LENSES} | {
        "sink_share": tidy.base(data.tables["sink_share"], variant="standard"),
        "swaps": tidy.of(swaps, summary="median", reading="R"),
    }
    rows = {name: of_all_layers(with_tokens(table, known)) for name, table in rows.items()}
    heading = "Position during training"
    note = (
        f"{tidy.inputs(*rows.values())}, standard, {tidy.under(rows['log'])}; "
        f"bands: {data.level} intervals; dotted: gaps"
    )
    measured = rows["log"].groupby("model", sort=False)["revision"].nunique()
    found = [(str(model), "") for model in measured[measured > 1].index]
    if not found:
        return style.empty(heading, "no model with two checkpoints in this study")
    shown = [
        name for name in PANELS if rows[name]["model"].isin([model for model, _ in found]).any()
    ]
    note += "; no swap-token arm in this study" * ("swaps" not in shown)

    def named(model: str, _: str) -> str:
        own = tidy.of(known, model=model)
        kinds = "".join(
            tidy.of(rows["log"], model=model).get("kind", pd.Series(dtype=str)).unique()
        )
        text = f"{model}: {int(own['gap'].isna().sum())} of {len(own)} checkpoints"
        return text + (f", layers {kinds} together" if "+" in kinds else "")

    sheet = compared.beside(
        found, heading, note, [PANELS[name] for name in shown], 2.6, named=named
    )
    tables = [[tidy.of(rows[name], model=model) for name in shown] for model, _ in found]
    for (model, _), panels, own in zip(found, sheet.panels, tables, strict=True):
        checkpoints = tidy.of(known, model=model)
        for ax, name, table in zip(panels, shown, own, strict=True):
            draw_panel(ax, name, table)
            for tokens in checkpoints.loc[checkpoints["gap"].notna(), "tokens"]:
                ax.axvline(tokens, color=style.LINE, linestyle=":", linewidth=1.2, zorder=0)
        token_axis(panels if len(found) == 1 else panels[-1:], checkpoints["tokens"])
    for axes, of_axes, name in compared.lines(sheet, tables, shown):
        scale(axes, of_axes, name)
    looks = {name: style.COMPONENTS[name] for name in SHOWN}
    looks |= {f"{lens} lens": style.LENS_LOOKS[lens] for lens in style.LENSES if "swaps" in shown}
    style.key(sheet.figure, looks, columns=2)
    return sheet.figure


def with_tokens(table: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """The rows of checkpoints whose training tokens are known, with these."""
    if "revision" not in table:
        return table
    return table.merge(checkpoints[["model", "revision", "tokens"]], on=tidy.RUN)


def of_all_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that average all layers of a model: in hybrids their kind names all kinds."""
    if "kind" not in table or table.empty:
        return table
    longest = table.groupby("model")["kind"].transform(lambda kinds: max(kinds, key=len))
    return table[table["kind"] == longest]


def draw_panel(ax: Axes, name: str, rows: pd.DataFrame) -> None:
    """One panel of one model: components, sinks, or the effect of replacing BOS in both lenses."""
    if name == "sink_share":
        style.curve(ax, rows, "tokens", "sink_share", style.VARIANTS["standard"], "sinks")
    elif name == "swaps":
        for lens, look in style.LENS_LOOKS.items():
            style.curve(ax, tidy.of(rows, lens=lens), "tokens", "estimate", look, f"{lens} lens")
        ax.axhline(CLAIMED, color=style.LINE, linestyle="--", linewidth=1)
        scales.zero(ax)
    else:
        for component in SHOWN:
            one = tidy.of(rows, component=component)
            if len(one):
                look = style.COMPONENTS[component]
                style.curve(ax, one, "tokens", "energy", look, component)


def scale(axes: Sequence[Axes], tables: Sequence[pd.DataFrame], name: str) -> None:
    """One vertical scale for panels that share it; how far intervals go on is printed."""
    if name in style.LENSES:
        scales.energy_axis(axes, tables)
        return
    low, high = axes[0].get_ylim()
    ends = (max(low, -1.5), min(max(high, 0.5), 1.5) + 0.3)
    axes[0].set_ylim(*((-0.03, 1.03) if name == "sink_share" else ends))
    for ax, rows in zip(axes, tables, strict=True):
        scales.cut(ax, rows)


def token_axis(panels: list[Axes], tokens: pd.Series) -> None:
    """Tokens on a logarithmic axis that also holds 0, the checkpoint before training."""
    values = sorted(float(t) for t in tokens)
    positive = [t for t in values if t > 0]
    if not positive:
        return
    first = -0.3 * positive[0] if values[0] == 0 else 0.7 * positive[0]
    for ax in panels:
        if positive[-1] > 20 * positive[0]:
            ax.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
            powers = [10.0**k for k in range(1, 16) if positive[0] <= 10.0**k <= positive[-1]]
            ax.xaxis.set_major_locator(FixedLocator([*([0.0] if values[0] == 0 else []), *powers]))
            ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set(xlabel="training tokens", xlim=(first, 1.4 * positive[-1]))
