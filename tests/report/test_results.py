"""The page of results."""

from pathlib import Path

import pandas as pd

from abspos.csv_tables import read_csv, write_csv
from abspos.report import results

ROOT = Path(__file__).parents[2]


def test_markdown_table_escapes_bars_and_newlines() -> None:
    table = results.markdown_table(["a"], [["x|y\nz"]])
    assert table.splitlines() == ["| a |", "| --- |", "| x\\|y z |"]


def test_swaps_table_shows_every_replacement_in_both_lenses() -> None:
    rows = [
        {
            "model": "m",
            "reading": "R",
            "replacement": r,
            "token": "",
            "lens": lens,
            "number": n,
            "summary": "median",
            "estimate": 0.1,
            "ci_low": 0.0,
            "ci_high": 0.2,
            "primary": (r, lens, n) == ("swap-token", "log", "energy reduction"),
        }
        for r in ("swap-token", "ablate-zero")
        for lens in ("log", "probability")
        for n in ("energy reduction", "aligned reduction")
    ]
    lines = results.swaps_table(pd.DataFrame(rows), "median").splitlines()
    assert len(lines) == 2 + 4
    assert "0.1 [0, 0.2] ★ | 0.1 [0, 0.2] |" in lines[2]
    assert sum("★" in line for line in lines) == 1


def test_names_and_tokens_in_files_are_shown_as_they_are(tmp_path) -> None:
    odd = ["0042", "None", "1e5", "NA", "true", "nan"]
    swaps = pd.DataFrame({"model": odd, "replacement": "swap-token-1", "token": odd})
    swaps["reading"] = "R"
    numbers = {"number": "energy reduction", "lens": "log", "summary": "median", "primary": False}
    write_csv(swaps.assign(**numbers, estimate=0.4, ci_low=0.3, ci_high=0.5), tmp_path / "s.csv")
    lines = results.swaps_table(read_csv(tmp_path / "s.csv"), "median").splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == odd
    assert [line.split(" | ")[3] for line in lines] == odd


def test_readings_that_cover_the_claim_are_listed() -> None:
    row = {"model": "tiny", "lens": "log", "summary": "mean", "number": "aligned reduction"}
    row |= {"reading": "sink", "verdict": "reproduced"}
    nothing = {"estimate": -8.8, "ci_low": -467, "ci_high": 449, "verdict": "not testable"}
    swaps = pd.DataFrame(
        [
            row | {"replacement": "ablate-zero", "estimate": 0.38, "ci_low": 0.36, "ci_high": 0.41},
            row | {"replacement": "swap-mean", "estimate": 0.3, "ci_low": 0.2, "ci_high": 0.39},
            row | {"replacement": "swap-mean"} | nothing,
        ]
    )
    found = results.covering(swaps)
    assert found.startswith("- tiny: ablate-zero, aligned reduction, reading sink, log lens")
    assert len(found.splitlines()) == 1
    assert results.covering(swaps[1:]) == "- none"


def test_flips_are_listed_beside_what_is_published():
    row = {
        "model": "m",
        "claim": "bos-swap",
        "number": "n",
        "arms": "a",
        "lens": "log",
        "reading": "R",
        "published": "reproduced",
    }
    found = pd.DataFrame(
        [
            row | {"choice": "early 16", "verdict": "reproduced", "change": "same"},
            row | {"choice": "half 1", "verdict": "inconclusive", "change": "too few inputs"},
            row | {"choice": "mean head", "verdict": "opposite", "change": "flips"},
            row
            | {
                "number": "no lens",
                "lens": None,
                "choice": "a",
                "verdict": "reproduced",
                "change": "same",
            },
        ]
    )
    table = results.sensitivity_table(found)
    assert "| m | bos-swap | no lens | a |  | R | reproduced | 1 of 1 |" in table
    line = table.splitlines()[2]
    assert line == (
        "| m | bos-swap | n | a | log | R | reproduced | 1 of 3 | mean head: opposite | "
        "half 1: inconclusive |  |"
    )


def test_a_share_is_in_per_cent_and_zero_has_no_sign() -> None:
    row = {"estimate": -1e-9, "ci_low": -0.01234, "ci_high": 1.0}
    assert results.percent(row) == "0.00 % [-1.23, 100.00]"


def test_a_control_stands_beside_the_effect_it_guards() -> None:
    row = {"model": "m", "reading": "R", "lens": "log", "summary": "median"}
    row |= {"ci_low": 0.0, "ci_high": 0.2, "n_inputs": 64}
    numbers = [{"number": n, "estimate": e} for n, e in (("difference share", 0.1), ("other", 0.2))]
    arms = [("effect", "swap-token-1"), ("control", "control-later")]
    guards = pd.DataFrame(
        [row | {"role": role, "condition": name} | n for role, name in arms for n in numbers]
    )
    lines = results.guards_table(guards).splitlines()
    shares = "10.00 % [0.00, 20.00] | 20.00 % [0.00, 20.00]"
    assert lines[2] == f"| m | effect | swap-token-1 | 64 | R | log | median | {shares} |"
    assert lines[3].startswith("| m | control | control-later |")


def test_exchanges_show_what_is_beside_the_claim_and_no_other_claim() -> None:
    row = {
        "model": "m",
        "lens": "log",
        "summary": "median",
        "estimate": 0.5,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "n_inputs": 64,
    }
    claims = pd.DataFrame(
        [
            row | {"claim": "sink-readers", "number": "all: share of energy", "verdict": None},
            row | {"claim": "sink-readers", "number": "readers less others", "verdict": "x"},
            row | {"claim": "bos-swap", "number": "n", "verdict": "reproduced"},
        ]
    )
    assert results.exchanges_table(claims).splitlines()[2:] == [
        "| all: share of energy | log | median | 50.00 % [40.00, 60.00] | 64 |  |",
        "| readers less others | log | median | 50.00 % [40.00, 60.00] | 64 | x |",
    ]
    two = pd.concat([claims, claims.assign(model="n")])
    assert [line.split(" | ")[0] for line in results.exchanges_table(two).splitlines()] == [
        *("| model", "| ---", "| m", "| m", "| n", "| n")
    ]


def test_models_are_named_where_there_are_several() -> None:
    one = pd.DataFrame([{"model": "m", "variant": "v", "loss": 1.0}])
    assert list(results.of_models(one, "variant", "loss")) == ["variant", "loss"]
    two = pd.concat([one, one.assign(model="n")])
    assert list(results.of_models(two, "variant", "loss")) == ["model", "variant", "loss"]


def test_a_page_names_the_command_of_its_study() -> None:
    assert results.command(Path("results/default")) == "make reproduce"
    name = "studies/full.yaml"
    assert results.command(Path("results/full")).endswith(f"--configfile {name}")
    assert (ROOT / name).exists()


def test_finished_studies_of_other_choices_are_named_and_no_others(tmp_path) -> None:
    assert results.taken_in(tmp_path / "a") == ""
    for name, file in (
        ("a.x", "claims.csv"),
        ("a.b", "claims.csv"),
        ("a.c", "o"),
        ("b", "claims.csv"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert ": `a.b`, `a.x`." in results.taken_in(tmp_path / "a")
