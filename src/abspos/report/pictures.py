"""A study's figures as elements of HTML pages, with nothing to fetch."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import indent

from abspos.figures.facts import facts

#: Types of figures that a page can hold as data.
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """One figure of the page.

    Attributes:
        name: of its module and file.
        label: what it shows.
        caption: its text.
        file: path from the page.
        drawing: an SVG or img element, or a link where the study draws neither SVG nor PNG.
    """

    name: str
    label: str
    caption: str
    file: str
    drawing: str


def picture(path: Path) -> Picture:
    """One figure as an element of the page.

    Args:
        path: ``results/<study>/figures/<name>.<format>``.
    """
    name, own = path.stem, facts(path.stem)
    file = f"figures/{path.name}"
    if path.suffix == ".svg":
        drawing = inline(path.read_text(encoding="utf-8"), name, own.label)
    elif path.suffix == ".png":
        drawing = embedded(path, own.label)
    else:
        drawing = f'<a href="{escape(file)}">{escape(own.label)}</a>'
    return Picture(name, own.label, own.caption, file, drawing)


def inline(drawn: str, name: str, label: str) -> str:
    """An SVG file as an element: its ids are unique on the page, a screen reader reads its label.

    Args:
        drawn: text of the file.
        name: goes before each of its ids.
        label: what it shows.
    """
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\1{name}-", body)
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def embedded(path: Path, label: str) -> str:
    """A figure as an img element that holds the file.

    Args:
        path: of an SVG or PNG file.
        label: what it shows.
    """
    data = base64.encodebytes(path.read_bytes()).decode().strip()  # lines, as docutils wants them
    return f'<img alt="{escape(label)}" src="data:{TYPES[path.suffix]};base64,{data}">'


def directive(path: Path | None) -> str:
    """A figure with its caption in reStructuredText; empty without one that a page can hold."""
    if path is None or (path := Path(path)).suffix not in TYPES:
        return ""
    own = facts(path.stem)
    caption = f"<p><strong>{escape(own.label)}.</strong> {escape(own.caption)}</p>"
    element = indent(f"{embedded(path, own.label)}\n{caption}", "   ")
    return f"\n.. raw:: html\n\n{element}\n"
