"""Axes that figures share: energies that span decades, layers, queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from abspos.figures.style import DIM, LINE


def decade(value: float) -> float:
    """The power of ten at or below a positive number."""
    return 10.0 ** math.floor(math.log10(value))


def signed_log(
    ax: Axes,
    shown: Sequence[float] | np.ndarray | pd.Series,
    decades: int = 5,
    axis: Literal["x", "y"] = "y",
    stride: int = 1,
) -> float:
    """A logarithmic scale, linear near 0 where values reach it, for what spans decades.

    Args:
        ax: the panel.
        shown: all values that the axis has to hold.
        decades: below the largest one before the scale turns linear.
        axis: which axis.
        stride: decades from one tick to the next.

    Returns:
        Where the scale turns linear; 0 if it does not.
    """
    values = np.asarray(shown, dtype=float)
    values = values[np.isfinite(values)]
    set_scale = ax.set_yscale if axis == "y" else ax.set_xscale
    which = ax.yaxis if axis == "y" else ax.xaxis
    if not values.any():
        return 0.0
    if values.min() > 0:
        set_scale("log")
        if values.max() < 10 * values.min():  # it may hold no power of ten, and has no other number
            which.set_major_locator(MaxNLocator(4))
            which.set_major_formatter("{x:g}")
            which.set_minor_locator(NullLocator())
        return 0.0
    top = decade(values.max() if values.max() > 0 else -values.min())
    threshold = top / 10 ** (decades - 1)
    set_scale("symlog", linthresh=threshold, linscale=0.6)
    # The mark at the threshold stands close to 0: there is room for it where every decade has one.
    last = decades if stride == 1 else decades - 1
    marks = [top / 10.0**k for k in range(-2, last) if k % stride == 0]
    which.set_major_locator(FixedLocator([*(-m for m in marks), 0.0, *reversed(marks)]))
    which.set_minor_locator(NullLocator())
    return threshold


def energy_axis(panels: Sequence[Axes], rows: Sequence[pd.DataFrame], stride: int = 1) -> None:
    """One scale of energies for panels that share it.

    Estimates are never cut. Intervals that reach far below 0 are, and each panel states how far.

    Args:
        panels: which share their vertical axis.
        rows: of each panel, with ``energy`` and ``ci_low``.
        stride: decades from one tick to the next.
    """
    energies, lows = (pd.concat([r[c].astype(float) for r in rows]) for c in ("energy", "ci_low"))
    threshold = signed_log(panels[0], pd.concat([energies, lows]), stride=stride)
    if not threshold:
        return
    bottom = min(-3 * threshold, 2 * energies.min())
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(bottom, low), max(high, 2 * energies.max()))
    for ax, own in zip(panels, rows, strict=True):
        zero(ax)
        cut(ax, own)


def cut(
    ax: Axes,
    rows: pd.DataFrame,
    ends: Sequence[str] = ("ci_low", "ci_high"),
    axis: Literal["x", "y"] = "y",
    unit: str = "",
    scale: float = 1.0,
) -> None:
    """Print how far intervals reach beyond an axis whose limits are set.

    Args:
        ax: the panel.
        rows: that it shows.
        ends: columns of the ends of their intervals, in the unit of the axis.
        axis: which axis.
        unit: behind the number.
        scale: from the unit of the axis to this one.
    """
    low, high = sorted(ax.get_ylim() if axis == "y" else ax.get_xlim())
    values = rows[list(ends)].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if values.size:
        reach = (values.min(), values.max())
        outside = [scale * x for x in reach if not low <= x <= high]
        reached = " and ".join(f"{x:.1g}" if abs(x) < 1 else f"{x:,.0f}" for x in outside)
        if outside:
            text = f"intervals reach {reached}{unit}".replace("-", "−")
            beyond(ax, text, top=axis == "y" and values.min() >= low)


def beyond(ax: Axes, text: str, top: bool = False) -> None:
    """Print what lies beyond the axis of a panel, in its lower or upper right corner."""
    place: tuple[float, Literal["top", "bottom"]] = (0.98, "top") if top else (0.02, "bottom")
    y, va = place
    ax.text(0.98, y, text, transform=ax.transAxes, ha="right", va=va, fontsize=7.5, color=DIM)


def zero(ax: Axes, axis: Literal["x", "y"] = "y") -> None:
    """A line at 0."""
    (ax.axhline if axis == "y" else ax.axvline)(0, color=LINE, linewidth=0.8, zorder=0)


def layer_axis(ax: Axes, label: str = "layer") -> None:
    """An axis of whole layers."""
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.set_xlabel(label)


def query_axis(ax: Axes, last: float, label: str, first: float = 1) -> None:
    """A logarithmic axis of queries with whole numbers as ticks."""
    ax.set_xscale("log", base=2)
    ticks = [t for t in 2 ** np.arange(12) if first <= t <= last * 1.05]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def shade(ax: Axes, layers: Sequence[int]) -> None:
    """Shade some layers of an axis of layers."""
    for layer in layers:
        ax.axvspan(layer - 0.5, layer + 0.5, color="#000000", alpha=0.07, linewidth=0, zorder=0)
