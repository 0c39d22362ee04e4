"""How every figure looks: seaborn's theme and palette, labels with units, N and intervals stated.

The palette is seaborn's ``colorblind``. A component has one colour everywhere, a variant one
colour, line and marker; lines and markers alone tell them apart in greyscale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, cast

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from abspos.components import lenses
from abspos.figures import tidy
from abspos.figures.facts import Facts

BLACK = "#000000"
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette(
    "colorblind"
).as_hex()

CROWDED = 20  # points from which a curve gets small markers
NOTE = 13  # characters of a note to an inch
DIM, LINE = "#404040", "#808080"  # of notes, and of lines that are no data
MARGIN = 0.9  # inches of a heading and a note
WIDTH = 10.0  # inches; at 100 dots an inch as wide as a report page shows it
LENSES = lenses.LENSES
UNITS = {"log": "nats²", "probability": "probability²"}


@dataclass(frozen=True)
class Look:
    """Colour, line and marker of one thing, the same in every figure."""

    color: str
    linestyle: Any = "-"
    marker: str = "o"
    filled: bool = True

    def line(self) -> dict[str, Any]:
        """Keyword arguments for ``Axes.plot`` and ``Axes.errorbar``."""
        face = self.color if self.filled else "white"
        return {
            "color": self.color,
            "linestyle": self.linestyle,
            "marker": self.marker,
            "markerfacecolor": face,
            "markeredgecolor": self.color,
        }


#: Marks of verdicts, the same wherever one is drawn.
VERDICTS = {
    "reproduced": Look(BLACK, "-", "o"),
    "direction only": Look(BLACK, "-", "^"),
    "direction only, smaller": Look(BLACK, "-", "<"),
    "direction only, larger": Look(BLACK, "-", ">"),
    "absent": Look(BLACK, "-", "o", filled=False),
    "inconclusive": Look(BLACK, "-", "D", filled=False),
    "opposite": Look(BLACK, "-", "X"),
    "holds by construction": Look(BLACK, "-", "s"),
    "violated": Look(BLACK, "-", "P"),
    "not testable": Look(BLACK, "-", "_"),
}
#: The mark of a number without a verdict.
NO_VERDICT = Look(BLACK, "-", ".")

#: Readings of the residual-stream component, the same colours in every figure.
READINGS = {
    "R": Look(VERMILLION, (0, (5, 1.5)), "s"),
    "sink": Look(PURPLE, (0, (4, 1.5, 1, 1.5)), "D"),
    "pattern": Look(GREEN, "-", "v"),
}
COMPONENTS = {
    "mask": Look(BLUE, "-", "o"),
    "residual": READINGS["R"],
    "row": Look(SKY, "-", "^"),
    "sink": READINGS["sink"],
    "pattern": READINGS["pattern"],
    "rest": Look(GREY, (0, (1.5, 1.5)), "P"),
}
# Colour and marker show the architecture; hollow markers and dots mean untrained weights.
VARIANTS = {
    "standard": Look(BLACK, "-", "o"),
    "ntk": Look(ORANGE, (0, (5, 1.5)), "^"),
    "window": Look(GREEN, (0, (4, 1.5, 1, 1.5)), "s"),
    "untrained": Look("#7F7F7F", (0, (1.2, 1.2)), "o", filled=False),
    "untrained-window": Look("#66B99F", (0, (1.2, 1.2)), "s", filled=False),
}
OTHER_VARIANTS = (
    Look(PURPLE, (0, (5, 1.5)), "D"),
    Look(SKY, (0, (4, 1.5, 1, 1.5)), "v"),
    Look(VERMILLION, (0, (8, 1.5)), "P"),
    Look(BLUE, (0, (3, 1, 1, 1, 1, 1)), "X"),
)
#: Colours of models on one axis.
MODELS = (BLACK, BLUE, VERMILLION, GREEN, PURPLE, SKY, BROWN, GREY)
CONDITIONS = {
    "bos": Look(BLACK, "-", "o"),
    "no-bos": Look("#7F7F7F", (0, (5, 1.5)), "s", filled=False),
}
LENS_LOOKS = {"log": Look(BLACK, "-", "o"), "probability": Look("#7F7F7F", "-", "D", filled=False)}


def variants(names: Sequence[str]) -> dict[str, Look]:
    """A look for every variant, in the order of legends; unnamed ones get spare looks by name."""
    known = {name: look for name, look in VARIANTS.items() if name in set(names)}
    spare = sorted(set(names) - set(VARIANTS))
    return known | {n: OTHER_VARIANTS[i % len(OTHER_VARIANTS)] for i, n in enumerate(spare)}


def models(found: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A colour for every run of a figure that shows several on one axis."""
    return dict(zip(found, cycle(MODELS), strict=False))


@contextmanager
def theme() -> Iterator[None]:
    """Seaborn's theme with our grid and fixed ids, while a figure is drawn and saved."""
    settings = sns.axes_style("ticks") | sns.plotting_context("notebook", font_scale=0.9)
    settings |= {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
        "axes.grid": True,
        "grid.color": "#E5E5E5",
        "grid.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.5,
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 150,
        "svg.hashsalt": "abspos",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
    }
    with mpl.rc_context(cast(Any, settings)):
        yield


