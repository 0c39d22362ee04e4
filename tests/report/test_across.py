"""Claims across architectures as pages show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abspos.report.across import ABOUT, by_step
from abspos.report.architectures import HEADING, replaced
from abspos.report.front import architectures


def rows(*steps: str, **others: object) -> pd.DataFrame:
    """Deciding rows of one claim, one a step."""
    row = {
        "claim": "ntk-suppresses",
        "model": "m",
        "number": "reduction",
        "arms": "ntk/bos vs standard/bos",
        "primary": True,
        "verdict": "reproduced",
        "preliminary": False,
        "estimate": 0.25,
        "ci_low": 0.2,
        "ci_high": 0.3,
        "n_inputs": 128,
        "n_runs": 1,
        "note": np.nan,
    }
    return pd.DataFrame([row | {"revision": step} | others for step in steps])


def test_a_line_has_its_numbers_by_step():
    found = pd.concat([rows("step0", estimate=0.22, preliminary=True), rows("step10")])
    head, lines = by_step(found)
    assert head == ["claim", "number", "arms", "step0", "step10", "N", "runs"]
    assert lines == [
        [
            "ntk-suppresses",
            "reduction",
            "ntk/bos vs standard/bos",
            "reproduced (preliminary): 0.22 [0.2, 0.3]",
            "reproduced: 0.25 [0.2, 0.3]",
            "128",
            "1",
        ]
    ]


def test_what_decides_nothing_is_left_out_and_what_cannot_be_tested_says_why():
    why = {"verdict": "not testable", "note": "needs x", "estimate": np.nan, "number": np.nan}
    blank = dict.fromkeys(("n_inputs", "n_runs"), np.nan)
    found = pd.concat([rows("step0", primary=False), rows("step0", **why, **blank)])
    _, ((*_, text, number, runs),) = by_step(found)
    assert (text, number, runs) == ("not testable: needs x", "", "")


def test_several_starts_are_named_and_a_range_of_inputs_is_shown():
    found = pd.concat([rows("step0"), rows("step0", model="n"), rows("step1", n_inputs=64)])
    head, lines = by_step(found)
    assert head[0] == "model"
    assert [line[0] for line in lines] == ["m", "n"]
    assert lines[0][-2:] == ["64-128", "1"]
    assert lines[1][-3] == ""


@pytest.mark.parametrize("given", [{}, {"architectures": rows("step0")}])
def test_the_front_page_has_them_where_models_were_trained_alike(given):
    text = architectures(given)
    assert bool(text) == bool(given)
    if given:
        assert ABOUT in text
        assert "reproduced: 0.25 [0.2, 0.3]" in text


def test_the_section_takes_the_place_of_the_one_before():
    page = "# Results\n\nText.\n"
    once = replaced(page, f"\n{HEADING}\nFirst.\n")
    assert replaced(once, f"\n{HEADING}\nSecond.\n") == f"{page}\n{HEADING}\nSecond.\n"


def test_the_page_of_results_has_one_such_section():
    page = Path(__file__).parents[2] / "docs/results.md"
    assert page.read_text(encoding="utf-8").count(f"\n{HEADING}") == 1
