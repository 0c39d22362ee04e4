"""Claims over sources: the published estimate, and that of a study without each source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from abspos.arrays import open_dataset
from abspos.claims.alterations import judged_bins, some_inputs
from abspos.claims.between import standard_between, which_is_smaller
from abspos.claims.evidence import BOS, Evidence
from abspos.claims.rows import REPLICATES, decided, measured
from abspos.claims.sources import FEWEST, OVER, WITHOUT, as_units, over_sources, with_sources
from abspos.claims.verdicts import POSITIVE
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics import replicates as sl
from abspos.statistics.arm_tables import ArmTables
from abspos.statistics.half_samples import SPLITS
from abspos.statistics.replicates import no_halves, over_model, replicate_interval
from abspos.statistics.store import Arm, ArmReplicates

KEYS = {"model": "m", "revision": "r", "variant": "standard", "condition": "bos"}
SOURCES = np.array([f"s{n % 4}" for n in range(16)])


@pytest.fixture(scope="module")
def store(components):
    return open_dataset(*components["bos"]).load()


@pytest.fixture(scope="module")
def own(store):
    return ArmTables(store, KEYS, 0.95, 100, 0).for_claims()


@pytest.fixture(scope="module")
def evidence(own):
    return Evidence({BOS: own}, [], {"standard": {}}, 0.95, 0)


def judge(evidence, name=""):
    """One number, R's energy, and one without a verdict."""
    energy = over_model(evidence.energies(BOS, "early", "log"), "median")
    about = {"lens": "log", "summary": "median"}
    rows = [measured(evidence, [BOS], "R", energy, POSITIVE, **about, primary=True)]
    rows.append(measured(evidence, [BOS], "loss", evidence.loss(BOS), POSITIVE))
    return [row | {"claim": "c", "choice": name} for row in rows]


def test_intervals_over_sources_are_about_the_published_estimate(store, evidence):
    published = judge(evidence)
    found = over_sources(evidence, {BOS: store}, None, SOURCES, published, judge)
    for row, known in zip([r for r in found if r["choice"] == OVER], published, strict=True):
        assert row["estimate"] == pytest.approx(known["estimate"], rel=1e-5)
        assert row["n_inputs"] == 4
        assert row["ci_high"] - row["ci_low"] != pytest.approx(known["ci_high"] - known["ci_low"])


def test_without_a_source_an_estimate_is_that_of_the_other_inputs(store, own, evidence):
    """With the published error, by which its verdict is passed."""
    published = judge(evidence)
    found = over_sources(evidence, {BOS: store}, None, SOURCES, published, judge)
    for name in set(SOURCES):
        some = sl.restricted(sl.read(store, judged_bins(store)), name != SOURCES)
        others = some_inputs(some, own, name != SOURCES)
        direct = judge(Evidence({BOS: others}, [], {"standard": {}}, 0.95, 0))
        rows = [row for row in found if row["choice"] == f"{WITHOUT}{name}"]
        for row, alone, known in zip(rows, direct, published, strict=True):
            assert row["estimate"] == pytest.approx(alone["estimate"], rel=1e-5)
            assert row["ci_high"] - row["estimate"] == pytest.approx(
                known["ci_high"] - known["estimate"]
            )
            assert row["decided_low"] == pytest.approx(row["ci_low"])
            assert row["verdict"] == decided(row, 0.95)["verdict"]
            assert row["n_inputs"] == 16


def test_every_bin_and_the_loss_have_replicates_of_sources(store, own):
    found = as_units(store, own, SOURCES)
    assert set(found.bins) <= set(own.bins)
    fewer = own.bins["early"].sizes["replicate"] - 16 + 4
    for which, values in found.bins.items():
        assert values.sizes["replicate"] == fewer
        np.testing.assert_allclose(
            values[..., 0], own.bins[which].sel(component=values["component"])[..., 0], rtol=1e-4
        )
    assert found.loss.sizes["replicate"] == fewer


