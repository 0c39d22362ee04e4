"""Read the tables of one figure, draw it, and write it in every requested format."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from abspos.csv_tables import read_csv
from abspos.figures import FIGURES, OTHERS
from abspos.figures.facts import facts
from abspos.figures.style import theme
from abspos.stores import whole_file

#: What each format would stamp with the date or version; left out, equal data give equal bytes.
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


def save(
    name: str,
    tables: Mapping[str, Path],
    stores: Mapping[str, Path],
    outputs: Sequence[Path],
    confidence: float = 0.95,
) -> None:
    """Draw one figure from files and write it.

    Args:
        name: a module of ``abspos.figures``, one of FIGURES or OTHERS.
        tables: CSV file of each table that the figure declares.
        stores: component stores by ``model/revision/variant/condition``; empty where it
            declares none.
        outputs: files to write, their suffix (.pdf, .svg, .png) says how.
        confidence: level of the tables' intervals, to be stated in the figure.

    Raises:
        ValueError: an unknown figure or suffix, or a table that the figure needs is not given.
    """
    draw, needed = load(name), facts(name).tables
    missing = [table for table in needed if table not in tables]
    if missing:
        raise ValueError(f"figure {name}: no table {missing[0]!r} given; it needs {needed}")
    for output in outputs:
        suffix_of(output)
    figure = draw({table: read_csv(tables[table]) for table in needed}, stores, confidence)
    with theme():
        for output in outputs:
            write(figure, Path(output))


def load(name: str) -> Callable[..., Figure]:
    """The function that draws one figure, by its name in FIGURES or OTHERS."""
    if name not in FIGURES + OTHERS:
        raise ValueError(f"figure {name!r}: not one of {', '.join(FIGURES + OTHERS)}")
    draw: Callable[..., Figure] = importlib.import_module(f"abspos.figures.{name}").draw
    return draw


def suffix_of(output: Path) -> str:
    """The format of an output file."""
    suffix = Path(output).suffix.lstrip(".")
    if suffix not in METADATA:
        raise ValueError(f"{output}: suffix {suffix!r}; a figure can be pdf, svg or png")
    return suffix


def write(figure: Figure, output: Path) -> None:
    """Write a figure so that the file appears whole or not at all, the same bytes every time."""
    suffix = suffix_of(output)
    with whole_file(output) as partial:
        figure.savefig(partial, format=suffix, metadata=METADATA[suffix])
        if suffix == "svg":
            drawn = partial.read_text(encoding="utf-8")
            partial.write_text(with_stable_ids(drawn), encoding="utf-8")


def with_stable_ids(drawn: str) -> str:
    """An SVG whose clip paths are named by the drawing and their order.

    Matplotlib names them after unrounded positions, whose last digits hang on the order in which a
    layout adds up; everything else that it writes is rounded.
    """
    names = list(dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', drawn)))
    bare = re.sub("|".join(names), "", drawn) if names else drawn
    digest = hashlib.sha256(bare.encode()).hexdigest()[:8]
    stable = {name: f"p{digest}-{number}" for number, name in enumerate(names)}
    return re.sub("|".join(names), lambda found: stable[found[0]], drawn) if names else drawn
