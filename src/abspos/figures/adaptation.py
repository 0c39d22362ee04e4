"""Components, sinks and loss while models adapt to an architecture: a line per trained model."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abspos.figures import scales, style, tidy

#: Title, component and lens of the panels of energies.
ENERGIES = (
    ("mask", "mask", "log"),
    ("R", "residual", "log"),
    ("pattern", "pattern", "log"),
    ("R", "residual", "probability"),
)


@style.figure(
    tables=("checkpoints", "summary", "sink_share", "training"),
    category="Training",
    label="Adaptation: components, sinks and loss by training step",
    caption=(
        "Models that were trained on here, each under one variant: energy of the mask, of R and of "
        "its pattern at early queries (median head, mean of layers), the share of heads that sink "
        "at position 0, and the held-out loss, against training steps, each model under its own "
        "architecture. The axis is linear from 0 to the first step after it and logarithmic from "
        "there. Bands are intervals over inputs."
    ),
)
def draw(data: style.Data) -> Figure:
    """Six panels, a line per model in each."""
    losses, known = data.tables["training"], data.tables["checkpoints"]
    models = list(dict.fromkeys(losses["model"].astype(str))) if "model" in losses else []
    if not models:
        return style.empty("Adaptation to an architecture", "no model was trained here")
    steps = of_steps(known[known["model"].isin(models)])
    summary, sinks = (
        over_layers(tidy.base(data.tables[name], variant="standard")).merge(steps, on=tidy.RUN)
        for name in ("summary", "sink_share")
    )
    summary = tidy.of(summary, bin="early", summary="median")
    note = (
        f"{tidy.inputs(summary, sinks)}, variant standard, {tidy.under(summary)}; energies: median "
        f"head, mean of layers; bands: {data.level} intervals"
    )
    figure = style.sheet("Adaptation to an architecture", note, 5.4)
    panels = figure.subplots(2, 3, sharex=True)
    looks = style.variants(models)
    for ax, (title, component, lens) in zip(panels.flat, ENERGIES, strict=False):
        rows = tidy.of(summary, component=component, lens=lens)
        lines(ax, rows, "energy", looks)
        scales.energy_axis([ax], [rows])
        ax.set(title=f"early {title}, {lens} lens", ylabel=f"energy ({style.UNITS[lens]})")
    sinking, loss = panels.flat[-2:]
    lines(sinking, sinks, "sink_share", looks)
    sinking.set(title="heads that sink", ylabel="share of heads", ylim=(-0.03, 1.03))
    held_out = losses.dropna(subset=["held_out_loss"])
    for name, look in looks.items():
        own = tidy.of(held_out, model=name)
        loss.plot(own["step"], own["held_out_loss"], **look.line() | {"marker": "none"})
    loss.set(title="held-out loss", ylabel="nats per token")
    for ax in panels[-1]:
        step_axis(ax, steps["step"])
    style.key(figure, looks, columns=3)
    return figure


def of_steps(checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Model, revision and step of each checkpoint, from the names of revisions."""
    step = checkpoints["revision"].str.removeprefix("step").astype(int)
    return checkpoints[tidy.RUN].assign(step=step)


def over_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that average all layers: in hybrids their kind names all kinds of the run."""
    if "kind" not in table or table.empty:
        return table
    longest = table.groupby(tidy.RUN)["kind"].transform(lambda kinds: max(kinds, key=len))
    return table[table["kind"] == longest]


def lines(ax: Axes, rows: pd.DataFrame, column: str, looks: dict[str, style.Look]) -> None:
    """A line per model."""
    for name, look in looks.items():
        own = tidy.of(rows, model=name)
        if not own.empty:
            style.curve(ax, own, "step", column, look, name)


def step_axis(ax: Axes, steps: pd.Series) -> None:
    """Steps on a logarithmic axis that also holds 0."""
    later = [step for step in steps if step > 0]
    if later:
        ax.set_xscale("symlog", linthresh=min(later), linscale=0.4)
        ax.set_xlim(-0.2 * min(later), 1.2 * max(later))
    shown = sorted(set(steps))
    ax.set_xticks(shown, [str(step) for step in shown])
    ax.minorticks_off()
    ax.set_xlabel("training step")
