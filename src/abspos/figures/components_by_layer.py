"""Mask and residual energy by layer for each variant, and what lies beyond the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import style

TABLES = ("layers",)
STORES = ()
CATEGORY = "Components"
LABELS = {"figure": "Components by layer", "shows": "all variants, early and beyond the window"}
CAPTION = (
    "Energy of the causal mask and of the residual stream in every layer (median head) under BOS, "
    "one line per variant, untrained models dotted and hollow. The last rows show the residual "
    "energy of queries beyond each window, from which position 0 is out of sight, with attention "
    "renormalised on the window's keys in every variant: where it grows with depth, position "
    "accumulates. Bands are intervals over inputs. The early residual energy is on a "
    "logarithmic scale that turns linear near 0, the others on linear scales."
)

#: A component, a bin, and the window that the bin lies beyond.
Place = tuple[str, str, float | None]


@style.theme()
def draw(
    tables: Mapping[str, pd.DataFrame],
    stores: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Energies by layer: early mask, early residual and residual beyond the window as rows.

    Args:
        tables: ``layers`` (see abspos.statistics.aggregate); other tables are ignored.
        stores: not used.
        confidence: level of the intervals, stated in the figure.
    """
    rows = style.base(tables["layers"], summary="median")
    found = style.runs(tables["layers"])
    sliding = any(style.hybrid_sliding(style.of(rows, run)) for run in found)
    shown: list[Place] = [("mask", "early", None), ("residual", "early", None)]
    shown += [("residual", "beyond", window) for window in windows_of(rows)]
    note = (
        f"{style.inputs(rows)}, {style.under(rows)}; median head of each layer; "
        f"bands: {style.level(confidence)} intervals"
        + ("; shaded: sliding layers of models that have others too" if sliding else "")
    )
    figure, parts = style.sheet(
        found, "Mask and residual-stream energy by layer", note, 2.3 * len(shown) + 0.6
    )
    for part, run in zip(parts, found, strict=True):
        draw_run(part, style.of(rows, run), shown)
    return figure


def draw_run(part: SubFigure, rows: pd.DataFrame, shown: Sequence[Place]) -> None:
    """One run: lenses as columns, components and bins as rows."""
    looks = style.variants(list(rows["variant"].unique()))
    panels = part.subplots(len(shown), 2, squeeze=False, sharex=True)
    for (component, which, window), line in zip(shown, panels, strict=True):
        for ax, lens in zip(line, style.LENSES, strict=True):
            seen = style.of(rows, lens=lens, component=component, bin=which)
            seen = seen if window is None else style.of(seen, window=window)
            draw_panel(ax, seen, looks, which)
            if not seen.empty:
                style.shade(ax, style.hybrid_sliding(rows))
            ax.set_title(f"{component}, {place(which, window)} ({lens} lens)")
            ax.set_ylabel(f"energy ({style.UNITS[lens]})")
    for ax in panels[-1]:
        style.layer_axis(ax)
    style.key(part, looks)


def windows_of(rows: pd.DataFrame) -> list[float | None]:
    """Windows that some bin lies beyond; None alone where there is none."""
    found = style.of(rows, bin="beyond").get("window", pd.Series(dtype=float))
    return sorted(set(found.dropna())) or [None]


def place(which: str, window: float | None) -> str:
    """What a bin is called in a title."""
    if which != "beyond":
        return f"{which} queries"
    return f"queries beyond {'a window' if window is None else f'{window:g} keys'}"


def draw_panel(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look], which: str) -> None:
    """One component in one bin and lens, a line per variant."""
    if rows.empty:
        reason = "no windowed arm in this study" if which == "beyond" else "no such arm"
        style.absent(ax, reason)
        return
    for name, look in looks.items():
        line = style.of(rows, variant=name)
        if not line.empty:
            style.curve(ax, line, "layer", "energy", look, name)
    if (rows["component"] == "residual").all() and which == "early":
        style.energy_axis(ax, style.span(rows))
    else:  # within a decade or two, or about zero, where the slope with depth is what is claimed
        ax.axhline(0, color="#808080", linewidth=0.8, zorder=0)
