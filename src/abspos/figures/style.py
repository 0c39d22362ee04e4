"""How every figure looks: one palette, one theme, labels with units, N and intervals stated.

The palette is that of Okabe & Ito (https://jfly.uni-koeln.de/color/), safe for colour-blind
readers. A component has one colour everywhere, a variant one colour, line and marker; lines and
markers alone tell them apart in greyscale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from abspos.components import lenses

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"

CROWDED = 20  # points from which a curve gets small markers
NOTE = 13  # characters of a note to an inch
MOST_REVISIONS = 5  # of a model that have a part each in a figure
WIDTH = 10.0  # inches; at 100 dots an inch as wide as a report page shows it
LENSES = lenses.LENSES
RUN = ["model", "revision"]
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
    "not reproduced": Look(BLACK, "-", "o", filled=False),
    "contradicted": Look(BLACK, "-", "X"),
    "holds by construction": Look(BLACK, "-", "s"),
    "not testable": Look(BLACK, "-", "_"),
}

COMPONENTS = {
    "mask": Look(BLUE, "-", "o"),
    "residual": Look(VERMILLION, (0, (5, 1.5)), "s"),
    "row": Look(SKY, "-", "^"),
    "sink": Look(PURPLE, (0, (4, 1.5, 1, 1.5)), "D"),
    "rest": Look(GREY, (0, (1.5, 1.5)), "v"),
}
# Colour and marker tell the architecture; hollow markers and dots say that nothing was learnt.
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


@contextmanager
def theme() -> Iterator[None]:
    """Fonts, grid and fixed ids, while a figure is drawn and while it is saved."""
    settings: dict[str, Any] = {
        # Those of seaborn: style "ticks", context "notebook" with fonts of nine tenths; seaborn
        # takes a second to import.
        "axes.linewidth": 1.25,
        "patch.linewidth": 1,
        "xtick.major.width": 1.25,
        "ytick.major.width": 1.25,
        "xtick.minor.width": 1,
        "ytick.minor.width": 1,
        "xtick.major.size": 6,
        "ytick.major.size": 6,
        "xtick.minor.size": 4,
        "ytick.minor.size": 4,
        "font.size": 10.8,
        "axes.labelsize": 10.8,
        "xtick.labelsize": 9.9,
        "ytick.labelsize": 9.9,
        "legend.fontsize": 9.9,
        "legend.title_fontsize": 10.8,
        "figure.facecolor": "white",
        "axes.labelcolor": ".15",
        "xtick.direction": "out",
        "ytick.direction": "out",
        "xtick.color": ".15",
        "ytick.color": ".15",
        "axes.axisbelow": True,
        "text.color": ".15",
        "lines.solid_capstyle": "round",
        "patch.edgecolor": "w",
        "patch.force_edgecolor": True,
        "axes.facecolor": "white",
        "axes.edgecolor": ".15",
        # Our own.
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


def short(revision: str) -> str:
    """A revision as figures show it: commits by their first eight digits, names whole."""
    text = str(revision)
    commit = len(text) >= 12 and set(text.lower()) <= set("0123456789abcdef")
    return text[:8] if commit else text


def title(model: str, revision: str) -> str:
    """Model and short revision."""
    return f"{model} @ {short(revision)}"


class Runs(list[tuple[str, str]]):
    """(model, revision) of each part of a figure.

    Attributes:
        left_out: how many more there are, which the figure has no room for.
    """

    left_out = 0


def runs(*tables: pd.DataFrame) -> Runs:
    """(model, revision) of some tables, in order of appearance; one dummy if there is none.

    Of a model with more than MOST_REVISIONS the first, the last, and some evenly between.
    """
    found: dict[tuple[str, str], None] = {}
    for table in tables:
        if set(RUN) <= set(table.columns):
            pairs = zip(table["model"].astype(str), table["revision"].astype(str), strict=True)
            found |= dict.fromkeys(pairs)
    models = dict.fromkeys(model for model, _ in found)
    shown = Runs(run for model in models for run in few([r for r in found if r[0] == model]))
    shown.left_out = len(found) - len(shown)
    return shown if shown else Runs([("no model", "-")])


def few(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most MOST_REVISIONS of them: the first, the last, and others evenly between."""
    places = np.linspace(0, len(found) - 1, min(len(found), MOST_REVISIONS))
    return [found[round(place)] for place in places]


def of(table: pd.DataFrame, run: tuple[str, str] | None = None, **wanted: Any) -> pd.DataFrame:
    """Rows of a table by run and column values; a table without such a column has no such rows."""
    if run is not None:
        wanted = {"model": run[0], "revision": run[1]} | wanted
    for column, value in wanted.items():
        if column not in table:
            return table.iloc[:0]
        table = table[table[column] == value]
    return table


