"""Truth beside estimates: the same summaries, the same claims, and who holds what."""

from __future__ import annotations

import copy
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from abspos.calibration.truth import CELL, against, covered, numbers, true_evidence
from abspos.claims import estimands
from abspos.claims.evidence import Evidence
from abspos.statistics.half_samples import SPLITS
from abspos.statistics.replicates import over_heads, over_model, stack
from abspos.statistics.store import Arm, ArmReplicates
from abspos.statistics.summary_tests import untested

LAYERS, HEADS, INPUTS = 3, 4, 8
REPLICATES = 1 + INPUTS + 2 * SPLITS
ARMS = [("standard", "bos"), ("standard", "swap-token-1"), ("ntk", "bos")]
LENSES = ("log", "probability")
PAIRS = list(product(LENSES, ("mask", "residual", "row", "sink", "pattern")))
CROSSED = list(product(LENSES, ("residual", "row+sink", "pattern")))
VARIANTS = {"standard": {}, "ntk": {"rope": {"rope_type": "ntk", "factor": 8.0}}}


@pytest.fixture(scope="module")
def heads() -> pd.DataFrame:
    """True energies; each arm's third of what bos has in R, the cross its root."""
    rng = np.random.default_rng(0)
    base = {p: rng.uniform(1, 2, size=(LAYERS, HEADS)) for p in PAIRS}
    base |= {(lens, "row+sink"): base[lens, "row"] + base[lens, "sink"] for lens in LENSES}
    rows = []
    for (variant, condition), pair in product(ARMS, base):
        lens, component = pair
        share = 1.0 if component == "mask" or (variant, condition) == ARMS[0] else 0.36
        crossed = pair in CROSSED and condition.startswith("swap")
        for which in (*(["early"] if pair in PAIRS else []), *(["cross"] if crossed else [])):
            for layer, head in np.ndindex(LAYERS, HEADS):
                scale = share if which == "early" else share**0.5
                rows.append(
                    (
                        "m",
                        "seed-0",
                        variant,
                        condition,
                        which,
                        lens,
                        component,
                        layer,
                        head,
                        scale * base[pair][layer, head],
                    )
                )
    return pd.DataFrame(rows, columns=[*CELL, "layer", "head", "truth"])


@pytest.fixture(scope="module")
def evidence(heads) -> Evidence:
    """A study whose estimates are noise."""
    rng = np.random.default_rng(1)
    arms = {}
    for arm in (Arm(*names) for names in ARMS):
        bins = {"early": PAIRS}
        if arm.condition.startswith("swap"):
            bins["cross"] = CROSSED
        shape = (LAYERS, HEADS, REPLICATES)
        facts = {
            "inputs": INPUTS,
            "kind": ["full"] * LAYERS,
            "window": [None] * LAYERS,
            "length": 16,
            "beyond": {},
        }
        arms[arm] = ArmReplicates(
            facts,
            {
                which: stack({p: rng.uniform(1, 2, shape) for p in own})
                for which, own in bins.items()
            },
            xr.DataArray(np.ones(REPLICATES), dims="replicate"),
            untested().fillna(0.01),
        )
    return Evidence(arms, ["a"], VARIANTS, 0.95, 0)


def by_name(evidence: Evidence) -> dict[tuple[str, ...], dict]:
    keys = ("claim", "arms", "number", "reading", "lens", "summary")
    return {tuple(row[k] for k in keys): row for row in numbers(evidence)}


def test_claims_of_the_truth_are_those_of_its_energies(heads, evidence):
    found = by_name(true_evidence(evidence, heads))
    for reading, lens, summary in product(("R", "sink", "pattern"), LENSES, ("median", "mean")):
        ntk = ("ntk-suppresses", "ntk/bos vs standard/bos", "reduction of residual energy")
        assert found[(*ntk, reading, lens, summary)]["estimate"] == pytest.approx(0.64)
        swap = ("bos-swap", "standard/swap-token-1 vs standard/bos")
        for number, wanted in (
            ("energy reduction", 0.64),
            ("aligned reduction", 0.4),
            ("difference share", 0.16),
            ("amplitude reduction", 0.4),
        ):
            row = found[(*swap, f"swap-token: {number}", reading, lens, summary)]
            assert row["estimate"] == pytest.approx(wanted)
            assert row["ci_high"] - row["ci_low"] == pytest.approx(0, abs=1e-9)


def test_every_number_of_the_study_has_its_truth(heads, evidence):
    assert by_name(true_evidence(evidence, heads)).keys() == by_name(evidence).keys()


def test_the_studys_own_evidence_is_left_alone(heads, evidence):
    before = copy.deepcopy(evidence.arms)
    true_evidence(evidence, heads)
    for arm, own in before.items():
        for which, array in own.bins.items():
            xr.testing.assert_identical(evidence.arms[arm].bins[which], array)


def test_truths_stand_beside_what_was_measured(heads):
    """Summaries are those of the study; covered says whether an interval holds the truth."""
    early = heads[heads["bin"] == "early"].reset_index(drop=True)
    measured = early.rename(columns={"truth": "energy"}).assign(n_inputs=8)
    measured["ci_low"] = measured["energy"] - np.where(measured["head"] == 0, -0.1, 0.1)
    measured["ci_high"] = measured["energy"] + 0.2
    array = xr.DataArray(
        early[early["component"] == "residual"]["truth"]
        .to_numpy()
        .reshape(len(ARMS), 2, LAYERS, HEADS),
        dims=("arm", "lens", "layer", "head"),
    )
    layers = early.groupby([*CELL, "layer"])["truth"].median().reset_index()
    by_layer = layers.rename(columns={"truth": "energy"}).assign(
        summary="median", ci_low=0.0, ci_high=9.0, n_inputs=8
    )
    models = layers.groupby(CELL)["truth"].mean().reset_index()
    by_model = models.rename(columns={"truth": "energy"}).assign(
        summary="median", ci_low=0.0, ci_high=9.0, n_inputs=8
    )
    table = against(heads, {"energies": measured, "layers": by_layer, "summary": by_model})
    assert set(table["bin"]) == {"early"}
    single = table[table["head"].notna()]
    assert (single["covered"] == (single["head"] != 0)).all()
    own = table[(table["component"] == "residual") & table["head"].isna()]
    model = own[own["layer"].isna()].set_index(["variant", "condition", "lens"])["truth"]
    for (number, (variant, condition)), (k, lens) in product(
        enumerate(ARMS), enumerate(("log", "probability"))
    ):
        wanted = float(over_model(array[number, k], "median"))
        assert model[variant, condition, lens] == pytest.approx(wanted)
        layer = own[
            (own["variant"] == variant)
            & (own["condition"] == condition)
            & (own["lens"] == lens)
            & own["layer"].notna()
        ]
        np.testing.assert_allclose(layer["truth"], over_heads(array[number, k], "median"))
    assert estimands.reduction(array[1], array[0]).mean() == pytest.approx(0.64)


def test_a_number_without_an_interval_is_neither_covered_nor_missed():
    table = pd.DataFrame({"truth": 1.0, "ci_low": [0.0, 2.0, np.nan], "ci_high": [1.0, 3.0, 3.0]})
    found = covered(table)["covered"]
    assert list(found[:2]) == [True, False]
    assert pd.isna(found[2])