@dataclass(frozen=True)
class Data:
    """Data of a figure.

    Attributes:
        tables: tidy tables by name.
        stores: component stores by ``model/revision/variant/condition``.
        confidence: level of the tables' intervals.
    """

    tables: Mapping[str, pd.DataFrame]
    stores: Mapping[str, Path]
    confidence: float

    @property
    def level(self) -> str:
        """The confidence level in percent, as text."""
        return f"{100 * self.confidence:g} %"


#: Tables of numbers over layers that decide something: a hybrid's kinds of layers stay apart.
JUDGED = ("claims", "swaps", "changes", "controlled_effects", "sensitivity")


def figure(**declared: Any) -> Callable[[Callable[[Data], Figure]], Callable[..., Figure]]:
    """Declare a figure: what it reads, and how the report lists it.

    Args:
        **declared: the attributes of `abspos.figures.facts.Facts`, as literals.

    Returns:
        A decorator. The function that it gives takes ``tables``, ``stores`` and ``confidence``, and
        draws under the theme.
    """
    Facts(**declared)

    def decorate(draw: Callable[[Data], Figure]) -> Callable[..., Figure]:
        @wraps(draw)
        def themed(
            tables: Mapping[str, pd.DataFrame],
            stores: Mapping[str, Path] | None = None,
            confidence: float = 0.95,
        ) -> Figure:
            parted = {n: tidy.by_kind(t) if n in JUDGED else t for n, t in tables.items()}
            with theme():
                return draw(Data(parted, stores or {}, confidence))

        return themed

    return decorate


#: How the heading of a figure stands above it.
HEADING: dict[str, Any] = {"x": 0.01, "ha": "left", "fontsize": 12, "fontweight": "bold"}


def sheet(heading: str, note: str, height: float, width: float = WIDTH) -> Figure:
    """An empty figure with a heading and a note.

    Args:
        heading: what is shown, above all panels.
        note: N, intervals and summaries, below all panels.
        height: of all panels, in inches.
        width: of the figure, in inches.
    """
    figure = Figure(figsize=(width, height + MARGIN), layout="constrained")
    figure.suptitle(heading, **HEADING)
    figure.supxlabel(fill(note, int(NOTE * width)), x=0.01, ha="left", fontsize=9, color=DIM)
    return figure


def empty(heading: str, text: str) -> Figure:
    """A figure that says why it shows nothing, and nothing of N and intervals."""
    figure = sheet(heading, "", 1.0)
    absent(figure.subplots(), text)
    return figure


def of_one(
    run: tuple[str, str],
    heading: str,
    note: str,
    height: float,
    draw_run: Callable[[SubFigure], None],
) -> Figure:
    """A figure of one run, named below the heading.

    Args:
        run: its model and revision.
        heading: what is shown.
        note: N, intervals and summaries, below all panels.
        height: of all panels, in inches.
        draw_run: draws it.
    """
    figure = sheet(heading, note, height)
    part = cast(SubFigure, figure.subfigures())
    part.suptitle(tidy.title(*run), x=0.01, ha="left", fontsize=10.5)
    draw_run(part)
    return figure


def absent(ax: Axes, text: str) -> None:
    """A panel that says why it is empty."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=DIM, wrap=True)


def curve(
    ax: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    look: Look,
    label: str,
    bounds: tuple[str, str] = ("ci_low", "ci_high"),
) -> None:
    """A line with its interval as a band; gaps where the estimate is NaN."""
    rows = rows.sort_values(x)
    low, high = rows[bounds[0]].astype(float), rows[bounds[1]].astype(float)
    ax.fill_between(rows[x], low, high, color=look.color, alpha=0.18, linewidth=0)
    size = 3.2 if len(rows) > CROWDED else None
    ax.plot(rows[x], rows[y].astype(float), label=label, markersize=size, **look.line())


def key(part: Figure | SubFigure, looks: Mapping[str, Look], columns: int | None = None) -> None:
    """One legend for a whole part, above its panels."""
    handles = [Line2D([], [], label=name, **look.line()) for name, look in looks.items()]
    shape = {"ncols": columns or len(handles), "handlelength": 2 if columns else 3.2}
    part.legend(handles=handles, loc="outside upper right", fontsize=9, **shape)


def estimate(
    ax: Axes,
    y: float,
    values: tuple[float, float, float],
    look: Look,
    limits: tuple[float, float] | None = None,
) -> None:
    """One estimate with its interval as a row of a forest plot.

    Args:
        ax: the panel.
        y: the row.
        values: estimate and the ends of its interval; without finite estimate nothing is drawn.
        look: colour and marker.
        limits: of the axis; an estimate outside shows as an arrow at its edge, with its value.
    """
    middle, low, high = values
    if not math.isfinite(middle):
        return
    left, right = limits or (-math.inf, math.inf)
    if math.isfinite(low) and math.isfinite(high):
        ends = [min(max(end, left), right) for end in (low, high)]
        ax.plot(ends, [y, y], color=look.color, linewidth=1.6, solid_capstyle="butt")
    inside = left <= middle <= right
    edge = min(max(middle, left), right)
    if not inside:
        side: Literal["left", "right"] = "left" if middle < left else "right"
        ax.annotate(
            f"{middle:.3g}",
            (edge, y),
            xytext=(7 if side == "left" else -7, 0),
            textcoords="offset points",
            ha=side,
            va="center",
            size=8,
        )
    shape = {} if inside else {"marker": "<" if middle < left else ">"}
    marks = look.line() | {"linestyle": "none"} | shape
    ax.plot(edge, y, clip_on=False, zorder=3, **marks)
