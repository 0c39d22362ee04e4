"""Tables of one model from its component stores, against plain NumPy on the same Grams."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import t

from abspos.arrays import open_dataset
from abspos.components.lenses import LENSES
from abspos.csv_tables import write_csv
from abspos.statistics import aggregate
from abspos.statistics import energies as statistics
from abspos.statistics import replicates as sl
from abspos.statistics.aggregate import parts_of, tabulate
from abspos.statistics.arm_tables import ArmTables, anchors_of
from abspos.statistics.fingerprint import READ
from abspos.statistics.half_samples import SPLITS, in_first_half
from abspos.statistics.packing import unpack
from abspos.statistics.replicates import replicate_interval
from abspos.statistics.sign_flips import sign_flip_p
from abspos.statistics.store import Arm, mean_mask, open_replicates, save_replicates
from abspos.stores import StoreError

ARMS = {"bos": ("standard", "bos"), "no-bos": ("standard", "no-bos"), "window": ("window", "bos")}
KEYS = ["model", "revision", "variant", "condition"]
COLUMNS = {
    "energies": [
        "layer",
        "head",
        "bin",
        "lens",
        "component",
        "energy",
        "ci_low",
        "ci_high",
        "p_value",
        "p_adjusted",
        "influence",
        "kind",
        "window",
        "n_inputs",
    ],
    "sinks": [
        "layer",
        "head",
        "a_1",
        "sink_excess",
        "a_1_64",
        "sink_share",
        "to_first",
        "sink_low",
        "sink_high",
        "kind",
        "map_sink",
        "map_spread",
        "map_shift",
        "map_error",
        "n_inputs",
    ],
    "layers": [
        "layer",
        "bin",
        "lens",
        "component",
        "summary",
        "energy",
        "ci_low",
        "ci_high",
        "kind",
        "window",
        "n_inputs",
    ],
    "readings": [
        "layer",
        "lens",
        "reading",
        "summary",
        "share",
        "ci_low",
        "ci_high",
        "kind",
        "n_inputs",
    ],
    "summary": [
        "bin",
        "lens",
        "component",
        "summary",
        "energy",
        "ci_low",
        "ci_high",
        "kind",
        "window",
        "n_inputs",
    ],
    "profile": [
        "first",
        "last",
        "lens",
        "component",
        "summary",
        "energy",
        "ci_low",
        "ci_high",
        "kind",
        "n_inputs",
    ],
    "position0": [
        "depth",
        "state_norm",
        "norm_low",
        "norm_high",
        "state_variance",
        "closed_error",
        "massive_share",
        "massive_later",
        "contrast",
        "n_inputs",
    ],
    "states": ["depth", "part", "energy", "n_inputs"],
    "masses": ["query", "mask_mass", "residual_mass", "sink_excess", "kind", "n_inputs"],
    "balance": ["anchor", "lens", "balance", "ci_low", "ci_high", "kind", "n_inputs"],
    "loss": ["loss", "ci_low", "ci_high", "n_inputs"],
    "controls": ["check", "value", "passed"],
}
FLIPS = 200
BOS = {"model": "m", "revision": "r", "variant": "standard", "condition": "bos"}


class Made(NamedTuple):
    """The folder of the tables, the replicates' manifest, and what tabulate was given."""

    folder: object
    manifest: object
    given: dict