def test_the_claim_table_gets_intervals_over_sources_where_there_are_any():
    number = {"claim": "c", "model": "m", "revision": "1", "arms": "a", "lens": "log"}
    claims = pd.DataFrame(
        {**number, "number": "n", "summary": name, "estimate": 1.0} for name in ("median", "mean")
    )
    theorem = {"claim": "t", "model": "m", "revision": "1", "summary": float("nan")}
    claims = pd.concat([claims, pd.DataFrame([theorem])], ignore_index=True)
    rows = {"number": "n", "summary": "median", "ci_low": 0.5, "ci_high": 1.5}
    choices = pd.DataFrame(
        [number | rows | {"choice": OVER}, number | rows | {"choice": "half 1", "ci_low": 0}]
    )
    found = with_sources(claims, choices)
    assert found["source_low"].tolist()[:1] == [0.5]
    assert found["source_high"].tolist()[:1] == [1.5]
    assert found["source_low"].isna().tolist() == [False, True, True]
    pd.testing.assert_frame_equal(found[claims.columns], claims)


def test_kinds_of_layers_have_intervals_of_their_own(store, evidence):
    """The rows of a hybrid differ in their kind alone."""

    def by_kind(changed, name=""):
        row = judge(changed, name)[0]
        ends = ("estimate", "ci_low", "ci_high")
        return [
            row | {"kind": kind} | {end: row[end] + shift for end in ends}
            for kind, shift in (("full", 0.0), ("sliding", 10.0))
        ]

    published = by_kind(evidence)
    found = over_sources(evidence, {BOS: store}, None, SOURCES, published, by_kind)
    claims, choices = (pd.DataFrame(r).assign(model="m", revision="1") for r in (published, found))
    table = with_sources(claims, choices)
    np.testing.assert_allclose(table["source_low"].diff()[1], 10)
    # A source left out moves the published interval of its own kind, not that of another.
    left = choices[choices["choice"] == f"{WITHOUT}s1"]
    assert left["kind"].tolist() == ["full", "sliding"]
    np.testing.assert_allclose(left["ci_low"] + left["ci_high"], 2 * left["estimate"], rtol=1e-6)


def test_few_sources_are_not_left_out(store, evidence):
    few = np.array([f"s{n % (FEWEST - 1)}" for n in range(16)])
    assert over_sources(evidence, {BOS: store}, None, few, judge(evidence), judge) == []


def test_the_smaller_of_two_differences_is_chosen_anew_without_each_source():
    """By the lower end of its interval, which is as wide without a source as it was."""
    rng = np.random.default_rng(0)
    narrow, wide = np.full(31, 0.22), np.full(31, 0.3)
    wide[1:] += 0.01 * rng.normal(size=30)
    both = no_halves(np.array([narrow, wide]))
    low = float(replicate_interval(both[1], 0.95).low)
    assert 0.2 < low < 0.22
    found = which_is_smaller(both, 0.95, "mean")[:31]
    assert found[0] == 1
    np.testing.assert_array_equal(found == 1, wide - wide[0] + low < 0.22)
    assert set(found) == {0, 1}


def test_standard_between_keeps_the_smaller_difference_of_every_replicate():
    rng = np.random.default_rng(0)
    narrow, wide = np.full(31, 0.22), np.full(31, 0.3)
    wide[1:] += 0.01 * rng.normal(size=30)
    parts = sorted({"mask", *(part for reading in READINGS for part in reading.parts)})
    labels = {"lens": list(LENSES), "component": parts}
    dims = ("lens", "component", "layer", "head", "replicate")

    def arm(values):
        energies = np.broadcast_to(no_halves(values), (2, len(parts), 1, 1, 31 + 2 * SPLITS))
        facts = {"inputs": 30, "kind": ["full"]}
        return ArmReplicates(facts, {"early": xr.DataArray(energies, labels, dims)})

    arms = {
        Arm("standard", "bos"): arm(np.ones(31)),
        Arm("ntk", "bos"): arm(1 - narrow),
        Arm("window", "bos"): arm(1 + wide),
    }
    rope = {"rope_type": "ntk", "factor": 8}
    variants = {"standard": {}, "ntk": {"rope": rope}, "window": {"window": 8}}
    rows = list(standard_between(Evidence(arms, [], variants, 0.95, 0)))
    smaller = [r for r in rows if (r["reading"], r["summary"]) == ("R", "mean")][2]
    assert smaller["number"].startswith("smaller of both")
    kept = smaller[REPLICATES][:31]
    assert kept[0] == pytest.approx(0.3)
    assert 0 < np.isclose(kept, 0.22, rtol=0, atol=1e-12).sum() < 30
    chosen = which_is_smaller(no_halves(np.array([narrow, wide])), 0.95, "mean")[:31]
    np.testing.assert_allclose(kept, np.where(chosen == 0, narrow, wide))