def base(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Rows under bos, and under no-bos of models that have no arm with bos."""
    if "condition" not in table or table.empty:
        return table.iloc[:0]
    with_bos = (table["condition"] == "bos").groupby([table["model"], table["revision"]])
    chosen = with_bos.transform("any").map({True: "bos", False: "no-bos"})
    return of(table[table["condition"] == chosen], **wanted)


def under(rows: pd.DataFrame) -> str:
    """The condition that rows of ``base`` are under, as text."""
    without = sorted(set(rows[rows["condition"] == "no-bos"]["model"])) if len(rows) else []
    names = ", ".join(without)
    return f"condition bos (no-bos: {names})" if without else "condition bos"


def sheet(
    found: Sequence[tuple[str, str]], heading: str, note: str, height: float, width: float = WIDTH
) -> tuple[Figure, list[SubFigure]]:
    """A figure with one headed part per run.

    Args:
        found: (model, revision) of each part.
        heading: what is shown, above all parts.
        note: N, intervals and summaries, below all parts.
        height: of one part, in inches.
        width: of the figure, in inches.
    """
    if left_out := getattr(found, "left_out", 0):
        note += f"; {left_out} further revisions are in the tables alone, for want of room"
    figure = Figure(figsize=(width, height * len(found) + 0.9), layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel(fill(note, int(NOTE * width)), x=0.01, ha="left", fontsize=9, color="#404040")
    parts = figure.subfigures(len(found), 1, squeeze=False, hspace=0.03)[:, 0]
    for part, run in zip(parts, found, strict=True):
        part.suptitle(title(*run), x=0.01, ha="left", fontsize=10.5)
    return figure, list(parts)


def inputs(*tables: pd.DataFrame) -> str:
    """N of the rows that are shown, as text."""
    columns = [t["n_inputs"] for t in tables if "n_inputs" in t]
    numbers = pd.concat(columns).dropna() if columns else pd.Series(dtype=float)
    if numbers.empty:
        return "N unknown"
    low, high = int(numbers.min()), int(numbers.max())
    return f"N = {high} inputs" if low == high else f"N = {low} to {high} inputs"


def pooled(rows: pd.DataFrame) -> str:
    """What to say where numbers are means over layers of several kinds; else empty."""
    kinds = rows.get("kind", pd.Series(dtype=str)).astype(str)
    mixed = sorted(set(kinds[kinds.str.contains("+", regex=False)]))
    return f"; means over layers of several kinds: {', '.join(mixed)}" if mixed else ""


def hybrid_sliding(rows: pd.DataFrame) -> list[int]:
    """Sliding layers of variants that have layers of other kinds too."""
    if "kind" not in rows or rows.empty:
        return []
    several = rows.groupby("variant")["kind"].transform("nunique") > 1
    return sorted(set(rows[several & rows["kind"].str.startswith("sliding")]["layer"]))


def shade(ax: Axes, layers: Sequence[int]) -> None:
    """Shade some layers of an axis of layers."""
    for layer in layers:
        ax.axvspan(layer - 0.5, layer + 0.5, color="#000000", alpha=0.07, linewidth=0, zorder=0)


def level(confidence: float) -> str:
    """The confidence level in percent, as text."""
    return f"{100 * confidence:g} %"


def absent(ax: Axes, text: str) -> None:
    """A panel that says why it is empty."""
    ax.set_axis_off()
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="#404040", wrap=True
    )


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


def decade(value: float) -> float:
    """The power of ten at or below a positive number."""
    return 10.0 ** math.floor(math.log10(value))


def energy_axis(
    ax: Axes,
    shown: Sequence[float] | np.ndarray | pd.Series,
    decades: int = 5,
    axis: Literal["x", "y"] = "y",
    stride: int = 1,
) -> None:
    """A scale for energies, which span decades: logarithmic, and linear near 0 where it is reached.

    Args:
        ax: the panel.
        shown: all estimates and lower ends of intervals in the panel.
        decades: below the largest one before the scale turns linear.
        axis: which axis.
        stride: decades from one tick to the next.
    """
    values = np.asarray(shown, dtype=float)
    values = values[np.isfinite(values)]
    set_scale = ax.set_yscale if axis == "y" else ax.set_xscale
    if not values.any():
        return
    if values.min() > 0:
        set_scale("log")
        return
    top = decade(values.max() if values.max() > 0 else -values.min())
    threshold = top / 10 ** (decades - 1)
    set_scale("symlog", linthresh=threshold, linscale=0.6)
    which = ax.yaxis if axis == "y" else ax.xaxis
    # The mark at the threshold stands close to 0: there is room for it where every decade has one.
    last = decades if stride == 1 else decades - 1
    marks = [top / 10.0**k for k in range(-2, last) if k % stride == 0]
    which.set_major_locator(FixedLocator([*(-m for m in marks), 0.0, *reversed(marks)]))
    which.set_minor_locator(NullLocator())
    line = ax.axhline if axis == "y" else ax.axvline
    line(0, color="#808080", linewidth=0.8, zorder=0)


def span(rows: pd.DataFrame) -> pd.Series:
    """Energies and lower ends of their intervals: what an axis of energies must hold."""
    return pd.concat([rows["energy"].astype(float), rows["ci_low"].astype(float)])


def layer_axis(ax: Axes, label: str = "layer") -> None:
    """An axis of whole layers."""
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    ax.set_xlabel(label)


def query_axis(ax: Axes, last: float, label: str) -> None:
    """A logarithmic axis of queries with whole numbers as ticks."""
    ax.set_xscale("log", base=2)
    ticks = [t for t in 2 ** np.arange(12) if t <= last * 1.05]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def key(part: Figure | SubFigure, looks: Mapping[str, Look]) -> None:
    """One legend for a whole part, above its panels."""
    handles = [Line2D([], [], label=name, **look.line()) for name, look in looks.items()]
    part.legend(
        handles=handles, loc="outside upper right", ncols=len(handles), handlelength=3.2, fontsize=9
    )


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
        limits: of the axis; what lies outside shows as an arrow at its edge.
    """
    middle, low, high = values
    if not math.isfinite(middle):
        return
    left, right = limits or (-math.inf, math.inf)
    if math.isfinite(low) and math.isfinite(high):
        ends = [min(max(end, left), right) for end in (low, high)]
        ax.plot(ends, [y, y], color=look.color, linewidth=1.6, solid_capstyle="butt")
    inside = left <= middle <= right
    shape = {} if inside else {"marker": "<" if middle < left else ">"}
    marks = look.line() | {"linestyle": "none"} | shape
    ax.plot(min(max(middle, left), right), y, clip_on=False, zorder=3, **marks)
