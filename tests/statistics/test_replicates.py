"""Replicates against brute force: every statistic computed anew without each document."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abspos.statistics import replicates as sl
from abspos.statistics.energies import interval, packed_replicates
from abspos.statistics.half_samples import SPLITS, in_first_half
from abspos.statistics.packing import pack, unpack

EXACT = {"rtol": 1e-10, "atol": 1e-12}

# In the order in which they first appear, sorted or not; the last has one large document.
DOCUMENTS = {
    "none": None,
    "sorted": np.array([0, 0, 1, 2, 2, 2, 3, 4]),
    "unsorted": np.array([9, 3, 9, 5, 1, 3, 7, 9]),
    "large": np.array([4, 4, 4, 4, 4, 2, 1, 0]),
    "text": np.array(["b", "a", "b", "c", "a", "d", "d", "e"]),
}
documents_of_eight = pytest.mark.parametrize("name", DOCUMENTS)


def units(documents, number=8):
    """Inputs of each document, documents in the order in which they first appear."""
    labels = range(number) if documents is None else documents.tolist()
    return [[i for i, x in enumerate(labels) if x == one] for one in dict.fromkeys(labels)]


def kept_sets(documents, number=8):
    """Inputs of each replicate: all of them, those without one document, both halves."""
    everyone = list(range(number))
    groups = units(documents, number)
    without = [[i for i in everyone if i not in unit] for unit in groups]
    first = [
        [i for unit, chosen in zip(groups, split, strict=True) if chosen for i in unit]
        for split in in_first_half(len(groups))
    ]
    second = [[i for i in everyone if i not in half] for half in first]
    return [everyone, *without, *first, *second]


def energy_by_loops(gram, documents, kept):
    """Mean of G over ordered pairs of kept inputs from different documents."""
    labels = list(range(len(gram))) if documents is None else documents.tolist()
    pairs = [(n, m) for n in kept for m in kept if labels[n] != labels[m]]
    return sum(gram[n, m] for n, m in pairs) / len(pairs) if pairs else np.nan


def mean_of(values, kept):
    """Mean over kept inputs, NaN where there are none."""
    return values[..., kept].mean(-1) if kept else np.full(values.shape[:-1], np.nan)


def symmetric(rng, *shape):
    x = rng.normal(size=(*shape, 8, 3))
    return x @ x.swapaxes(-1, -2)


@documents_of_eight
@pytest.mark.parametrize("kind", ["symmetric", "cross"])
def test_gram_replicates_delete_one_document_at_a_time(rng, name, kind):
    gram = symmetric(rng, 2) if kind == "symmetric" else rng.normal(size=(2, 8, 8))
    found = sl.gram_replicates(gram, DOCUMENTS[name])
    wanted = [
        [energy_by_loops(g, DOCUMENTS[name], kept) for kept in kept_sets(DOCUMENTS[name])]
        for g in gram
    ]
    np.testing.assert_allclose(found, wanted, **EXACT)


@documents_of_eight
def test_margin_replicates_are_gram_replicates(rng, name):
    """Row sums over other documents hold all that energies and their replicates need."""
    documents, gram = DOCUMENTS[name], symmetric(rng, 2, 3)
    labels = np.arange(8) if documents is None else documents
    margins = (gram * (labels[:, None] != labels)).sum(-1)
    found = sl.margin_replicates(margins, documents)
    known = np.isfinite(found[0, 0])
    assert known.sum() == 1 + len(set(labels))
    np.testing.assert_allclose(found[..., known], sl.gram_replicates(gram, documents)[..., known])


@documents_of_eight
def test_mean_replicates_delete_one_document_at_a_time(rng, name):
    values = rng.normal(size=(2, 3, 8))
    wanted = [mean_of(values, kept) for kept in kept_sets(DOCUMENTS[name])]
    found = sl.mean_replicates(values, DOCUMENTS[name])
    np.testing.assert_allclose(found, np.stack(wanted, -1), **EXACT)


@given(labels=st.lists(st.integers(0, 5), min_size=4, max_size=12), seed=st.integers(0, 99))
def test_all_replicates_leave_out_the_same_documents(labels, seed):
    """Ratios of energies of both kinds pair their replicates: documents stand in one order."""
    documents = np.array(labels)
    if len(set(labels)) < 3:
        return
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(labels), 3))
    gram = x @ x.T
    margins = (gram * (documents[:, None] != documents)).sum(-1)
    kept = kept_sets(documents, len(labels))
    by_margin, by_gram = (
        sl.margin_replicates(margins, documents),
        sl.gram_replicates(gram, documents),
    )
    known = np.isfinite(by_margin)
    np.testing.assert_allclose(by_margin[known], by_gram[known], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(
        by_gram, [energy_by_loops(gram, documents, k) for k in kept], rtol=1e-8, atol=1e-9
    )
    np.testing.assert_allclose(
        sl.mean_replicates(x.T, documents), np.stack([mean_of(x.T, k) for k in kept], -1), **EXACT
    )


@documents_of_eight
def test_by_document_sums_in_the_order_of_first_appearance(rng, name):
    values = rng.normal(size=(2, 8))
    sums, sizes = sl.by_document(values, DOCUMENTS[name])
    found = units(DOCUMENTS[name])
    np.testing.assert_array_equal(sizes, [len(unit) for unit in found])
    np.testing.assert_allclose(sums, np.stack([values[:, u].sum(-1) for u in found], -1), **EXACT)


def test_documents_are_labels_only_where_one_repeats():
    alone, twice = xr.Dataset({"document": ("input", [3, 1, 2])}), [3, 1, 3]
    assert sl.documents_of(alone) is None
    np.testing.assert_array_equal(
        sl.documents_of(xr.Dataset({"document": ("input", twice)})), twice
    )


# packed Grams of a store


def store_of(rng, components):
    """A store with packed float32 Grams of orthogonal parts, R being their sum."""
    row, sink, rest = (rng.normal(size=(2, 1, 3, 8, 4)) for _ in range(3))
    fields = {
        "mask": rng.normal(size=(2, 1, 3, 8, 12)),
        "row": row,
        "sink": sink,
        "residual": np.concatenate([row, sink, rest], -1),
        "rest": rest,
        "pattern": rng.normal(size=(2, 1, 3, 8, 4)),
    }
    grams = {name: x @ x.swapaxes(-1, -2) for name, x in fields.items()}
    packed = np.stack([pack(grams[c]).astype(np.float32) for c in components], 1)
    dims = ("lens", "component_early", "layer", "head", "pair")
    coords = {"lens": ["log", "probability"], "component_early": list(components)}
    data = xr.DataArray(packed, dims=dims, coords=coords)
    return xr.Dataset({"gram_early": data}, attrs={"bins": {"early": [1, 8]}}), grams


def test_the_rest_is_what_row_and_sink_leave(rng):
    """In the log lens, where none is stored, the rest is the pattern."""
    store, grams = store_of(rng, ["mask", "residual", "row", "sink", "pattern"])
    store["gram_early"].loc["log", "pattern"] = np.nan
    found = sl.packed_grams(store, "early")
    assert set(found) == {
        (lens, c)
        for lens in ("log", "probability")
        for c in ("mask", "residual", "row", "sink", "rest", "pattern")
    }
    assert found["log", "pattern"] is found["log", "rest"]
    for (lens, component), packed in found.items():
        component = "rest" if (lens, component) == ("log", "pattern") else component
        wanted = grams[component][["log", "probability"].index(lens)]
        np.testing.assert_allclose(unpack(packed, 8), wanted, rtol=1e-5, atol=1e-5)


def test_parts_of_energies_add_up(rng):
    store, _ = store_of(rng, ["mask", "residual", "row", "sink"])
    energies = {
        key: packed_replicates(packed) for key, packed in sl.packed_grams(store, "early").items()
    }
    for lens in ("log", "probability"):
        parts = sum(energies[lens, c] for c in ("row", "sink", "rest"))
        np.testing.assert_allclose(parts, energies[lens, "residual"], rtol=1e-6)


def test_beyond_a_window_the_rest_is_the_pattern(rng):
    """All keys are ordinary there; in the probability lens renormalised rows have mean zero."""
    store, grams = store_of(rng, ["residual", "row"])
    store["gram_early"].loc["probability", "row"] = np.nan
    found = sl.packed_grams(store, "early")
    assert ("probability", "row") not in found
    for lens, rest in (
        ("log", grams["residual"] - grams["row"]),
        ("probability", grams["residual"]),
    ):
        packed = found[lens, "pattern"]
        assert packed is found[lens, "rest"]
        wanted = rest[["log", "probability"].index(lens)]
        np.testing.assert_allclose(unpack(packed, 8), wanted, rtol=1e-5, atol=1e-4)


def test_no_rest_without_row_and_sink(rng):
    store, _ = store_of(rng, ["mask", "residual"])
    assert {component for _, component in sl.packed_grams(store, "early")} == {"mask", "residual"}


# the mask at another anchor


@pytest.mark.parametrize("anchor", [4, 9])
def test_the_gram_of_the_mask_at_another_anchor(rng, anchor):
    queries = range(1, 6)
    denominator = rng.normal(size=(2, 3, 8, 10))
    found = sl.anchored_gram(denominator, anchor, queries)
    for layer, head, n, m in np.ndindex(2, 3, 8, 8):
        z = denominator[layer, head]
        wanted = np.mean([(z[n, anchor] - z[n, i]) * (z[m, anchor] - z[m, i]) for i in queries])
        assert found[layer, head, n, m] == pytest.approx(wanted)


def test_anchored_mask_of_equal_logits():
    """mask_i = log((a + 1) / (i + 1)) in every input: its energy is the mean square."""
    denominator = np.tile(np.log(np.arange(1, 17)), (1, 1, 8, 1))
    queries = range(1, 8)
    for anchor in (7, 15):
        replicates = sl.gram_replicates(sl.anchored_gram(denominator, anchor, queries), None)
        wanted = np.mean([np.log((anchor + 1) / (i + 1)) ** 2 for i in queries])
        np.testing.assert_allclose(replicates[np.isfinite(replicates)], wanted)


# summaries and intervals


def test_a_layer_is_its_median_head_a_model_the_mean_of_its_layers():
    heads = xr.DataArray(
        [[[1.0], [2.0], [30.0]], [[4.0], [6.0], [5.0]]], dims=("layer", "head", "replicate")
    )
    np.testing.assert_array_equal(sl.over_heads(heads, "median")[:, 0], [2, 5])
    np.testing.assert_array_equal(sl.over_heads(heads, "mean")[:, 0], [11, 5])
    assert sl.over_model(heads, "median").item() == 3.5
    assert sl.over_model(heads, "mean").item() == 8


def test_the_interval_of_a_mean_is_students(rng):
    values = rng.normal(size=40)
    found = sl.replicate_interval(sl.mean_replicates(values, None), 0.9)
    low, high = stats.t.interval(0.9, 39, values.mean(), stats.sem(values))
    assert (found.estimate, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_labelled_replicates_may_stand_on_any_axis(rng):
    values = rng.normal(size=(9 + 2 * SPLITS, 2))
    labelled = xr.DataArray(values, dims=("replicate", "layer"))
    found = sl.replicate_interval(labelled)
    plain = interval(values[0], values[1:9].T, values[9:].T, smooth=True)
    for one, other in zip(vars(found).values(), vars(plain).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def rng():
    return np.random.default_rng(5)
