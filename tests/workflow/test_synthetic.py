"""A study whose truth is known, end to end: what was planted is found, and judged as it must."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from abspos.planning.costs import Machine
from abspos.planning.forecast import plan
from abspos.planning.layout import Layout
from abspos.stores import differences
from abspos.study.config import load_study
from abspos.study.files import merged


@pytest.fixture
def numbers(known) -> pd.DataFrame:
    return pd.read_csv(known.results / "calibration/numbers.csv")


def row(numbers: pd.DataFrame, claim: str, number: str, arms: str) -> pd.Series:
    """The row of the log lens, the median head and the reading R, where there are readings."""
    chosen = (numbers["claim"] == claim) & (numbers["number"] == number)
    chosen &= (numbers["arms"] == arms) & (numbers["lens"] == "log")
    chosen &= (numbers["summary"] == "median") & numbers["reading"].fillna("R").eq("R")
    (found,) = numbers[chosen].to_dict("records")
    return pd.Series(found)


def test_the_jobs_are_those_that_were_planned(fresh, known, tmp_path) -> None:
    fresh.configure(**known.study)
    jobs = fresh.plan().rules
    default = yaml.safe_load((fresh.root / "config.yaml").read_text(encoding="utf-8"))
    layout = Layout(load_study(merged(default, fresh.study)), fresh.root)
    foretold = {r.rule: r.jobs for r in plan(layout, tmp_path, Machine(), 2).rows}
    figures = foretold.pop("figures")
    assert {rule: jobs.pop(rule, 0) for rule in foretold} == foretold
    assert set(jobs) == set(layout.figures())
    assert sum(jobs.values()) == figures
    assert foretold["planted"] == foretold["components"] == 6
    assert foretold["population"] == foretold["comparison"] == 1


def test_all_that_is_promised_is_there_and_a_second_run_has_nothing_to_do(known) -> None:
    for name in ("calibration/truth.csv", "calibration/numbers.csv", "figures/truth.svg"):
        assert (known.results / name).stat().st_size > 0, name
    folder = known.results / "components/quiet/seed-0/standard"
    assert differences(folder / "bos.zarr", folder / "bos.manifest.json") == []
    assert known.plan().nothing


def test_estimates_lie_where_the_truth_is(known) -> None:
    table = pd.read_csv(known.results / "calibration/truth.csv")
    assert {"mask", "residual", "row", "sink", "rest", "pattern"} == set(table["component"])
    models = table[table["layer"].isna() & (table["n_inputs"] == 32)]
    reach = (models["ci_high"] - models["ci_low"]) / 2
    assert ((models["estimate"] - models["truth"]).abs() <= 3 * reach + 1e-12).all()
    assert models["covered"].mean() > 0.8
    heads = table[table["head"].notna() & (table["bin"] == "early")]
    assert heads["covered"].mean() > 0.85


def test_a_reduction_that_was_planted_is_reproduced(numbers) -> None:
    found = row(
        numbers,
        "bos-swap",
        "swap-token: energy reduction",
        "standard/swap-token-1 vs standard/bos",
    )
    assert found["truth"] == pytest.approx(0.40, abs=0.01)
    assert found["covered"]
    assert found["verdict"] == "reproduced"


def test_no_effect_where_none_was_planted(numbers) -> None:
    found = row(
        numbers, "ntk-suppresses", "reduction of residual energy", "ntk/bos vs standard/bos"
    )
    assert found["truth"] == found["estimate"] == 0
    assert found["verdict"] == "absent"
    found = row(numbers, "both-present", "residual energy", "untrained/bos")
    assert found["truth"] == 0
    assert found["estimate"] != 0
    assert found["covered"]
    assert pd.isna(found["verdict"]), "untrained weights have none"


def test_both_parts_are_there_where_they_were_planted(numbers) -> None:
    for component in ("mask", "residual"):
        found = row(numbers, "both-present", f"{component} share of mask + R", "standard/bos")
        assert found["truth"] > 0.01
        assert found["verdict"] == "reproduced"


def test_controls_pass_and_theorems_hold(known) -> None:
    assert pd.read_csv(known.results / "statistics/controls.csv")["passed"].all()
    claims = pd.read_csv(known.results / "claims.csv")
    theorems = claims[claims["claim"].isin(["mask-denominator", "closed-trajectory"])]
    assert set(theorems["verdict"]) == {"holds by construction"}


def test_the_front_page_says_that_the_models_are_synthetic(known) -> None:
    assert "**Synthetic:**" in (known.results / "front.rst").read_text()


def test_simulated_studies_are_drawn_on_request(fresh) -> None:
    fresh.configure(calibration={"studies": 2, "inputs": [4], "population": 100})
    code, text = fresh.snakemake("calibration")
    assert code == 0, text
    table = pd.read_csv(fresh.results / "calibration/calibration.csv")
    assert set(table["n_inputs"]) == {4}
    assert (fresh.results / "calibration/calibration.svg").stat().st_size > 0
    assert fresh.plan("calibration").nothing
