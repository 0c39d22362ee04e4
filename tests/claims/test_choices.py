"""Energies under other choices, against the same statistics computed from activations' fields."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from abspos.arrays import open_dataset
from abspos.claims import choices, registry
from abspos.claims.alterations import judged_bins, other_anchor, other_early, some_inputs
from abspos.claims.choices import choices_of, choose
from abspos.claims.evidence import Evidence
from abspos.claims.registry import Claim
from abspos.documents import holdout
from abspos.statistics import replicates as sl
from abspos.statistics.aggregate import tabulate
from abspos.statistics.arm_tables import ArmTables
from abspos.statistics.packing import unpack

ARMS = {"bos": ("standard", "bos"), "no-bos": ("standard", "no-bos"), "window": ("window", "bos")}
KEYS = {"model": "m", "revision": "r", "variant": "standard", "condition": "bos"}
CLOSE = {"rtol": 1e-4, "atol": 1e-7}  # profiles and Grams are stored in float32


@pytest.fixture(scope="module")
def store(components):
    return open_dataset(*components["bos"]).load()


@pytest.fixture(scope="module")
def own(store):
    """The study's own replicates."""
    return ArmTables(store, KEYS, 0.95, 100, 0).for_claims()


def pair(arm, name, which="early"):
    lens, component = name
    return arm.bins[which].sel(lens=lens, component=component).values


@pytest.mark.parametrize(
    "name",
    [(lens, c) for lens in ("log", "probability") for c in ("residual", "row", "sink", "pattern")]
    + [("log", "mask")],
)
def test_the_studys_own_early_bin_comes_out_of_narrow_bins(store, own, name):
    found = other_early(store, own, store.attrs["bins"]["early"][1])
    known = slice(1 + store.sizes["input"])  # row sums of narrow bins do not tell halves
    np.testing.assert_allclose(pair(found, name)[..., known], pair(own, name)[..., known], **CLOSE)
    assert np.isnan(pair(found, name)[..., known.stop :]).all()


def test_all_early_queries_are_early_and_late_ones_by_their_number(store, own):
    first, stop = store.attrs["bins"]["early"]
    half = store.attrs["bins"]["late"][1]
    found = other_early(store, own, half)
    for name in (("log", "residual"), ("probability", "mask")):
        both = (stop - first) * pair(own, name) + (half - stop) * pair(own, name, "late")
        known = slice(1 + store.sizes["input"])
        np.testing.assert_allclose(
            pair(found, name)[..., known], both[..., known] / (half - first), **CLOSE
        )


def test_products_with_another_arm_are_of_the_studys_own_bin_alone(store, own):
    crossed = replace(own, bins={**own.bins, "cross": own.bins["early"]})
    half = store.attrs["bins"]["late"][1]
    assert np.isnan(other_early(store, crossed, half).bins["cross"]).all()


def test_an_end_inside_a_narrow_bin_is_refused(store, own):
    with pytest.raises(ValueError, match="no narrow bin of queries ends at 9"):
        other_early(store, own, 10)


def test_another_anchor_moves_the_mask_of_the_log_lens_alone(store, own):
    last = store.sizes["query"] - 1
    same, other = (other_anchor(store, own, a) for a in (last, 7))
    np.testing.assert_allclose(pair(same, ("log", "mask")), pair(own, ("log", "mask")), **CLOSE)
    assert (pair(other, ("log", "mask")) < pair(own, ("log", "mask"))).mean() > 0.9
    for name in (("log", "residual"), ("probability", "mask")):
        np.testing.assert_array_equal(pair(other, name), pair(own, name))


def test_some_inputs_are_a_study_of_those_inputs(store, own):
    kept = np.arange(store.sizes["input"]) % 3 > 0
    some = sl.restricted(sl.read(store, judged_bins(store)), kept)
    found = some_inputs(some, own, kept)
    number = store.sizes["input"]
    labels = store["document"].values[kept]
    documents = None if len(set(labels)) == len(labels) else labels
    for part in ("residual", "row", "sink", "pattern"):
        gram = unpack(sl.packed_grams(store, "early")["log", part], number)
        chosen = gram[..., kept, :][..., kept]
        np.testing.assert_allclose(
            pair(found, ("log", part)), sl.gram_replicates(chosen, documents), rtol=1e-12
        )
    np.testing.assert_allclose(found.loss[0], store["loss"].values[kept].mean(), rtol=1e-6)
    assert "late" not in found.bins
    assert found.inputs == kept.sum()


