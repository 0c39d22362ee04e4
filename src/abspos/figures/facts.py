"""Declarations of each figure, read without importing it.

A figure's module has one function, ``draw``, under ``@style.figure(...)``, whose arguments are
literals. Planning reads them from the source, since an import of matplotlib and seaborn would slow
down every command.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from abspos.study.conditions import BESIDE_EFFECTS, PAIRS, REPEATS, SUBSTITUTES

#: Sections of the report, in the order of the argument.
SECTIONS = (
    "Components",
    "Heads",
    "Position 0",
    "Claims",
    "Controls",
    "Training",
    "Calibration",
)

#: Figures that show nothing without one of these conditions.
ONLY_WITH = {
    "readers": tuple(SUBSTITUTES),
    "controls": tuple(BESIDE_EFFECTS),
    "repeats": tuple(REPEATS),
    "factorial": tuple(PAIRS),
}

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Facts:
    """Inputs of a figure, and its entry in the report.

    Attributes:
        tables: names of the tables that it reads.
        category: section of the report.
        label: its name in the section; one text, since the report turns a second into a switch.
        caption: its text in the report.
        stores: component stores that it reads, as ``variant/condition``.
    """

    tables: tuple[str, ...]
    category: str
    label: str
    caption: str
    stores: tuple[str, ...] = ()


@cache
def facts(name: str, folder: Path = FOLDER) -> Facts:
    """The facts of one figure, from the source of its module.

    Args:
        name: of the figure and its module.
        folder: where the module lies.

    Raises:
        ValueError: the module does not declare its facts as literals.
    """
    path = folder / f"{name}.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "style.figure":
                try:
                    return Facts(**{str(k.arg): ast.literal_eval(k.value) for k in call.keywords})
                except (TypeError, ValueError) as error:
                    raise ValueError(f"figure {name}: {error}; {CURE}") from None
    raise ValueError(f"figure {name}: no @style.figure(...) in {path.name}; {CURE}")


def sections(figures: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Section and name of each figure in the report's menu.

    The report sorts both as text; their numbers give them the order of the argument.

    Args:
        figures: of one study, in the order of the argument.
    """
    counts: Counter[str] = Counter()
    names = {}
    present = [section for section in SECTIONS if section in {facts(f).category for f in figures}]
    for figure in figures:
        own = facts(figure)
        number = present.index(own.category) + 1
        letter = chr(ord("a") + counts[own.category])
        counts[own.category] += 1
        names[figure] = (f"{number} {own.category}", f"{number}{letter} {own.label}")
    return names


CURE = "declare tables, category, label and caption (stores, if any) as literals"
