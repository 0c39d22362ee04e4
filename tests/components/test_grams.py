"""Gram matrices against inner products written with loops (docs/method.md, section 3); nulls."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from abspos.components import grams
from abspos.components.decomposition import by_offset, split
from abspos.components.grams import LENSES, Bin
from abspos.components.residual_parts import pattern, row_and_sink
from abspos.statistics import energies as statistics
from abspos.statistics.packing import pack, unpack
from abspos.statistics.sign_flips import sign_flip_p

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def logits_of(seed, inputs=4, heads=2, length=18, scale=1.0, dtype=torch.float64):
    made = torch.Generator().manual_seed(seed)
    return scale * torch.randn(inputs, heads, length, length, generator=made, dtype=dtype)


def parts_of(logits, window=None):
    half = logits.shape[-1] // 2
    early = by_offset(logits[..., :half, :half], 0, half)
    return split(early, by_offset(logits[..., half:, :], half, half), window)


def log_softmax(row):
    top = max(row)
    z = top + math.log(sum(math.exp(v - top) for v in row))
    return [v - z for v in row]


def field_of_input(s, i, keys, anchor, window, lens, component):
    """Field of one input and head at query i on offsets below `keys`, by loops."""
    length = len(s)
    half = length // 2
    actual = log_softmax([s[i][i - d] for d in range(keys)])
    cut = [log_softmax([s[q][q - d] for d in range(keys)]) for q in range(half, length)]
    anchored = min(anchor + 1, window or half)
    other = [log_softmax([s[q][q - d] for d in range(anchored)]) for q in range(half, length)]

    def mean_p(rows, d):
        return fmean(math.exp(row[d]) for row in rows) if d < len(rows[0]) else 0.0

    ordinary = min(i, keys)

    def mean_of_parts(rows):
        return [fmean(math.exp(row[d]) for row in rows) for d in range(ordinary)]

    if component in ("row", "sink", "rest"):
        whole = field_of_input(s, i, keys, anchor, window, lens, "residual")
        row = fmean(whole[:ordinary])
        parts = {
            "row": [row] * ordinary + [0.0] * (keys - ordinary),
            "sink": [0.0] * ordinary + whole[ordinary:],
            "rest": [x - row for x in whole[:ordinary]] + [0.0] * (keys - ordinary),
        }
        return parts[component]
    if component == "pattern":
        own = log_softmax([s[i][i - d] for d in range(ordinary)])
        late = [log_softmax([s[q][q - d] for d in range(ordinary)]) for q in range(half, length)]
        found = [math.exp(x) - p for x, p in zip(own, mean_of_parts(late), strict=True)]
        return found + [0.0] * (keys - ordinary)

    def value(d):
        if (lens, component) == ("log", "residual"):
            return actual[d] - fmean(row[d] for row in cut)
        if (lens, component) == ("log", "mask"):
            return fmean(row[0] for row in cut) - fmean(row[0] for row in other)
        if (lens, component) == ("probability", "residual"):
            return math.exp(actual[d]) - mean_p(cut, d)
        return mean_p(cut, d) - mean_p(other, d)

    return [value(d) for d in range(keys)]


def inner(x, y, lens):
    """<X, Y>_B of two fields, each a list over queries of lists over offsets."""
    per_query = [[a * b for a, b in zip(u, v, strict=True)] for u, v in zip(x, y, strict=True)]
    return fmean((fmean if lens == "log" else sum)(row) for row in per_query)


def gram_by_loops(logits, which, anchor, window, lens, component):
    inputs, heads = logits.shape[:2]
    out = np.zeros((heads, inputs, inputs))
    for head in range(heads):
        found = []
        for n in range(inputs):
            s = logits[n, head].tolist()
            keys = [
                min(i + 1, window or 10**9, which.keys or 10**9)
                for i in range(which.first, which.stop)
            ]
            queries = range(which.first, which.stop)
            found.append(
                [
                    field_of_input(s, i, k, anchor, window, lens, component)
                    for i, k in zip(queries, keys, strict=True)
                ]
            )
        for n, m in np.ndindex(inputs, inputs):
            out[head, n, m] = inner(found[n], found[m], lens)
    return out


BINS = {b.name: b for b in (Bin("early", 1, 4), Bin("late", 4, 9), Bin("beyond", 5, 9, 5))}


STORED = [(lens, part) for lens in LENSES for part in ("mask", "residual", "row", "sink")]
STORED += [("probability", "pattern")]


@pytest.mark.parametrize(("lens", "component"), STORED)
@pytest.mark.parametrize("window", [None, 1, 3, 5, 12])
@pytest.mark.parametrize("name", ["early", "late"])
def test_grams_are_inner_products(name, window, component, lens):
    logits = logits_of(0)
    logits[..., 0] += 2
    for anchor in (8, 5):
        flat = grams.flat_fields(parts_of(logits, window), BINS[name], anchor)
        expected = gram_by_loops(logits, BINS[name], 8, window, lens, component)
        np.testing.assert_allclose(grams.gram(flat[lens, component]), expected, **EXACT)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("window", [None, 3, 12])
def test_the_mask_at_another_anchor(window, lens):
    logits = logits_of(0)
    flat = grams.flat_fields(parts_of(logits, window), BINS["early"], 5)
    expected = gram_by_loops(logits, BINS["early"], 5, window, lens, "mask")
    np.testing.assert_allclose(grams.gram(flat[lens, "anchored"]), expected, **EXACT)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("window", [None, 5, 3])
def test_beyond_is_renormalised_on_the_keys_of_the_window(window, lens):
    """Also in an arm whose own window is narrower, where the studied one hides nothing more."""
    logits = logits_of(1)
    logits[..., 0] += 8
    flat = grams.flat_fields(parts_of(logits, window), BINS["beyond"], 8)
    expected = gram_by_loops(logits, BINS["beyond"], 8, window, lens, "residual")
    np.testing.assert_allclose(grams.gram(flat[lens, "residual"]), expected, **EXACT)
    assert set(flat) == {("log", "residual"), ("log", "row"), ("probability", "residual")}
    row = gram_by_loops(logits, BINS["beyond"], 8, window, lens, "row")
    own = grams.gram(flat[lens, "row"]) if lens == "log" else np.zeros_like(row)
    np.testing.assert_allclose(own, row, **EXACT)


def test_beyond_does_not_see_position_0():
    logits = logits_of(2)
    without = grams.flat_fields(parts_of(logits), BINS["beyond"], 8)
    logits[..., 0] += 50
    with_sink = grams.flat_fields(parts_of(logits), BINS["beyond"], 8)
    for key, field in without.items():
        np.testing.assert_allclose(with_sink[key], field, **EXACT)


def test_beyond_is_the_same_measure_in_every_arm():
    logits = logits_of(3)
    full = grams.flat_fields(parts_of(logits), BINS["beyond"], 8)
    windowed = grams.flat_fields(parts_of(logits, 5), BINS["beyond"], 8)
    plain = grams.flat_fields(parts_of(logits, 5), Bin("late", 5, 9), 8)
    for lens in LENSES:
        np.testing.assert_allclose(full[lens, "residual"], windowed[lens, "residual"], **EXACT)
        np.testing.assert_allclose(
            grams.gram(plain[lens, "residual"]), grams.gram(windowed[lens, "residual"]), **EXACT
        )


# row, sink, rest


@given(st.integers(0, 2**32 - 1), st.floats(-5, 15))
def test_row_sink_and_rest_are_orthogonal_query_by_query(seed, sink_height):
    logits = logits_of(seed, inputs=2, heads=1, length=16)
    logits[..., 0] += sink_height
    parts = parts_of(logits)
    for residual in (parts.residual, parts.attention - parts.predicted):
        row, sink = row_and_sink(residual)
        i, d = np.indices((8, 8))
        row_field = torch.where(torch.as_tensor(d < i), row[..., None], 0.0)
        sink_field = torch.where(torch.as_tensor(d == i), sink[..., None], 0.0)
        rest = residual - row_field - sink_field
        for n, m in np.ndindex(2, 2):
            whole = (residual[n] * residual[m]).sum(-1)
            added = sum((f[n] * f[m]).sum(-1) for f in (row_field, sink_field, rest))
            np.testing.assert_allclose(added, whole, **EXACT)
            for one, other in ((row_field, sink_field), (row_field, rest), (sink_field, rest)):
                np.testing.assert_allclose((one[n] * other[m]).sum(-1), 0, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 1, 3, 5, 8, 12]))
@settings(max_examples=25)
def test_grams_of_row_sink_and_rest_add_up_whatever_a_window_hides(seed, window):
    """The rest's Gram is R's less those of row and sink, query by query, so in every bin."""
    logits = logits_of(seed, inputs=3, heads=1, length=14)
    for query in range(1, 7):
        alone = Bin("one", query, query + 1)
        flat = grams.flat_fields(parts_of(logits, window), alone, 6)
        for lens in LENSES:
            whole, row, sink = (
                grams.gram(flat[lens, name]).numpy() for name in ("residual", "row", "sink")
            )
            rest = gram_by_loops(logits, alone, 6, window, lens, "rest")
            np.testing.assert_allclose(whole - row - sink, rest, **EXACT)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("height", [-3.0, 2.0, 12.0])
def test_a_planted_sink_has_row_and_sink_in_closed_form_and_no_pattern(height, window):
    """docs/method.md, section 1, property 4: Toeplitz logits and a bias on column 0."""
    length, half = 20, 10
    f = torch.linspace(1.0, -2.0, length, dtype=torch.float64).cos()
    i, j = np.indices((length, length))
    logits = f[torch.as_tensor((i - j).clip(0))].repeat(4, 1, 1, 1)
    logits[..., 0] += height
    for which in (Bin("early", 1, 5), Bin("late", 5, half)):
        flat = grams.flat_fields(parts_of(logits, window), which, half - 1)
        energies = {key: statistics.energy(grams.gram(x).numpy()) for key, x in flat.items()}
        expected = {key: [] for key in energies}
        for query in range(which.first, which.stop):
            keys = min(query + 1, window or half)
            sees, ordinary = keys == query + 1, min(query, keys)
            toeplitz = f[:keys].softmax(0)
            c = float(torch.log1p(toeplitz[query] * np.expm1(height))) if sees else 0.0
            a = toeplitz * np.exp(-c)
            if sees:
                a[query] = toeplitz[query] * np.exp(height - c)
            moved = a - toeplitz
            row = float(moved[:ordinary].mean())
            expected["log", "row"].append(ordinary * c**2 / keys)
            expected["log", "sink"].append((height - c) ** 2 / keys if sees else 0.0)
            expected["probability", "row"].append(ordinary * row**2)
            expected["probability", "sink"].append(float(moved[query]) ** 2 if sees else 0.0)
        for key in [(lens, part) for lens in LENSES for part in ("row", "sink")]:
            np.testing.assert_allclose(energies[key], fmean(expected[key]), **EXACT)
        rest = energies["log", "residual"] - energies["log", "row"] - energies["log", "sink"]
        np.testing.assert_allclose(rest, 0, atol=1e-10)
        np.testing.assert_allclose(energies["probability", "pattern"], 0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(-40, 40), st.sampled_from([None, 4]))
@settings(max_examples=25)
def test_the_pattern_is_free_of_any_bias_on_position_0(seed, height, window):
    logits = logits_of(seed, inputs=2, heads=1, length=14)
    before = pattern(parts_of(logits, window))
    logits[..., 0] += height
    np.testing.assert_allclose(pattern(parts_of(logits, window)), before, rtol=0, atol=1e-10)


# bins


def test_bins_of_a_study():
    assert grams.bins(64, 32, []) == [Bin("early", 1, 32), Bin("late", 32, 64)]
    assert grams.bins(64, 32, [32, 32])[2:] == [Bin("beyond-32", 32, 64, 32)]
    several = [Bin("beyond-8", 8, 64, 8), Bin("beyond-16", 16, 64, 16)]
    assert grams.bins(64, 32, [16, 8])[2:] == several


def test_bins_without_queries_are_left_out():
    assert [b.name for b in grams.bins(16, 32, [16, 100])] == ["early"]


@pytest.mark.parametrize("half", [2, 4, 7, 16, 64, 500])
def test_profile_bins_tile_the_queries(half):
    found = grams.profile_bins(half)
    queries = [i for b in found for i in range(b.first, b.stop)]
    assert queries == list(range(1, half))
    assert len({b.name for b in found}) == len(found)
    assert found[0].name == "1-1"
    # An early bin of any power of two is made of whole narrow bins.
    powers = {2**k for k in range(1, 10) if 2**k < half}
    assert powers <= {b.first for b in found}


# rows and pack


@pytest.mark.parametrize("documents", [[0, 1, 2, 3, 4], [0, 1, 1, 2, 0]])
def test_row_sums_leave_out_the_own_document(documents):
    gram = grams.gram(torch.randn(2, 5, 7, dtype=torch.float64))
    others = torch.tensor(documents)[:, None] != torch.tensor(documents)
    found = grams.with_others(gram, others)
    for n in range(5):
        wanted = sum(gram[:, n, m] for m in range(5) if documents[m] != documents[n])
        np.testing.assert_allclose(found[:, n], wanted, **EXACT)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_pack_has_the_order_that_statistics_unpacks(number):
    x = torch.randn(2, 3, number, 4)
    gram = grams.gram(x)
    packed = grams.pack(gram)
    np.testing.assert_array_equal(packed, pack(gram.numpy()))
    np.testing.assert_array_equal(unpack(packed.numpy())[..., *np.triu_indices(number)], packed)


def test_gram_of_two_arms():
    x, y = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    np.testing.assert_allclose(
        grams.gram(x, y), np.einsum("hnk,hmk->hnm", x.numpy(), y.numpy()), rtol=1e-5, atol=1e-6
    )


# nulls: logits of pure noise, whose field is zero


def noise_grams(seed, sink=0.0, inputs=64, heads=8, length=32):
    logits = logits_of(seed, inputs, heads, length)
    logits[..., 0] += sink
    flat = grams.flat_fields(parts_of(logits), Bin("early", 1, 8), 15)
    return {key: grams.gram(x).numpy() for key, x in flat.items()}


@pytest.mark.parametrize(("lens", "component"), [key for key in STORED if key[1] != "mask"])
def test_pure_noise_has_mean_energy_zero(lens, component):
    gram = noise_grams(11)[lens, component]
    energies = statistics.energy(gram)
    assert abs(energies.mean()) < 3 * energies.std(ddof=1) / math.sqrt(len(energies))
    assert gram.mean() > 3 * abs(energies.mean()), "a squared mean would be biased upward"
    p = sign_flip_p(gram, flips=1000)
    assert (statistics.holm(p) > 0.05).all()
    found = statistics.paired(gram)
    assert ((found.low < 0) & (found.high > 0)).mean() >= 0.75


@pytest.mark.parametrize("lens", LENSES)
def test_a_planted_sink_is_no_noise(lens):
    gram = noise_grams(11, sink=1.0)[lens, "residual"]
    assert (sign_flip_p(gram, flips=1000) < 0.05).all()
    assert (statistics.energy(gram) > 0).all()


def test_noise_in_the_mask_is_not_taken_for_zero():
    """The control of the control: what is there by construction is found in the same noise."""
    gram = noise_grams(11)["log", "mask"]
    assert (statistics.paired(gram).low > 0).all()