@pytest.fixture(scope="module")
def made(components, tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics")
    given = {
        "stores": [components[name].store for name in ARMS],
        "manifests": [components[name].manifest for name in ARMS],
        "arms": list(ARMS.values()),
        "model": "tiny",
        "revision": "0123",
        "confidence": 0.9,
        "sign_flips": FLIPS,
        "seed": 3,
        "threads": 1,
    }
    tabulate(
        replicates=folder / "replicates.zarr",
        replicates_manifest=folder / "replicates.json",
        **given,
    )
    return Made(folder, folder / "replicates.json", given)


@pytest.fixture(scope="module")
def read(made):
    return {
        name: pd.read_csv(made.folder / f"{name}.csv", dtype={"revision": str}) for name in COLUMNS
    }


@pytest.fixture(scope="module")
def stores(components):
    return {ARMS[name]: open_dataset(*components[name]).load() for name in ARMS}


@pytest.fixture(scope="module")
def replicates(made):
    return open_replicates(made.folder / "replicates.zarr", made.manifest)


def of(table, arm, **values):
    """Rows of one arm with these values."""
    values |= {"variant": arm[0], "condition": arm[1]}
    return table[np.logical_and.reduce([table[k] == v for k, v in values.items()])]


def bin_of(store, which):
    """The name in tables of a bin in stores."""
    return sl.bin_columns(store, which)["bin"]


def gram_of(store, which, lens, component):
    """A Gram as stored, or by subtraction where it follows from others."""
    names = list(store[f"component_{which}"].values)
    stored = store[f"gram_{which}"].rename({f"component_{which}": "component"}).sel(lens=lens)
    if component == "rest" or (component == "pattern" and (lens == "log" or "sink" not in names)):
        packed = stored.sel(component="residual").values.astype(float)
        for part in ("row", "sink"):
            if part in names:
                packed = packed - np.nan_to_num(stored.sel(component=part).values)
    else:
        packed = stored.sel(component=component).values
    return unpack(packed).astype(np.float64)


def components_of(which, lens):
    """Components that tables have of a bin; beyond a window, position 0 is out of sight."""
    if which not in ("early", "late"):
        return ["residual", *(["row"] if lens == "log" else []), "rest", "pattern"]
    return ["mask", "residual", "row", "sink", "rest", "pattern"]


# what the tables hold


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(read, name):
    assert list(read[name].columns) == KEYS + COLUMNS[name]
    assert set(read[name]["model"]) == {"tiny"}
    assert set(read[name]["revision"]) == {"0123"}, "a revision of digits stays text"


@pytest.mark.parametrize(
    ("name", "public"),
    [
        (
            "energies",
            [
                *KEYS,
                "layer",
                "head",
                "bin",
                "lens",
                "component",
                "energy",
                "ci_low",
                "ci_high",
                "p_value",
            ],
        ),
        ("sinks", [*KEYS, "layer", "head", "a_1", "sink_excess"]),
    ],
)
def test_public_columns_come_first(read, name, public):
    """docs/method.md, section 8."""
    assert list(read[name].columns[: len(public)]) == public


@pytest.mark.parametrize("name", [n for n in COLUMNS if n != "controls"])
def test_every_arm_is_there_in_order_with_its_inputs(read, name):
    table = read[name]
    assert list(dict.fromkeys(zip(table["variant"], table["condition"], strict=True))) == list(
        ARMS.values()
    )
    assert (table["n_inputs"] == 16).all()
    table = table.drop(columns="window", errors="ignore")  # of beyond alone
    assert table.notna().all().all() or name in ("energies", "readings")


@pytest.mark.parametrize("arm", ARMS.values())
def test_energies_of_every_head(read, stores, arm):
    store = stores[arm]
    for which in store.attrs["bins"]:
        for lens in LENSES:
            for component in components_of(which, lens):
                gram = gram_of(store, which, lens, component)
                found = of(
                    read["energies"],
                    arm,
                    bin=bin_of(stores[arm], which),
                    lens=lens,
                    component=component,
                )
                assert list(zip(found["layer"], found["head"], strict=True)) == [
                    (layer, head) for layer in range(3) for head in range(4)
                ]
                wanted = statistics.paired(gram, confidence=0.9)
                close = {"rtol": 1e-7, "atol": 1e-12}
                np.testing.assert_allclose(found["energy"], wanted.estimate.ravel(), **close)
                np.testing.assert_allclose(found["ci_low"], wanted.low.ravel(), **close)
                np.testing.assert_allclose(found["ci_high"], wanted.high.ravel(), **close)
                np.testing.assert_allclose(found["influence"], wanted.influence.ravel(), **close)
                p = sign_flip_p(gram, FLIPS, 3)
                np.testing.assert_allclose(found["p_value"], p.ravel(), **close)
                np.testing.assert_allclose(
                    found["p_adjusted"], statistics.benjamini_hochberg(p).ravel(), **close
                )


@pytest.mark.parametrize("name", ["energies", "layers", "summary"])
def test_which_components_each_bin_has(read, name):
    found = read[name].groupby(["variant", "condition", "bin", "lens"])["component"].agg(set)
    for arm, which, lens in product(ARMS.values(), ("early", "late", "beyond"), LENSES):
        assert found[(*arm, which, lens)] == set(components_of(which, lens))


@pytest.mark.parametrize("name", ["energies", "layers", "summary"])
def test_the_bin_beyond_says_of_which_window(read, name):
    windows = read[name].groupby("bin")["window"].agg(lambda found: set(found.dropna()))
    assert dict(windows) == {"early": set(), "late": set(), "beyond": {6.0}}


def test_parts_of_the_residual_add_up(read):
    wide = read["energies"].pivot_table(
        index=[*KEYS, "bin", "lens", "layer", "head"], columns="component", values="energy"
    )
    parts = wide[["row", "sink", "rest"]].fillna(0).sum(axis=1)
    np.testing.assert_allclose(parts, wide["residual"], rtol=1e-6, atol=1e-12)
    wide = wide.reset_index()
    log = wide[wide["lens"] == "log"]
    np.testing.assert_array_equal(log["pattern"], log["rest"])
    split = wide.query("lens == 'probability' and bin != 'beyond'")
    assert (split["pattern"] != split["rest"]).all(), "renormalised, not what is left"


@pytest.mark.parametrize("arm", ARMS.values())
def test_readings_are_shares_of_r(read, stores, arm):
    """Ratios of energies, paired by input; in the mean head of the log lens they add up to R."""
    parts = {"R": ["residual"], "sink": ["row", "sink"], "pattern": ["pattern"]}
    for lens, summary in product(LENSES, ("median", "mean")):
        whole = gram_of(stores[arm], "early", lens, "residual")
        for reading, components in parts.items():
            own = sum(gram_of(stores[arm], "early", lens, part) for part in components)
            rows = of(read["readings"], arm, lens=lens, summary=summary, reading=reading)
            over = getattr(np, summary)

            def share(u, r, f=over):
                under = f(r, axis=-2)
                return f(u, axis=-2) / np.where(under > 0, under, np.nan)

            wanted = statistics.paired(
                own, whole, statistic=share, smooth=summary == "mean", confidence=0.9
            )
            np.testing.assert_allclose(rows["share"], wanted.estimate, rtol=1e-5)
            np.testing.assert_allclose(rows["ci_high"], wanted.high, rtol=1e-4, atol=1e-6)
    wide = of(read["readings"], arm, lens="log", summary="mean").pivot_table(
        index="layer", columns="reading", values="share"
    )
    if arm == ARMS["no-bos"]:
        assert wide.empty, "R is noise without BOS in this model"
        return
    assert len(wide) > 0
    np.testing.assert_allclose(wide["R"], 1)
    np.testing.assert_allclose(wide["sink"] + wide["pattern"], 1, rtol=1e-5)


@pytest.mark.parametrize("arm", ARMS.values())
def test_layers_and_models(read, stores, arm):
    """A layer is its median or mean head, a model the mean of its layers, in every replicate."""
    for which in stores[arm].attrs["bins"]:
        for lens in LENSES:
            gram = gram_of(stores[arm], which, lens, "residual")
            for summary, over in (("median", np.median), ("mean", np.mean)):
                chosen = {
                    "bin": bin_of(stores[arm], which),
                    "lens": lens,
                    "component": "residual",
                    "summary": summary,
                }
                rows = of(read["layers"], arm, **chosen)
                layers = statistics.paired(
                    gram,
                    statistic=lambda u, f=over: f(u, axis=-2),
                    smooth=summary == "mean",
                    confidence=0.9,
                )
                assert list(rows["layer"]) == [0, 1, 2]
                np.testing.assert_allclose(rows["energy"], layers.estimate, rtol=1e-7)
                np.testing.assert_allclose(rows["ci_low"], layers.low, rtol=1e-6, atol=1e-12)
                row = of(read["summary"], arm, **chosen)
                model = statistics.paired(
                    gram,
                    statistic=lambda u, f=over: f(u, axis=-2).mean(-2),
                    smooth=summary == "mean",
                    confidence=0.9,
                )
                assert row["energy"].item() == pytest.approx(float(model.estimate))
                assert row["ci_high"].item() == pytest.approx(float(model.high))


@pytest.mark.parametrize("arm", ARMS.values())
@pytest.mark.parametrize("component", ["mask", "residual", "row", "sink", "rest", "pattern"])
def test_narrow_bins_average_to_the_wide_ones(read, arm, component):
    """Energies are means over queries, so those of narrow bins average to early and late."""
    for lens in LENSES:
        rows = of(read["profile"], arm, lens=lens, component=component, summary="mean")
        assert rows["first"].iloc[0] == 1
        assert rows["last"].iloc[-1] == 15
        assert (rows["first"].to_numpy()[1:] == rows["last"].to_numpy()[:-1] + 1).all()
        weights = rows["last"] - rows["first"] + 1
        wide = [
            of(read["summary"], arm, bin=b, lens=lens, component=component, summary="mean")
            for b in ("early", "late")
        ]
        early, late = (row["energy"].item() for row in wide)
        assert (weights * rows["energy"]).sum() == pytest.approx(7 * early + 8 * late, rel=1e-4)


@pytest.mark.parametrize("arm", ARMS.values())
def test_sinks(read, stores, arm):
    store, rows = stores[arm], of(read["sinks"], arm)
    for name in ("a_1", "a_1_64", "to_first", "sink_excess"):
        np.testing.assert_allclose(rows[name], store[name].values.mean(-1).ravel(), rtol=1e-5)
    mean, error = (f(store["sink_excess"].values.astype(float), axis=-1) for f in (np.mean, np.std))
    reach = t.ppf(0.95, 15) * error / np.sqrt(15)
    np.testing.assert_allclose(rows["sink_low"], (mean - reach).ravel(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(rows["sink_high"], (mean + reach).ravel(), rtol=1e-5, atol=1e-9)


def test_a_share_of_inputs_sinks(stores):
    """Gu et al.: a head sinks for an input where a_1 at 64 tokens is above 0.3, at 0.3 not."""
    store = stores["standard", "bos"]
    paid = np.full((3, 4, 16), 0.3)
    paid[1, 2, :4], paid[2, 0] = 0.31, 0.9
    arm = ArmTables(store.assign(a_1_64=(store["a_1_64"].dims, paid)), BOS, 0.95, 100, 0)
    share = arm.tables["sinks"].set_index(["layer", "head"])["sink_share"]
    assert share[share > 0].to_dict() == {(1, 2): 0.25, (2, 0): 1.0}


@pytest.mark.parametrize("arm", ARMS.values())
def test_masses(read, stores, arm):
    """The second lens's integrals, by loops over queries (docs/method.md, section 1)."""
    store, rows = stores[arm], of(read["masses"], arm)
    window = 6 if arm[0] == "window" else 32
    a, p = (store[name].values.astype(float) for name in ("attention", "predicted"))
    assert list(rows["query"]) == list(range(1, 16))
    for i, row in zip(range(1, 16), rows.to_dict("records"), strict=True):
        keys = min(i + 1, window)
        assert row["mask_mass"] == pytest.approx(p[:, :, 15, keys:].sum(-1).mean(), abs=1e-6)
        moved = np.abs(a[:, :, i] - p[:, :, i]).sum(-1).mean() / 2
        assert row["residual_mass"] == pytest.approx(moved, abs=1e-6)
        seen = (a - p)[:, :, i, i].mean() if i < window else 0
        assert row["sink_excess"] == pytest.approx(seen, abs=1e-6)


@pytest.mark.parametrize("arm", ARMS.values())
def test_position0(read, stores, arm):
    store, rows = stores[arm], of(read["position0"], arm)
    assert list(rows["depth"]) == [0, 1, 2, 3], "embedding, then after each layer"
    np.testing.assert_allclose(rows["state_norm"], store["state_norm"].mean("input"))
    np.testing.assert_allclose(rows["state_variance"], store["state_variance"])
    np.testing.assert_allclose(rows["closed_error"], store.attrs["closed_trajectory"])
    np.testing.assert_allclose(rows["massive_share"], store["state_massive"].mean("input"))
    np.testing.assert_allclose(rows["massive_later"], store["later_massive"].mean("input"))
    np.testing.assert_allclose(rows["contrast"], store["state_contrast"].median("input"), rtol=1e-6)
    if arm[1] == "bos":
        assert (rows["state_variance"] == 0).all()
        np.testing.assert_allclose(rows["norm_low"], rows["norm_high"])


@pytest.mark.parametrize("arm", ARMS.values())
def test_loss(read, stores, arm):
    loss = stores[arm]["loss"].values.astype(float)
    wanted = replicate_interval(sl.mean_replicates(loss, None), 0.9)
    row = of(read["loss"], arm).iloc[0]
    assert row["loss"] == pytest.approx(loss.mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((wanted.low, wanted.high))


# balance


@pytest.mark.parametrize(
    ("own", "half", "wanted"),
    [
        (15, 16, [15]),
        (63, 64, [15, 31, 47, 63]),
        (63, 192, [15, 31, 47, 63, 95, 127, 191]),
        (100, 512, [15, 31, 47, 63, 95, 100, 127, 191, 255, 383, 511]),
        (63, 640, [15, 31, 47, 63, 95, 127, 191, 255, 383, 511, 639]),
    ],
)
def test_anchors_lie_below_half_and_reach_its_last_query(own, half, wanted):
    assert anchors_of(own, half) == wanted


@pytest.mark.parametrize("arm", ARMS.values())
def test_balance_over_anchors(read, stores, arm):
    """R / (R + mask), the mask's energy by its own definition at each anchor."""
    store = stores[arm]
    z = store["denominator"].values.astype(float)
    residual = statistics.energy(gram_of(store, "early", "log", "residual"))
    rows = of(read["balance"], arm, lens="log")
    assert list(rows["anchor"]) == [15], "anchors lie below half of 32 tokens"
    for anchor, found in zip(rows["anchor"], rows["balance"], strict=True):
        field = z[..., anchor, None] - z[..., 1:8]
        mask = statistics.energy(np.einsum("lhni,lhmi->lhnm", field, field) / 7)
        over, under = (np.median(x, axis=1).mean() for x in (residual, mask))
        assert found == pytest.approx(over / (over + under), rel=1e-5)


@pytest.mark.parametrize("arm", ARMS.values())
@pytest.mark.parametrize("lens", LENSES)
def test_balance_at_the_studys_anchor_is_that_of_the_energies(read, arm, lens):
    row = of(read["balance"], arm, lens=lens, anchor=15)
    early = of(read["summary"], arm, bin="early", lens=lens, summary="median")
    energy = early.set_index("component")["energy"]
    wanted = energy["residual"] / (energy["residual"] + energy["mask"])
    assert row["balance"].item() == pytest.approx(wanted, rel=1e-5)


# several inputs of one document


@pytest.fixture(scope="module")
def paired(stores):
    """The store as if its inputs came from seven documents, out of order."""
    documents = np.array([5, 1, 5, 0, 3, 1, 6, 2, 2, 4, 0, 3, 6, 6, 4, 5])
    store = stores["standard", "bos"].assign(document=("input", documents))
    arm = ArmTables(store, BOS, 0.95, 100, 0)
    return store, documents, arm


def kept_sets(documents):
    """Inputs of each replicate: all, without one document each, both halves of splits."""
    names = np.array(list(dict.fromkeys(documents)))
    halves = [
        np.isin(documents, names[side])
        for sides in (in_first_half(7), ~in_first_half(7))
        for side in sides
    ]
    return [np.full(16, True), *(documents != d for d in names), *halves]


def energy_of(gram, documents, kept):
    """Energy of some inputs, NaN of fewer than two documents."""
    if len(set(documents[kept])) < 2:
        return np.full(gram.shape[:-2], np.nan)
    return statistics.energy(gram[..., kept, :][..., kept], documents[kept])


def test_documents_are_the_unit_everywhere(paired):
    """Every replicate equals the statistic of a store from which one document was dropped."""
    store, documents, arm = paired
    assert {array.sizes["replicate"] for array in arm.bins.values()} == {8 + 2 * SPLITS}
    for replicate, kept in enumerate(kept_sets(documents)):
        np.testing.assert_allclose(
            arm.bins["early"].sel(lens="log", component="residual").values[..., replicate],
            energy_of(gram_of(store, "early", "log", "residual"), documents, kept),
            rtol=1e-6,
        )
        if kept.any():
            loss = store["loss"].values[kept].astype(float).mean()
            assert arm.loss_replicates.values[replicate] == pytest.approx(loss)


def test_the_balance_pairs_its_two_energies_by_document(paired):
    store, documents, arm = paired
    z = store["denominator"].values.astype(float)
    ratio = []
    for kept in kept_sets(documents):
        field = z[..., 15, None] - z[..., 1:8]
        mask = np.einsum("lhni,lhmi->lhnm", field, field) / 7
        residual = gram_of(store, "early", "log", "residual")
        over, under = (
            np.median(energy_of(g, documents, kept), axis=1).mean() for g in (residual, mask)
        )
        ratio.append(over / (over + under))
    wanted = replicate_interval(np.array(ratio), summary="median")
    row = arm.tables["balance"].query("lens == 'log'").iloc[0]
    assert (row["balance"], row["ci_low"], row["ci_high"]) == pytest.approx(
        (float(wanted.estimate), float(wanted.low), float(wanted.high)), rel=1e-4
    )


# replicates and facts for the claims


def test_replicates_start_with_the_estimate(replicates, read, stores):
    for arm in ARMS.values():
        for which in ("early", "late", "beyond-6"):
            found = replicates[arm].bins[which]
            assert found.dims == ("lens", "component", "layer", "head", "replicate")
            assert found.sizes["replicate"] == 17 + 2 * SPLITS
            rows = of(
                read["energies"],
                arm,
                bin=bin_of(stores[arm], which),
                lens="log",
                component="residual",
            )
            np.testing.assert_allclose(
                found.sel(lens="log", component="residual")[..., 0].values.ravel(),
                rows["energy"],
                rtol=1e-7,
            )
        assert replicates[arm].loss.shape == (17 + 2 * SPLITS,)


def test_facts(replicates, stores):
    assert list(replicates) == list(ARMS.values())
    for arm, store in stores.items():
        facts = replicates[arm].facts
        mask = -np.diff(store["denominator"].values.astype(float).mean(2), axis=-1)
        assert facts["mask_rise"] == pytest.approx(mask.max())
        z = store["denominator"].values.astype(float).mean(2)
        assert facts["mask_low"] == pytest.approx((z[..., -1:] - z).min())
        assert facts["inputs"] == 16
        assert facts["length"] == 32
        assert facts["beyond"] == store.attrs["beyond"] == {"beyond-6": 6}
        assert facts["window"] == [6 if arm[0] == "window" else None] * 3
        assert facts["identity_error"] == max(store.attrs["identity_error"]) < 1e-5
        assert facts["closed_error"] == max(store.attrs["closed_trajectory"])
        assert facts["sum_error"] < 1e-5
        assert (facts["state_spread"] == 0) == (arm[1] == "bos")
        relative = store["state_variance"].values / (store["state_norm"].values ** 2).mean(1)
        assert facts["state_spread"] == pytest.approx(np.sqrt(relative.max()))
        assert facts["document"] == store["document"].values.tolist()


def test_sign_flip_tests_of_what_claims_are_judged_on(replicates, stores):
    """The summary itself is tested: that of means is the energy of the mean Gram."""
    for arm, store in stores.items():
        found = replicates[arm].p_values
        assert found.shape == (1, len(LENSES), 4, 2)
        assert found.notnull().all()
        parts = {c: [c] for c in ("mask", "residual", "pattern")} | {"row+sink": ["row", "sink"]}
        for lens, component in product(LENSES, parts):
            gram = sum(gram_of(store, "early", lens, c).mean((0, 1)) for c in parts[component])
            p = float(found.sel(lens=lens, component=component, summary="mean").squeeze())
            assert p == pytest.approx(float(sign_flip_p(gram, FLIPS, 3)))


def test_the_mask_falls_and_is_never_negative(replicates):
    for facts in (own.facts for own in replicates.values()):
        assert facts["mask_low"] >= 0
        assert facts["mask_rise"] <= 0


def test_a_mask_that_rises_is_seen():
    z = np.log(np.arange(1, 9.0))
    dims = ("layer", "head", "input", "query")
    falling = xr.Dataset({"denominator": (dims, z[None, None, None])}, attrs={"anchor": 7})
    np.testing.assert_allclose(mean_mask(falling), np.log(8 / np.arange(1, 9.0))[None, None])
    z[3] = 2.0
    assert np.diff(mean_mask(falling), axis=-1).max() > 0


def test_replicates_come_back_as_they_were_written(replicates, tmp_path):
    """Arms in their order, which a folder does not keep; each labelled array as it was."""
    arms = dict(reversed(replicates.items()))
    save_replicates(arms, tmp_path / "replicates.zarr", tmp_path / "manifest.json")
    found = open_replicates(tmp_path / "replicates.zarr", tmp_path / "manifest.json")
    assert list(found) == list(arms)
    for arm, own in arms.items():
        again = found[arm]
        assert again.facts == own.facts
        assert again.bins.keys() == own.bins.keys()
        for which in own.bins:
            xr.testing.assert_equal(again.bins[which], own.bins[which])
        xr.testing.assert_equal(again.loss, own.loss)
        xr.testing.assert_equal(again.p_values, own.p_values)
        assert (again.writes is None) == (own.writes is None)


def test_an_altered_store_of_replicates_is_refused(replicates, tmp_path):
    store, manifest = tmp_path / "replicates.zarr", tmp_path / "manifest.json"
    save_replicates(replicates, store, manifest)
    files = (store / "standard/bos/early").rglob("*")
    chunk = next(file for file in files if file.is_file() and file.suffix != ".json")
    chunk.write_bytes(b"x" + chunk.read_bytes()[1:])
    with pytest.raises(StoreError, match="altered"):
        open_replicates(store, manifest)


def test_writes_of_arms_of_the_crossed_design_alone(replicates, stores):
    crossed = {arm for arm in replicates if arm.condition == "bos"}
    assert {name for name, own in replicates.items() if own.writes is not None} == crossed
    for arm in crossed:
        for name in READ:
            np.testing.assert_array_equal(replicates[arm].writes[name], stores[arm][name])


def test_cross_grams_become_replicates(stores):
    store = stores["standard", "bos"]
    assert "cross" not in ArmTables(store, BOS, 0.95, 100, 0).all_bins({})
    rng = np.random.default_rng(0)
    names = [f"cross_{lens}{which}" for lens in LENSES for which in ("", "_sink")]
    names += ["cross_probability_pattern"]
    cross = {name: rng.normal(size=(3, 4, 16, 16)).astype(np.float32) for name in names}
    dims = ("layer", "head", "input", "input_reference")
    arm = ArmTables(store.assign({n: (dims, x) for n, x in cross.items()}), BOS, 0.95, 100, 0)
    half = [1, 4, 5, 8, 9, 12, 13]
    found = arm.all_bins({"among-7": half})
    wanted = {(lens, "residual"): cross[f"cross_{lens}"] for lens in LENSES}
    wanted |= {(lens, "row+sink"): cross[f"cross_{lens}_sink"] for lens in LENSES}
    wanted["probability", "pattern"] = cross["cross_probability_pattern"]
    wanted["log", "pattern"] = cross["cross_log"].astype(float) - cross["cross_log_sink"]
    for (lens, component), gram in wanted.items():
        for name, expected in (("cross", gram), ("among-7-cross", gram[..., half, :][..., half])):
            np.testing.assert_allclose(
                found[name].sel(lens=lens, component=component).isel(replicate=0),
                statistics.energy(expected),
            )
    assert set(arm.all_bins({})) == set(found) - {"among-7", "among-7-cross"}
    for lens, component in product(LENSES, ("residual", "row", "sink", "pattern")):
        own = gram_of(store, "early", lens, component)
        np.testing.assert_allclose(
            found["among-7"].sel(lens=lens, component=component).isel(replicate=0),
            statistics.energy(own[..., half, :][..., half]),
            rtol=1e-6,
            atol=1e-12,
        )


def test_parts_of_the_inputs_are_those_of_the_arms_that_compare_with_bos():
    """Half of the inputs is not the first half of them: the bins have other names."""
    chosen, first_ones = [1, 3], [0, 1]
    numbers = {
        "bos": [0, 1, 2, 3],
        "swap-token-1": [0, 1, 2, 3],
        "exchange-readers": chosen,
        "control-shuffle": first_ones,
        "control-shift": [0, 1, 2, 3],
        "no-bos": first_ones,
    }
    opened = {
        Arm("standard", name): xr.Dataset(
            {"loss": ("input", np.zeros(len(own)))}, attrs={"numbers": own}
        )
        for name, own in numbers.items()
    }
    found = {name: parts_of(Arm("standard", name), opened) for name in numbers}
    assert found.pop("bos") == {"among-2": chosen, "first-2": first_ones}
    assert found.pop("swap-token-1") == {"among-2": chosen}
    assert not any(found.values())


# controls


def test_controls_of_no_bos(read):
    found = read["controls"]
    assert list(found["check"]) == [
        f"layer 0: smallest adjusted p of R = 0, {lens}" for lens in LENSES
    ]
    assert (found["condition"] == "no-bos").all()
    for lens, value, passed in zip(LENSES, found["value"], found["passed"], strict=True):
        p = of(
            read["energies"], ARMS["no-bos"], bin="early", lens=lens, component="residual", layer=0
        )["p_value"]
        wanted = statistics.benjamini_hochberg(p.to_numpy()).min()
        assert value == pytest.approx(wanted)
        assert passed == (wanted > 0.05)


def some_inputs(store, number):
    return store.isel(input=slice(0, number))


def test_noop_that_does_nothing(stores):
    bos = stores["standard", "bos"]
    energies = pd.DataFrame(columns=["condition"])
    noop = {("standard", "control-noop"): some_inputs(bos, 8), ("standard", "bos"): bos}
    found = aggregate.controls(noop, energies, {"model": "m"})
    assert list(found.columns) == ["model", "variant", "condition", "check", "value", "passed"]
    assert found.loc[0, ["value", "passed"]].tolist() == [0, True]


@pytest.mark.parametrize("name", ["a_1", "denominator", "state_norm", "loss"])
@pytest.mark.parametrize("change", [1e-6, np.nan])
def test_noop_that_does_something_is_refused(stores, name, change):
    bos = stores["standard", "bos"]
    changed = some_inputs(bos, 8).copy(deep=True)
    changed[name][..., -1] += np.float64(change) * 1000
    noop = {("standard", "control-noop"): changed, ("standard", "bos"): bos}
    with pytest.raises(ValueError, match="standard/control-noop: differs from bos by") as error:
        aggregate.controls(noop, pd.DataFrame(), {})
    assert "\n" not in str(error.value)


# files


def test_the_number_of_threads_changes_nothing(made, tmp_path):
    given = made.given | {"threads": 3}
    tabulate(
        replicates=tmp_path / "replicates.zarr", replicates_manifest=tmp_path / "m.json", **given
    )
    for name in COLUMNS:
        file = f"{name}.csv"
        assert (tmp_path / file).read_bytes() == (made.folder / file).read_bytes()


def test_joined_tables_keep_models_apart(made, tmp_path):
    frames = {}
    for model in ("a", "b"):
        (tmp_path / model).mkdir()
        for name in ("loss", "sinks"):
            frame = pd.read_csv(made.folder / f"{name}.csv", dtype=str).assign(model=model)
            frames[model, name] = frame
            write_csv(frame, tmp_path / model / f"{name}.csv")
    parts = [tmp_path / m / f"{n}.csv" for m in ("a", "b") for n in ("loss", "sinks")]
    aggregate.join(parts, [tmp_path / "sinks.csv", tmp_path / "loss.csv"])
    for name in ("loss", "sinks"):
        found = pd.read_csv(tmp_path / f"{name}.csv", dtype=str)
        both = pd.concat([frames["a", name], frames["b", name]], ignore_index=True)
        assert list(found["model"]) == list(both["model"])
        assert list(found["revision"]) == ["0123"] * len(both)


def test_numbers_keep_nine_digits(tmp_path):
    write_csv(pd.DataFrame({"x": [1 / 3, 1e-300]}), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "x\n0.333333333\n1e-300\n"


@pytest.mark.parametrize(("moved", "passed"), [(0.0, True), (9e-4, True), (2e-3, False)])
def test_a_shift_of_all_positions_is_rounding(stores, moved, passed):
    bos = stores["standard", "bos"]
    shifted = bos.copy(deep=True)
    shifted["a_1"][-1, 0, 3] -= np.float32(moved)
    given = {("standard", "bos"): bos, ("standard", "control-shift"): shifted}
    (row,) = aggregate.controls(given, pd.DataFrame(columns=["condition"]), {}).to_dict("records")
    assert row["condition"] == "control-shift"
    assert row["check"].endswith("at most 0.001")
    assert row["value"] == pytest.approx(moved, abs=1e-6)
    assert row["passed"] == passed


def repeated(condition, residual, stores):
    """Rows of controls.csv of an arm whose heads have these early energies of R (layer, head)."""
    layer, head = np.indices(np.shape(residual))
    rows = {"variant": "standard", "condition": condition, "bin": "early", "lens": "log"}
    own = pd.DataFrame({"layer": layer.ravel(), "head": head.ravel(), "energy": np.ravel(residual)})
    energies = pd.concat(
        [
            own.assign(**rows, component="residual"),
            own.assign(**rows | {"lens": "probability"}, component="residual", energy=0.0),
            own.assign(**rows, component="mask", energy=5.0),
            own.assign(**rows | {"bin": "late"}, component="residual", energy=7.0),
        ]
    )
    given = {("standard", condition): stores["standard", "bos"]}
    return aggregate.controls(given, energies, {}).set_index("check")


def test_one_token_repeated_has_no_r_in_any_head(stores):
    found = repeated("control-repeat", [[1e-12, 0.0], [-5e-12, 2e-12]], stores)
    name = "largest energy of R, at most 1e-06, log"
    assert found.loc[name, ["value", "passed"]].tolist() == [5e-12, True]
    for wrong in (2e-6, -2e-6):
        found = repeated("control-repeat", [[1e-12, 0.0], [wrong, 0.0]], stores)
        assert found.loc[name, ["value", "passed"]].tolist() == [2e-6, False]
    found = repeated("control-repeat", [[np.nan, 0.0]], stores)
    assert not found.loc[name, "passed"], "what was not measured is not nothing"


def test_after_bos_it_has_some_in_every_layer(stores):
    found = repeated("control-repeat-bos", [[0.0, 3.0], [2.0, 0.0]], stores)
    name = "smallest over layers of the largest energy of R, above 1e-06, log"
    assert found.loc[name, ["value", "passed"]].tolist() == [2.0, True]
    found = repeated("control-repeat-bos", [[0.0, 3.0], [0.0, 1e-9]], stores)
    assert found.loc[name, ["value", "passed"]].tolist() == [1e-9, False]


def test_parts_of_hidden_states_add_up_by_depth(read, stores):
    """To the mean squared norm, which is what Song and Zhong split (arXiv 2310.04861)."""
    table = of(read["states"], ARMS["bos"])
    split = stores[ARMS["bos"]]["hidden_split"]
    assert list(dict.fromkeys(table["part"])) == split["part"].values.tolist()
    whole = table.groupby("depth")["energy"].sum()
    np.testing.assert_allclose(whole, split.sum("part"), rtol=1e-6)
    one = table[(table["depth"] == 2) & (table["part"] == "position")]["energy"].item()
    assert one == pytest.approx(float(split.sel(part="position").isel(depth=2)), rel=1e-6)
