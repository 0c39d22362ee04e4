"""Claims across architectures: arms of models that were trained alike, judged as one model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted_evidence import N, Plan, evidence, study

from abspos.claims.architectures import (
    COLUMNS,
    STANDARD,
    averaged,
    judge,
    over_runs,
    rows_of,
    together,
)
from abspos.claims.judgement import claim_table
from abspos.claims.names import as_text
from abspos.claims.registry import CLAIMS
from abspos.csv_tables import read_csv
from abspos.statistics.store import Arm, Replicates, save_replicates

BETWEEN = [claim.name for claim in CLAIMS if claim.between_variants]
MEMBERS = {"standard": "plain", "ntk": "scaled", "window": "slid"}
GROUP = {
    "start": ["m", "r"],
    "revision": "step10",
    "runs": [MEMBERS],
    "variants": [*MEMBERS],
    "untrained": ["untrained", "untrained-window"],
    "base": "bos",
    "reading": "R",
}
VARIANTS = {
    "standard": {"rope": None, "window": None, "untrained": False},
    "ntk": {"rope": {"rope_type": "ntk", "factor": 8.0}, "window": None, "untrained": False},
    "window": {"rope": None, "window": 12, "untrained": False},
    "untrained": {"rope": None, "window": None, "untrained": True},
    "untrained-window": {"rope": None, "window": 12, "untrained": True},
}


def trained(plan: Plan | None = None) -> dict[str, Replicates]:
    """Each model that was trained alike: the arms of its variant, measured under standard."""
    arms = evidence(plan or study()).arms
    return {
        name: {
            Arm(STANDARD, arm.condition): own for arm, own in arms.items() if arm.variant == variant
        }
        for variant, name in MEMBERS.items()
    }


def start() -> Replicates:
    """The model that they began from, with untrained weights beside it."""
    arms = evidence(study()).arms
    return {a: own for a, own in arms.items() if a.variant in (STANDARD, *GROUP["untrained"])}


def given(runs: dict[str, dict[str, Replicates]]) -> tuple[dict, dict]:
    """A group of models by run and variant, and the replicates of each."""
    group = GROUP | {"runs": [{v: f"{m}{run}" for v, m in MEMBERS.items()} for run in runs]}
    replicates = {("m", "r"): start()}
    for run, models in runs.items():
        replicates |= {(f"{name}{run}", "step10"): own for name, own in models.items()}
    return group, replicates


def primary(claim: str, runs: dict[str, dict[str, Replicates]], **others) -> list[dict]:
    """Deciding rows of one claim."""
    group, replicates = given(runs)
    rows = rows_of(group | others, replicates, VARIANTS, confidence=0.95, seed=0)
    return [row for row in rows if row["claim"] == claim and row["primary"]]


def test_they_are_judged_as_variants_of_the_same_weights_are(tmp_path):
    group, stores = given({"": trained()})
    paths = [(tmp_path / f"{n}.zarr", tmp_path / f"{n}.json") for n in range(len(stores))]
    for arms, (store, manifest) in zip(stores.values(), paths, strict=True):
        save_replicates(arms, store, manifest)
    judge(
        *zip(*paths, strict=True),
        tmp_path / "architectures.csv",
        models=[*stores],
        groups=[group],
        variants=VARIANTS,
        confidence=0.95,
        seed=0,
    )
    found = read_csv(tmp_path / "architectures.csv")
    whole = claim_table(evidence(study()))
    whole = whole[whole["claim"].isin(BETWEEN)]
    keys = ["claim", "arms", "number", "lens", "summary", "reading"]
    own, alone = (t.assign(**{k: as_text(t[k]) for k in keys}) for t in (found, whole))
    both = own.merge(alone, on=keys, suffixes=("", "_whole"))
    assert len(both) == len(found) == len(whole)
    for name in ("estimate", "ci_low", "ci_high"):
        assert np.allclose(both[name], both[f"{name}_whole"], rtol=1e-6, equal_nan=True)
    assert set(found["claim"]) == set(BETWEEN)
    assert (found["n_runs"] == 1).all()
    assert found[["run_low", "run_high"]].isna().all(axis=None)
    assert list(found) == COLUMNS
    assert (found["model"] == group["runs"][0][STANDARD]).all()
    assert {*found["members"].unique()[0].split()} == {*group["runs"][0].values()}
    assert (found["revision"] == "step10").all()


def test_without_untrained_weights_a_difference_to_them_is_not_testable():
    rows = primary("window-accumulates", {"": trained()}, untrained=[])
    assert sorted(row["verdict"] for row in rows) == ["not testable", "reproduced"]


def test_runs_are_averaged_before_anything_is_divided():
    other = study().arm("ntk:bos", mask=0.9, residual=1.0, loss=3.2)
    (row,) = primary("ntk-suppresses", {"-0": trained(), "-1": trained(other)})
    assert row["number"] == "reduction of residual energy"
    assert row["estimate"] == pytest.approx(1 - (1.4 + 1.0) / 2 / 2.0, abs=1e-6)
    assert row["n_runs"] == 2
    spread = (0.5 - 0.3) / np.sqrt(2)  # standard deviation of two values
    assert row["run_high"] - row["run_low"] == pytest.approx(2 * 12.706 * spread / np.sqrt(2), 1e-4)
    assert row["n_inputs"] == N


def test_an_interval_over_runs_needs_two():
    assert over_runs([], 0.95) == over_runs([{"estimate": 0.5}], 0.95) == {}
    found = over_runs([{"estimate": 1.0}, {"estimate": 2.0}, {"estimate": 3.0}], 0.95)
    reach = 4.30265 / np.sqrt(3)
    assert (found["run_low"], found["run_high"]) == pytest.approx((2 - reach, 2 + reach), rel=1e-5)
    assert np.isnan(over_runs([{"estimate": 1.0}, {}], 0.95)["run_low"])


def test_other_inputs_are_refused():
    models = dict(zip(MEMBERS, trained().values(), strict=True))
    arms = models["ntk"]
    arm = Arm(STANDARD, "bos")
    facts = arms[arm].facts | {"document": [*range(1, N + 1)]}
    other = models | {"ntk": arms | {arm: replace(arms[arm], facts=facts)}}
    with pytest.raises(ValueError, match="ntk/bos: inputs differ from those of standard/bos"):
        together(other)
    assert Arm("ntk", "bos") in together(models)


def test_the_mean_of_one_run_is_that_run():
    arms = together(dict(zip(MEMBERS, trained().values(), strict=True)))
    assert averaged([arms]) == arms
