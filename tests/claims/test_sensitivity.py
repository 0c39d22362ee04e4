"""Verdicts under other choices: which rows are compared, and what counts as a flip."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from abspos.claims import sensitivity
from abspos.claims.judgement import COLUMNS
from abspos.claims.sensitivity import (
    change,
    collect,
    deciding,
    fragile,
    tokens_as_one,
    verdict_changes,
)
from abspos.csv_tables import read_csv


def row(**values):
    """A primary row of a claim table, clear of zero."""
    plain = {
        "claim": "ntk-suppresses",
        "model": "m",
        "revision": "0123",
        "number": "a reduction",
        "arms": "ntk/bos vs standard/bos",
        "lens": "log",
        "summary": "median",
        "estimate": 0.2,
        "ci_low": 0.1,
        "ci_high": 0.3,
        "verdict": "reproduced",
        "primary": True,
        "n_inputs": 128,
        "reading": "R",
        "kind": "full",
    }
    return plain | values


def table(*rows):
    return pd.DataFrame([row(), *rows]).reindex(columns=COLUMNS)


NONE = {"ci_low": -0.1, "ci_high": 0.05, "estimate": 0.0, "verdict": "inconclusive"}
WIDE = {"ci_low": -0.1, "ci_high": 0.5, "verdict": "inconclusive"}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, "same"),
        ({"ci_low": 0.15, "n_inputs": 16}, "same"),
        (NONE, "flips"),
        (NONE | {"n_inputs": 64}, "flips"),  # fewer inputs, but the published estimate is excluded
        (WIDE | {"n_inputs": 64}, "too few inputs"),
        (WIDE, "flips"),  # as many inputs: the width is the choice's own
        ({"verdict": "not testable", "n_inputs": 64}, "not testable"),
    ],
)
def test_what_becomes_of_a_verdict(other, expected):
    assert change(row(), row(**other)) == expected


def test_listed_tokens_count_as_one():
    one = "standard/swap-token vs standard/bos"
    assert tokens_as_one("standard/swap-token-1 vs standard/bos") == one
    many = "standard/swap-token-1, standard/swap-token-2, standard/swap-token-11 vs standard/bos"
    assert tokens_as_one(many) == one
    assert (
        tokens_as_one("standard/swap-mean vs standard/bos") == "standard/swap-mean vs standard/bos"
    )


def test_numbers_that_decide_come_in_both_lenses_and_measured():
    claims = table(
        row(lens="probability", primary=False),
        row(summary="mean", primary=False),
        row(number="beside", primary=False),
        row(number="a theorem", ci_low=np.nan, ci_high=np.nan),
        row(claim="bos-swap", verdict=np.nan),
    )
    assert list(deciding(claims).index) == [0, 1]


def test_every_choice_is_compared_with_what_is_published():
    claims = table(row(lens="probability", primary=False))
    choices = pd.DataFrame(
        [
            row(choice="early 16"),
            row(choice="half 1", **WIDE, n_inputs=64),
            row(choice="mean head", summary="mean", **NONE),
        ]
    )
    other = table(row(number="not in this study"))
    other.loc[0, ["estimate", "ci_low", "ci_high", "verdict"]] = [-0.2, -0.3, -0.1, "opposite"]
    found = verdict_changes(claims, choices, {"length-256": other})
    assert list(found.columns) == sensitivity.COLUMNS
    assert dict(zip(found["choice"], found["change"], strict=True)) == {
        "early 16": "same",
        "half 1": "too few inputs",
        "mean head": "flips",
        "length-256": "flips",
    }
    assert set(found["published"]) == {"reproduced"}
    assert set(found["lens"]) == {"log"}, "no choice was made in the probability lens"
    marked = fragile(claims, found)
    assert list(marked["fragile"]) == ["mean head, length-256", ""]


def test_each_reading_is_compared_with_itself():
    """All readings of a number that decides a claim, whichever of them is primary."""
    claims = table(row(reading="pattern", primary=False), row(number="mask", reading=None))
    choices = pd.DataFrame(
        [
            row(choice="early 16"),
            row(choice="early 16", reading="pattern", **NONE),
            row(choice="early 16", number="mask", reading=""),
        ]
    )
    found = verdict_changes(claims, choices, {})
    by_reading = found[found["choice"] == "early 16"].set_index(["number", "reading"])["change"]
    assert by_reading.to_dict() == {
        ("a reduction", "R"): "same",
        ("a reduction", "pattern"): "flips",
        ("mask", ""): "same",
    }
    assert list(fragile(claims, found)["fragile"]) == ["", "early 16", ""]


def test_a_study_from_files_finds_other_studies_by_their_folder(tmp_path):
    paths = {name: tmp_path / name / "claims.csv" for name in ("base", "base.float", "base.t.384")}
    for path in paths.values():
        path.parent.mkdir()
        table().to_csv(path, index=False)
    pd.DataFrame(columns=["choice", *COLUMNS]).to_csv(tmp_path / "choices.csv", index=False)
    others = [paths["base.float"], paths["base.t.384"]]
    out = tmp_path / "sensitivity.csv"
    collect(paths["base"], [tmp_path / "choices.csv"], others, out, study="base")
    found = read_csv(out)
    assert list(found["choice"]) == ["float", "t.384"]
    assert list(found["revision"]) == ["0123"] * 2
