"""Components, sinks and the BOS swap against training tokens: a sweep of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from abspos.claims.verdicts import SWAP_SHARE
from abspos.figures import scales, style, tidy

CLAIMED = SWAP_SHARE


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
        "Dotted lines are gaps: checkpoints that are missing or broken. Bands are intervals over "
        "inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """A part per model with known training tokens; four panels each."""
    known = data.tables["checkpoints"].dropna(subset=["tokens"])
    models = list(known["model"].unique()) or ["no model with tokens_per_step"]
    rows = {
        "summary": tidy.base(
            data.tables["summary"], variant="standard", bin="early", summary="median"
        ),
        "sink_share": tidy.base(data.tables["sink_share"], variant="standard"),
        "swaps": tidy.of(
            data.tables["swaps"],
            replacement="swap-token",
            number="energy reduction",
            summary="median",
            reading="R",
        ),
    }
    shown = with_tokens(rows["summary"], known)
    note = (
        f"{tidy.inputs(*rows.values())}, standard, {tidy.under(shown)}; "
        f"bands: {data.level} intervals; dotted: gaps"
    )

    def draw_run(part: SubFigure, run: tuple[str, str]) -> None:
        own = tidy.of(known, model=run[0])
        along = {name: of_all_layers(with_tokens(table, own)) for name, table in rows.items()}
        heading = f"{run[0]}: {int(own['gap'].isna().sum())} of {len(own)} checkpoints"
        kinds = "".join(along["summary"].get("kind", pd.Series(dtype=str)).unique())
        heading += f", layers {kinds} together" if "+" in kinds else ""
        part.suptitle(heading, x=0.01, ha="left", fontsize=10.5)
        draw_model(part, along, own)

    named = [(model, "") for model in models]
    return style.per_run(named, "Position during training", note, 5.6, draw_run)


def with_tokens(table: pd.DataFrame, checkpoints: pd.DataFrame) -> pd.DataFrame:
    """The rows of one model's checkpoints, with their training tokens."""
    if "revision" not in table:
        return table
    return table.merge(checkpoints[["model", "revision", "tokens"]], on=tidy.RUN)


def of_all_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that average all layers of a model: in hybrids their kind names all kinds."""
    if "kind" not in table or table.empty:
        return table
    return tidy.of(table, kind=max(table["kind"].unique(), key=len))


def draw_model(
    part: SubFigure, rows: Mapping[str, pd.DataFrame], checkpoints: pd.DataFrame
) -> None:
    """One model: energies in both lenses above, sinks and BOS swap below."""
    panels = part.subplots(2, 2, sharex=True)
    for ax, lens in zip(panels[0], style.LENSES, strict=True):
        found = tidy.of(rows["summary"], lens=lens)
        for name in ("mask", "residual"):
            one = tidy.of(found, component=name)
            if len(one):
                style.curve(ax, one, "tokens", "energy", style.COMPONENTS[name], name)
        if len(found):
            scales.energy_axis([ax], [found])
        ax.set(title=f"early energy, {lens} lens", ylabel=f"energy ({style.UNITS[lens]})")
    sinks, swap = panels[1]
    if len(rows["sink_share"]):
        look = style.VARIANTS["standard"]
        style.curve(sinks, rows["sink_share"], "tokens", "sink_share", look, "sinks")
    sinks.set(title="heads that sink at position 0", ylabel="share of heads", ylim=(-0.03, 1.03))
    draw_swap(swap, rows["swaps"])
    for ax in panels.flat:
        for tokens in checkpoints.loc[checkpoints["gap"].notna(), "tokens"]:
            ax.axvline(tokens, color=style.LINE, linestyle=":", linewidth=1.2, zorder=0)
    token_axis(panels[1], checkpoints["tokens"])
    style.key(part, {name: style.COMPONENTS[name] for name in ("mask", "residual")})


def draw_swap(ax: Axes, rows: pd.DataFrame) -> None:
    """Effect of replacing the BOS embedding, in both lenses."""
    if rows.empty:
        style.absent(ax, "no swap-token arm in this study")
        return
    for lens in style.LENSES:
        one = tidy.of(rows, lens=lens)
        style.curve(ax, one, "tokens", "estimate", style.LENS_LOOKS[lens], f"{lens} lens")
    ax.axhline(CLAIMED, color=style.LINE, linestyle="--", linewidth=1)
    scales.zero(ax)
    low, high = ax.get_ylim()
    ax.set(
        title="BOS swapped: residual energy removed",
        ylabel="energy reduction (share)",
        ylim=(max(low, -1.5), min(max(high, 0.5), 1.5) + 0.3),
    )
    ax.legend(fontsize=9, loc="upper left", ncols=2)


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
