"""reStructuredText of the report: cells that show a text as it is, and tables of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

#: A cell that looks empty but that docutils accepts.
BLANK = "|nbsp|"

#: A beginning of a cell that docutils would take for a list, a title or another block.
BLOCK = re.compile(r"[^\w\s\\]|\w+[.)]( |$)")


def cell(value: object) -> str:
    """A value as text of one reStructuredText table cell: one line, with markup escaped."""
    text = "" if value is None or (isinstance(value, float) and pd.isna(value)) else str(value)
    escaped = re.sub(r"([\\*`|_]|:(?=:))", r"\\\1", " ".join(text.split()))
    return "\\" + escaped if BLOCK.match(escaped) else escaped


def list_table(head: Sequence[str], rows: Sequence[Sequence[object]], widths: str = "auto") -> str:
    """A reStructuredText list-table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [head, *rows]:
        for i, value in enumerate(row):
            lines.append(f"   {'* -' if i == 0 else '  -'} {cell(value) or BLANK}")
    return "\n".join(lines)
