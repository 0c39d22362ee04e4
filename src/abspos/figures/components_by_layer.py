"""Mask, residual and pattern energy by layer for each variant, also beyond the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from abspos.figures import compared, scales, style, tidy

#: A component, a bin, and the window that the bin lies beyond.
Place = tuple[str, str, float | None]
#: A place, a lens, and a run.
Cell = tuple[str, str, float | None, str, tuple[str, str]]


@style.figure(
    tables=("layers",),
    category="Components",
    label="Components by layer: all variants, early and beyond the window",
    caption=(
        "Energy of the causal mask, of the residual stream (reading R) and of its pattern over "
        "ordinary keys in every layer (median head) under BOS, one line per variant, untrained "
        "models dotted and hollow. The last rows show the residual energy of queries beyond each "
        "window, which cannot see position 0, with attention renormalised on the window's keys in "
        "every variant: growth with depth means that position accumulates. Bands are intervals "
        "over inputs. Several models are shown side by side on one scale. Early residual and "
        "pattern energies are on a logarithmic scale that turns linear near 0, the others on "
        "linear scales."
    ),
)
def draw(data: style.Data) -> Figure:
    """Early mask, residual and pattern, and residual beyond each window as rows.

    Lenses stand side by side for one run; of several, runs do, on one scale, each lens in its row.
    """
    rows = tidy.base(data.tables["layers"], summary="median")
    found = tidy.runs(data.tables["layers"])
    sliding = any(tidy.hybrid_sliding(tidy.of(rows, run)) for run in found)
    windows = windows_of(rows)
    shown: list[Place] = [(name, "early", None) for name in ("mask", "residual", "pattern")]
    shown += [("residual", "beyond", window) for window in windows]
    note = (
        f"{tidy.inputs(rows)}, {tidy.under(rows)}; median head of each layer; "
        f"bands: {data.level} intervals"
        + "; shaded: sliding layers of models that have others too" * sliding
        + "; no windowed arm in this study" * (not windows)
    )
    looks = style.variants(list(rows.get("variant", pd.Series(dtype=str)).unique()))
    heading = "Mask, residual-stream and pattern energy by layer"
    if not looks:
        figure = style.sheet(heading, note, 2.0)
        style.absent(figure.subplots(), "no arm with condition bos or no-bos in this study")
        return figure
    if len(found) == 1:
        cells = [[(*place, lens, found[0]) for lens in style.LENSES] for place in shown]

        def draw_run(part: SubFigure) -> None:
            panels = draw_cells(part, rows, cells, looks, shared=False)
            for ax, (component, which, window, lens, _) in zip(
                panels.flat, chain(*cells), strict=True
            ):
                ax.set_title(f"{component}, {place(which, window)} ({lens} lens)")
                ax.set_ylabel(f"energy ({style.UNITS[lens]})")

        return style.of_one(found[0], heading, note, 2.3 * len(shown) + 0.6, draw_run)
    blocks = [found[i : i + compared.ABREAST] for i in range(0, len(found), compared.ABREAST)]
    cells = [
        [(*place, lens, run) for run in block]
        for block in blocks
        for place, lens in product(shown, style.LENSES)
    ]
    figure = style.sheet(heading, note + tidy.left_out(found), 1.55 * len(cells) + 0.4)
    panels = draw_cells(figure, rows, cells, looks, shared=True)
    for line, (first, *_) in zip(panels, cells, strict=True):
        component, which, window, lens, _ = first
        text = f"{component}\n{place(which, window)}\n{lens} lens\n({style.UNITS[lens]})"
        line[0].set_ylabel(text, fontsize=8.5)
    for line, block in zip(panels[:: 2 * len(shown)], blocks, strict=True):
        for ax, run in zip(line, block, strict=False):
            ax.set_title(tidy.title(*run))
    return figure


def draw_cells(
    part: Figure | SubFigure,
    rows: pd.DataFrame,
    cells: Sequence[Sequence[Cell]],
    looks: Mapping[str, style.Look],
    shared: bool,
) -> np.ndarray:
    """The panels of a grid, rows on one scale where ``shared``; places without a cell are blank."""
    width = max(map(len, cells))
    panels = part.subplots(
        *(len(cells), width), squeeze=False, sharex="col", sharey="row" if shared else False
    )
    for line, own in zip(panels, cells, strict=True):
        tables = []
        for ax, (component, which, window, lens, run) in zip(line, own, strict=False):
            of_run = tidy.of(rows, run)
            table = tidy.of(of_run, lens=lens, component=component, bin=which)
            tables.append(table if window is None else tidy.of(table, window=window))
            draw_panel(ax, tables[-1], looks)
            scales.shade(ax, tidy.hybrid_sliding(of_run))
        for ax in line[len(own) :]:
            ax.set_axis_off()
        if own[0][:2] in (("residual", "early"), ("pattern", "early")):
            groups = [line[: len(own)]] if shared else [[ax] for ax in line]
            of_groups = [tables] if shared else [[table] for table in tables]
            for axes, of_axes in zip(groups, of_groups, strict=True):
                scales.energy_axis(axes, of_axes, stride=2 if shared else 1)
    for ax in panels[-1]:
        scales.layer_axis(ax)
    style.key(part, looks, columns=3 if shared else None)
    return panels


def draw_panel(ax: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """One component of one run in one bin and lens, a line per variant."""
    for name, look in looks.items():
        line = tidy.of(rows, variant=name)
        if not line.empty:
            style.curve(ax, line, "layer", "energy", look, name)
    scales.zero(ax)


def windows_of(rows: pd.DataFrame) -> list[float]:
    """Windows that some bin lies beyond."""
    found = tidy.of(rows, bin="beyond").get("window", pd.Series(dtype=float))
    return sorted(set(found.dropna()))


def place(which: str, window: float | None) -> str:
    """Name of a bin in a title."""
    if which != "beyond":
        return f"{which} queries"
    return f"queries beyond {window:g} keys"
