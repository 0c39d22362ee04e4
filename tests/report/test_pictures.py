"""Figures as elements of a page: nothing to fetch, ids that are unique, text for a reader."""

from __future__ import annotations

import base64
import re

from docutils.core import publish_parts

from abspos.figures.facts import facts
from abspos.report.pictures import directive, inline, picture

DRAWN = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg"><metadata>by x</metadata><style>*{a:b}</style>
<defs><path id="A" d="M0 0"/></defs><g clip-path="url(#A)"><use xlink:href="#A"/></g></svg>
"""


def test_a_drawing_keeps_what_refers_within_it() -> None:
    drawn = inline(DRAWN, "one", 'a "b" & c')
    assert drawn.startswith('<svg role="img" aria-label="a &quot;b&quot; &amp; c"')
    assert 'id="one-A"' in drawn
    assert "url(#one-A)" in drawn
    assert 'href="#one-A"' in drawn
    assert "metadata" not in drawn
    assert "style" not in drawn


def test_figures_of_other_formats_are_embedded_or_linked(tmp_path) -> None:
    (tmp_path / "head_maps.png").write_bytes(b"png")
    assert 'src="data:image/png;base64,cG5n"' in picture(tmp_path / "head_maps.png").drawing
    assert 'href="figures/head_maps.pdf"' in picture(tmp_path / "head_maps.pdf").drawing


def test_a_figure_in_the_report_is_held_by_it_with_its_caption(tmp_path) -> None:
    drawn = DRAWN + 20_000 * " "  # docutils refuses lines of more than 10 000 characters
    path = tmp_path / "schematic.svg"
    path.write_text(drawn)
    html = publish_parts(directive(path), writer="html")["body"]
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', html)
    assert base64.b64decode(data).decode() == drawn
    assert f'alt="{facts("schematic").label}"' in html
    assert facts("schematic").caption in html
    assert "system-message" not in html


def test_a_figure_that_no_page_can_hold_is_left_out(tmp_path) -> None:
    assert directive(None) == ""
    assert directive(tmp_path / "schematic.pdf") == ""
