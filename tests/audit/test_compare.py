"""Two runs of a study: identical, rounding, different, altered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos import cli
from abspos.audit.compare import TOLERANCE, compare, distance


def verdicts(one, two, tolerance=TOLERANCE) -> dict[str, str]:
    return {item.name: item.verdict for item in compare(one, two, tolerance)}


@pytest.fixture(scope="module")
def others(made) -> dict[float, object]:
    """The same study with every number moved a little, or too far."""
    return {nudge: made(nudge) for nudge in (0.0, 1e-6, 0.1)}


def test_the_same_study_twice_is_identical(finished, others):
    found = verdicts(finished.results, others[0.0].results)
    assert set(found) == {
        "claims.csv",
        "components/m/r1/bos.zarr",
        "figures/f.svg",
        "statistics/energies.csv",
    }
    assert set(found.values()) == {"identical"}


def test_small_differences_are_rounding_and_large_ones_are_not(finished, others):
    near = verdicts(finished.results, others[1e-6].results)
    assert near["claims.csv"] == near["components/m/r1/bos.zarr"] == "rounding"
    far = verdicts(finished.results, others[0.1].results)
    assert far["claims.csv"] == far["components/m/r1/bos.zarr"] == "different"
    assert set(verdicts(finished.results, others[0.1].results, 1.0).values()) == {
        "identical",
        "rounding",
    }


def test_altered_bytes_are_not_taken_for_rounding(study, others):
    claims = study.results / "claims.csv"
    claims.write_text(claims.read_text() + "\n")
    found = compare(study.results, others[1e-6].results, TOLERANCE)
    assert {i.name: i.verdict for i in found}["claims.csv"] == "altered"
    assert str(claims) in next(str(i) for i in found if i.verdict == "altered")


def test_figures_may_vary_and_missing_files_are_named(study, others):
    (study.results / "statistics/energies.csv").unlink()
    (study.results / "ledger/figures/f.svg.json").unlink()
    (study.results / "figures/f.svg").write_text("<svg></svg>")
    found = verdicts(study.results, others[0.0].results)
    assert found["figures/f.svg"] == "may vary"
    assert found["statistics/energies.csv"] == "missing"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("claim,", "name,", "other columns: claim, name"),
        ("c0,", "c9,", "claim: 'c9' and 'c0'"),
        (",0.5\n", ",\n", "p_value: inf"),
    ],
)
def test_words_headers_and_holes_must_agree(study, others, old, new, reason):
    claims = study.results / "claims.csv"
    claims.write_text(claims.read_text().replace(old, new, 1))
    (study.results / "ledger/claims.csv.json").unlink()
    (item,) = [
        i for i in compare(study.results, others[0.0].results, TOLERANCE) if i.name == "claims.csv"
    ]
    assert item.verdict == "different"
    assert item.detail.startswith(reason)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1))
def test_distance_is_a_share_of_the_largest_value(values, share):
    a = np.array(values)
    largest = np.abs(a).max()
    assert distance(a, a) == 0
    moved = a.copy()
    moved[0] += share * largest
    assert distance(a, moved) <= share * (1 + 1e-9) + 1e-12
    assert distance(a, moved) == distance(moved, a)


def test_counted_probabilities_may_move_by_a_step(study, others):
    claims = study.results / "claims.csv"
    (study.results / "ledger/claims.csv.json").unlink()
    text = claims.read_text()
    for p, verdict in (("0.5005", "rounding"), ("0.52", "different")):
        claims.write_text(text.replace(",0.5\n", f",{p}\n", 1))
        assert verdicts(study.results, others[0.0].results)["claims.csv"] == verdict


def test_the_commands_tolerance_is_the_librarys():
    assert cli.parser().parse_args(["verify"]).tolerance == TOLERANCE


def test_holes_count_only_where_they_differ():
    a, b = np.array([1.0, np.nan]), np.array([1.0, 2.0])
    assert distance(a, a) == 0
    assert distance(a, b) == float("inf")
    assert distance(np.array([np.inf]), np.array([-np.inf])) == float("inf")