def test_an_open_store_does_not_keep_what_is_read(components):
    """Choices hold the stores of all arms open: their Gram matrices would add up."""
    store = open_dataset(*components["bos"])
    read = sl.read(store, judged_bins(store))
    assert sl.packed_grams(store, "early")
    assert sl.margins(store)
    for name in ("gram_early", "profile", "loss"):
        assert not store[name].variable._in_memory
    xr.testing.assert_identical(read["gram_early"], store["gram_early"].load())


def test_choices_are_those_that_the_inputs_allow(store):
    sources = ["a"] * 8 + ["b"] * 6 + ["c"] * 2
    found = {choice.name: choice for choice in choices_of(store, sources, 0)}
    half = store.attrs["length"] // 2
    stop = store.attrs["bins"]["early"][1]
    assert [n for n in found if n.startswith("early")] == [
        f"early {e}" for e in choices.EARLY if e <= half and e != stop
    ]
    assert [n for n in found if n.startswith("anchor")] == [
        f"anchor {a}" for a in choices.ANCHORS if a < half - 1
    ]
    parts = choices.parts_of(store, sources, 0)
    one, other = parts["half 1"], parts["half 2"]
    assert (one ^ other).all()
    np.testing.assert_array_equal(one, holdout(16, 0, store["document"].values)[0])
    assert "source a" in found
    assert not {"source b", "source c"} & set(found), "too few inputs for a choice of their own"
    assert not any("source" in c.name for c in choices_of(store, ["a"] * 16, 0))


def test_numbers_of_no_summary_are_judged_like_medians(monkeypatch):
    rows = [
        {"verdict": "reproduced", "summary": s, "number": "n", "lens": "", "primary": False}
        for s in ("", "median", "mean")
    ]
    rows += [{"verdict": "not testable"}, {"verdict": "", "summary": ""}]
    rows = [{"note": "", **row} for row in rows]
    claim = Claim("c", "a statement", "measured", lambda given: iter(rows), {"inputs": ()}, False)
    monkeypatch.setattr(registry, "CLAIMS", (claim,))
    choice = choices.Choice("other", "inputs")
    evidence = Evidence({}, [], {}, 0.95, 0, kind="full")
    found = choices.judged(evidence, choice, [], None, {})
    more = {"claim": "c", "kind": "full", "choice": "other"}
    assert found == [row | more for row in rows[:2]]


def test_one_table_of_a_model(components, windows, tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "ANCHORS", (7,))
    given = {
        "stores": [components[name].store for name in ARMS],
        "manifests": [components[name].manifest for name in ARMS],
        "arms": list(ARMS.values()),
        "model": "tiny",
        "revision": "0123",
        "confidence": 0.95,
        "seed": 0,
        "threads": 1,
    }
    replicates, manifest = tmp_path / "replicates.zarr", tmp_path / "replicates.json"
    tabulate(replicates=replicates, replicates_manifest=manifest, sign_flips=100, **given)
    variants = {
        "standard": {"rope": None, "window": None, "untrained": False},
        "window": {"rope": None, "window": 12, "untrained": False},
    }
    given |= {
        "replicates": replicates,
        "replicates_manifest": manifest,
        "inputs": windows.store,
        "table": tmp_path / "choices.csv",
        "variants": variants,
        "swap_tokens": [],
    }
    # Of random weights there is no row, and no store is read for it.
    choose(**given | {"random": True, "stores": [tmp_path / "none"] * len(ARMS)})
    assert pd.read_csv(tmp_path / "choices.csv").empty
    choose(**given)
    table = pd.read_csv(tmp_path / "choices.csv", dtype={"revision": str})
    assert list(table.columns) == choices.COLUMNS
    heads = table["choice"].eq("mean head").map({True: "mean", False: "median"})
    assert (table["summary"].dropna() == heads[table["summary"].notna()]).all()
    both = table[(table["claim"] == "both-present") & (table["arms"] == "window/bos")]
    halves = both[both["choice"].str.startswith("half")]
    assert (halves["n_inputs"] == 8).all()
    anchored = table[table["choice"].str.startswith("anchor")]
    assert set(zip(anchored["number"], anchored["lens"], strict=True)) == {
        (f"{component} share of mask + R", "log") for component in ("mask", "residual")
    }
