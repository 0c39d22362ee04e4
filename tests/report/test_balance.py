"""The section on the balance in docs/studies.md: its sentences against the table below them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from abspos.report.balance import sentences, table
from abspos.statistics.arm_tables import anchors_of

PAGE = (Path(__file__).parents[2] / "docs/studies.md").read_text(encoding="utf-8")


def rows_of(section: str) -> pd.DataFrame:
    """balance.csv as the table of a section shows it."""
    head, _, *lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, *lines)]
    rows = []
    for anchor, *texts in cells[1:]:
        for name, text in zip(cells[0][1:], texts, strict=True):
            variant, number = re.fullmatch(r"(.*), N = (\d+)", name).groups()
            value, low, high = (float(x) / 100 for x in re.findall(r"-?\d+\.\d+", text))
            ends = {"balance": value, "ci_low": low, "ci_high": high, "n_inputs": int(number)}
            arm = {"variant": variant, "condition": "bos", "lens": "log"}
            rows.append(arm | {"anchor": int(anchor)} | ends)
    return pd.DataFrame(rows)


def test_the_section_states_what_its_table_carries() -> None:
    section = PAGE.partition("## The balance over the anchor\n")[2].partition("\n## ")[0]
    rows = rows_of(section)
    assert list(rows["anchor"].drop_duplicates()) == anchors_of(63, 512)
    said = re.findall(r"^- (.*)$", section, re.MULTILINE)
    assert said == sentences(rows)
    assert len(said) == 2
    assert table(rows) in section


def test_other_lenses_are_left_out() -> None:
    row = {"variant": "standard", "anchor": 15, "n_inputs": 8, "balance": 0.5}
    rows = pd.DataFrame([row | {"lens": lens} for lens in ("log", "probability")])
    assert table(rows.assign(ci_low=0.4, ci_high=0.6)).splitlines()[2:] == [
        "| 15 | 50.0 % [40.0, 60.0] |"
    ]
