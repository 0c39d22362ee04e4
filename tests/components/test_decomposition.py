"""The five properties of docs/method.md, section 1, and a decomposition written with loops."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from abspos.components.decomposition import (
    backwards_by_offset,
    by_offset,
    decompose,
    split,
    truncate,
    truncated_attention,
    visible,
)
from abspos.components.labelled import as_tensor
from abspos.components.residual_parts import row_and_sink

EXACT = {"rtol": 1e-9, "atol": 1e-9}
SINGLE = {"rtol": 1e-4, "atol": 1e-4}


@st.composite
def cases(draw, kinds=("normal", "wide", "extreme")):
    """Random logits (input, head, query, key), any length from 4, and a window or none."""
    length = draw(st.integers(4, 15))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 2)), length, length)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(kinds))
    logits = {
        "normal": lambda: rng.normal(size=shape),
        "wide": lambda: 30 * rng.standard_t(2, size=shape).clip(-50, 50),
        "extreme": lambda: rng.choice([-1e4, 0.0, 1.0, 1e4], size=shape),
    }[kind]()
    return logits, draw(st.none() | st.integers(1, length + 2))


lengths = st.integers(4, 41)
seeds = st.integers(0, 2**32 - 1)


def log_sum(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def by_loops(s, window):
    """One head of one input, from the definitions: (mask, relative, residual, a, p)."""
    length = len(s)
    half = length // 2
    keys = [min(i + 1, window or length) for i in range(half)]

    def log_p(query, k):
        row = [s[query][query - d] for d in range(k)]
        return [value - log_sum(row) for value in row]

    actual = [log_p(i, k) for i, k in enumerate(keys)]
    cut = [[log_p(q, k) for q in range(half, length)] for k in keys]
    m = [[fmean(row[d] for row in cut[i]) for d in range(k)] for i, k in enumerate(keys)]
    p = [[fmean(math.exp(row[d]) for row in cut[i]) for d in range(k)] for i, k in enumerate(keys)]
    mask = [m[i][0] - m[-1][0] for i in range(half)]
    residual = [[g - e for g, e in zip(actual[i], m[i], strict=True)] for i in range(half)]
    return mask, m[-1], residual, [[math.exp(g) for g in row] for row in actual], p


def padded(rows, half):
    """Ragged rows as an array with NaN where a row has ended."""
    return np.array([[*row, *[math.nan] * (half - len(row))] for row in rows])


def of(dataset, name):
    return dataset[name].values


def log_attention(s, window):
    """log a[i, i-d] (input, head, query, offset) of early queries, NaN where not visible."""
    half = s.shape[-1] // 2
    out = np.full((*s.shape[:2], half, half), np.nan)
    for i in range(half):
        keys = min(i + 1, window or half)
        row = s[..., i, i + 1 - keys : i + 1][..., ::-1]
        row = row - row.max(-1, keepdims=True)
        out[..., i, :keys] = row - np.log(np.exp(row).sum(-1, keepdims=True))
    return out


def toeplitz(f):
    """Logits s[i, j] = f[i - j], one input and head; 0 after the query."""
    length = len(f)
    i, j = np.indices((length, length))
    return np.where(i >= j, f[np.abs(i - j)], 0.0)[None, None]


def log_z(f, keys):
    return np.array([log_sum(f[: int(k)]) for k in keys])


# against loops


@given(cases())
def test_decompose_is_what_the_definitions_say(case):
    logits, window = case
    half = logits.shape[-1] // 2
    found = decompose(logits, window)
    names = ("mask", "relative", "residual", "attention", "predicted")
    for n, h in np.ndindex(logits.shape[:2]):
        mask, relative, residual, a, p = by_loops(logits[n, h].tolist(), window)
        fields = (padded(x, half) for x in (residual, a, p))
        expected = (np.array(mask), padded([relative], half)[0], *fields)
        for name, value in zip(names, expected, strict=True):
            np.testing.assert_allclose(of(found, name)[n, h], value, err_msg=name, **EXACT)


# property 1: identity


@given(cases())
def test_identity(case):
    logits, window = case
    d = decompose(logits, window)
    total = d["relative"] + d["mask"] + d["residual"]
    total = total.transpose("input", "head", "query", "offset").values
    np.testing.assert_allclose(total, log_attention(logits, window), **EXACT)
    np.testing.assert_allclose(np.exp(total), of(d, "attention"), **EXACT)


@pytest.mark.parametrize("window", [None, 32])
@pytest.mark.parametrize("length", [127, 128, 192])
def test_float32_at_sizes_as_used(length, window):
    rng = np.random.default_rng(length)
    logits = 3 * rng.normal(size=(2, 3, length, length))
    logits[..., 0] += 9  # a sink
    single = decompose(logits.astype(np.float32), window)
    double = decompose(logits.astype(np.float32).astype(np.float64), window)
    for name in double.data_vars:
        assert single[name].dtype == np.float32
        assert double[name].dtype == np.float64
        np.testing.assert_allclose(of(single, name), of(double, name), err_msg=name, **SINGLE)
    total = (single["relative"] + single["mask"] + single["residual"]).transpose(
        "input", "head", "query", "offset"
    )
    np.testing.assert_allclose(total.values, log_attention(logits, window), **SINGLE)


# property 2: gauge


@given(cases(), seeds)
def test_gauge(case, seed):
    logits, window = case
    rows = np.random.default_rng(seed).uniform(-1e3, 1e3, size=(*logits.shape[:3], 1))
    # 1e-9 of what is added is what float64 leaves of a difference.
    scale = max(1.0, np.abs(logits).max())
    before, after = decompose(logits, window), decompose(logits + rows, window)
    for name in before.data_vars:
        np.testing.assert_allclose(
            of(after, name), of(before, name), rtol=1e-9, atol=1e-9 * scale, err_msg=name
        )


def test_gauge_in_float32():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 2, 128, 128)).astype(np.float32)
    rows = rng.uniform(-10, 10, size=(2, 2, 128, 1)).astype(np.float32)
    before, after = decompose(logits), decompose(logits + rows)
    for name in before.data_vars:
        np.testing.assert_allclose(of(after, name), of(before, name), err_msg=name, **SINGLE)


# property 3: Toeplitz


@given(lengths, seeds, st.none() | st.integers(1, 45))
def test_toeplitz_logits_leave_no_residual(length, seed, window):
    f = np.random.default_rng(seed).normal(scale=3, size=length)
    half = length // 2
    found = decompose(toeplitz(f), window)
    keys = np.minimum(np.arange(half) + 1, window or length)
    z = log_z(f, keys)
    np.testing.assert_allclose(np.nan_to_num(of(found, "residual")), 0, atol=1e-9)
    np.testing.assert_allclose(of(found, "mask")[0, 0], z[-1] - z, **EXACT)
    np.testing.assert_allclose(
        np.nan_to_num(of(found, "attention")), np.nan_to_num(of(found, "predicted")), atol=1e-9
    )


@given(lengths)
def test_equal_logits_count_keys(length):
    half = length // 2
    found = decompose(np.full((1, 1, length, length), 3.0))
    np.testing.assert_allclose(
        of(found, "mask")[0, 0], np.log(half / (np.arange(half) + 1)), **EXACT
    )


def test_toeplitz_in_float32():
    f = np.random.default_rng(1).normal(scale=2, size=128)
    found = decompose(toeplitz(f).astype(np.float32))
    z = log_z(f, np.arange(64) + 1)
    np.testing.assert_allclose(np.nan_to_num(of(found, "residual")), 0, atol=1e-4)
    np.testing.assert_allclose(of(found, "mask")[0, 0], z[-1] - z, **SINGLE)


# property 4: planted sink


def planted(f, b):
    """Logits, and c_i = log(1 + exp(f(i) - log Z_i) (exp b - 1)) in a form that never cancels."""
    s = toeplitz(f)
    s[..., 0] += b
    half = len(f) // 2
    z = log_z(f, np.arange(half) + 1)
    others = np.append(-np.inf, z[:-1])
    return s, np.logaddexp(others, f[:half] + b) - z


def test_planted_closed_form():
    f = np.random.default_rng(5).normal(size=20)
    _, c = planted(f, 1.5)
    z = log_z(f, np.arange(10) + 1)
    np.testing.assert_allclose(c, np.log(1 + np.exp(f[:10] - z) * (np.exp(1.5) - 1)), **EXACT)


@given(lengths, seeds, st.floats(-20, 20))
def test_planted_sink(length, seed, b):
    f = np.random.default_rng(seed).normal(size=length)
    s, c = planted(f, b)
    residual = of(decompose(s), "residual")[0, 0]
    for i, row in enumerate(residual):
        np.testing.assert_allclose(row[i], b - c[i], **EXACT)
        np.testing.assert_allclose(row[:i], -c[i], **EXACT)


def test_planted_sink_in_float32():
    f = np.random.default_rng(2).normal(size=128)
    s, c = planted(f, 6.0)
    residual = of(decompose(s.astype(np.float32)), "residual")[0, 0]
    np.testing.assert_allclose(np.diagonal(residual), 6 - c, **SINGLE)
    np.testing.assert_allclose(residual[1:, 0], -c[1:], **SINGLE)


@given(lengths, seeds, st.floats(-20, 20))
def test_sink_row_and_rest_of_a_planted_sink(length, seed, b):
    f = np.random.default_rng(seed).normal(size=length)
    s, c = planted(f, b)
    residual = torch.as_tensor(np.nan_to_num(of(decompose(s), "residual")))
    row, sink = row_and_sink(residual)
    np.testing.assert_allclose(sink[0, 0], b - c, **EXACT)
    np.testing.assert_allclose(row[0, 0, 1:], -c[1:], **EXACT)
    assert row[0, 0, 0] == 0


# property 5: window


@given(cases())
def test_mask_ends_at_the_window(case):
    logits, window = case
    mask = of(decompose(logits, window), "mask")
    first = (window or logits.shape[-1]) - 1
    assert (mask[..., first:] == 0).all()


@given(cases(("normal", "wide")))
def test_mask_is_positive_and_falls(case):
    logits, window = case
    mask = of(decompose(logits, window), "mask")
    assert (mask >= -1e-12).all()
    assert (np.diff(mask) <= 1e-12).all()


def test_mask_falls_to_zero_at_the_anchor():
    parts = split(*(torch.randn(2, 1, 8, 8, dtype=torch.float64) for _ in range(2)), None)
    for anchor in range(8):
        assert (parts.mask(anchor)[..., anchor] == 0).all()
    np.testing.assert_array_equal(parts.mask(), parts.mask(7))


# what is seen, what is not


@given(cases())
def test_nan_exactly_where_nothing_is_visible(case):
    logits, window = case
    found = decompose(logits, window)
    half = logits.shape[-1] // 2
    hidden = np.array([[d >= min(i + 1, window or half) for d in range(half)] for i in range(half)])
    for name in ("residual", "attention", "predicted"):
        np.testing.assert_array_equal(
            np.isnan(of(found, name)), np.broadcast_to(hidden, found[name].shape)
        )
    assert not np.isnan(of(found, "mask")).any()
    np.testing.assert_array_equal(
        np.isnan(of(found, "relative")), np.broadcast_to(hidden[-1], found["relative"].shape)
    )
    np.testing.assert_array_equal(~visible(half, window).numpy(), hidden)


@given(cases())
def test_probabilities_add_up(case):
    logits, window = case
    found = decompose(logits, window)
    for name in ("attention", "predicted"):
        np.testing.assert_allclose(found[name].sum("offset").values, 1, **EXACT)


@given(cases(("normal",)))
def test_keys_after_the_query_are_ignored(case):
    logits, window = case
    other = np.where(np.tri(logits.shape[-1], dtype=bool), logits, np.nan)
    xr.testing.assert_identical(decompose(other, window), decompose(logits, window))


# extremes: both ways to a truncated softmax


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(st.floats(-1e4, 1e4) | st.floats(40, 110), seeds)
def test_truncated_attention_whatever_the_far_key_weighs(dtype, height, seed):
    reference = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    reference[:3, -1] += height  # only the last query has this key
    z = reference.logcumsumexp(-1)
    found = truncated_attention(reference, z).double()
    exact = reference.double()
    for i in range(9):
        expected = exact[:, : i + 1].softmax(-1).mean(0)
        np.testing.assert_allclose(found[i, : i + 1], expected, rtol=1e-2, atol=1e-5)
        if dtype == torch.float64:
            np.testing.assert_allclose(found[i, : i + 1], expected, **EXACT)


def test_both_ways_to_a_truncated_softmax_agree(monkeypatch):
    reference = 3 * torch.randn(2, 7, 12, dtype=torch.float64)
    z = reference.logcumsumexp(-1)
    product = truncated_attention(reference, z)
    monkeypatch.setattr(torch, "finfo", lambda dtype: type("Info", (), {"max": 0.0}))
    one_by_one = truncated_attention(reference, z)
    seen = visible(12, None)
    np.testing.assert_allclose(one_by_one[:, seen], product[:, seen], rtol=1e-12)
    assert not torch.equal(one_by_one, product), "the other way was not taken"


def test_fields_are_zero_where_nothing_is_visible_however_far_apart_logits_lie():
    """What overflows there must not reach a Gram matrix, which sums over all offsets."""
    rng = np.random.default_rng(3)
    s = torch.as_tensor(rng.choice([-1e4, 0, 1e4], size=(2, 24, 24)).astype(np.float32))
    parts = split(by_offset(s[:, :12, :12], 0, 12), by_offset(s[:, 12:], 12, 12), None)
    for name in ("residual", "attention", "predicted"):
        assert (getattr(parts, name)[:, ~parts.valid] == 0).all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_inputs_numbers_do_not_depend_on_what_stands_beside_it(dtype):
    """Near and far logits in one block take different ways; each as if it were alone."""
    rng = np.random.default_rng(5)
    s = rng.normal(size=(6, 2, 24, 24)) * np.array([1, 30, 1, 400, 3, 4000])[:, None, None, None]
    s = torch.as_tensor(s).to(dtype)

    def parts(x):
        return split(by_offset(x[..., :12, :12], 0, 12), by_offset(x[..., 12:, :], 12, 12), None)

    together = parts(s)
    for number in range(len(s)):
        alone = parts(s[number : number + 1])
        for name in ("denominator", "residual", "predicted"):
            found, wanted = getattr(together, name)[number], getattr(alone, name)[0]
            assert torch.equal(found, wanted), (number, name)


def test_extreme_logits_stay_finite_in_float32():
    rng = np.random.default_rng(3)
    logits = rng.choice([-1e4, 0, 1e4], size=(2, 2, 24, 24)).astype(np.float32)
    for window in (None, 5):
        found = decompose(logits, window)
        seen = visible(12, window).numpy()
        for name in ("residual", "attention", "predicted"):
            assert np.isfinite(of(found, name)[..., seen]).all()
        exact = decompose(logits.astype(np.float64), window)
        for name in ("attention", "predicted"):
            np.testing.assert_allclose(of(found, name), of(exact, name), **SINGLE)


# forms of the logits


def test_every_form_of_logits_gives_the_same():
    values = np.random.default_rng(4).normal(size=(3, 2, 10, 10))
    expected = decompose(values, 4)
    array = xr.DataArray(values, dims=("input", "head", "query", "key"))
    for logits in (
        torch.as_tensor(values),
        array,
        array.transpose("key", "query", "head", "input"),
    ):
        xr.testing.assert_identical(decompose(logits, 4), expected)
    with_gradient = torch.as_tensor(values).requires_grad_()
    xr.testing.assert_identical(decompose(with_gradient, 4), expected)


def test_dataset_has_the_names_that_are_held_fixed():
    found = decompose(np.zeros((3, 2, 11, 11)))
    field = ("input", "head", "query", "offset")
    assert {name: found[name].dims for name in found.data_vars} == {
        "relative": ("input", "head", "offset"),
        "mask": ("input", "head", "query"),
        "residual": field,
        "attention": field,
        "predicted": field,
    }
    assert dict(found.sizes) == {"input": 3, "head": 2, "query": 5, "offset": 5}
    np.testing.assert_array_equal(found["query"], range(5))
    np.testing.assert_array_equal(found["offset"], range(5))


def test_other_dtypes_become_float32():
    for dtype in (torch.bfloat16, torch.float16, torch.int64):
        assert as_tensor(torch.zeros(1, 1, 4, 4, dtype=dtype)).dtype == torch.float32
    assert as_tensor(np.zeros((1, 1, 4, 4))).dtype == torch.float64


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 1, 4, 5), (1, 1, 3, 3), (1, 1, 1, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="allowed is \\(input, head, query, key\\)"):
        decompose(np.zeros(shape))


@pytest.mark.parametrize("window", [0, -1])
def test_window_below_one_is_refused(window):
    with pytest.raises(ValueError, match=f"window: value {window}"):
        decompose(np.zeros((1, 1, 8, 8)), window)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits = np.zeros((2, 1, 8, 8))
    logits[1, 0, 6, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        decompose(logits)


@given(cases(("normal",)))
def test_parts_hold_zero_where_nothing_is_visible(case):
    logits, window = case
    half = logits.shape[-1] // 2
    s = torch.as_tensor(logits)
    early, reference = (
        by_offset(s[..., :half, :half], 0, half),
        by_offset(s[..., half:, :], half, half),
    )
    parts = split(early, reference, window)
    hidden = ~visible(half, window)
    for field in (parts.residual, parts.attention, parts.predicted):
        assert (field[..., hidden] == 0).all()
    assert (parts.relative[..., hidden[-1]] == 0).all()


@pytest.mark.parametrize("spread", [1.0, 30.0, 5e3])
def test_denominators_are_the_cumulative_log_sum_exp(spread) -> None:
    """Both ways of computing them, the second where the nearest keys vanish beside the largest."""
    logits = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 8, 6))) * spread
    logits[..., 0] -= spread
    found = truncate(logits, None, torch.arange(6)).denominator
    expected = logits.logcumsumexp(-1).mean(-2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [None, 5])
def test_some_queries_have_what_all_queries_have(window):
    early, reference = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    chosen = torch.tensor([0, 1, 4, 5, 9, 11])
    whole = split(early, reference, window)
    some = split(early[:, chosen], reference, window, chosen)
    for name in ("residual", "attention", "predicted"):
        torch.testing.assert_close(getattr(some, name), getattr(whole, name)[:, chosen])
    torch.testing.assert_close(some.mask(4), whole.mask(4)[:, chosen])
    torch.testing.assert_close(some.denominator, whole.denominator)
    assert [some.place(i) for i in chosen.tolist()] == list(range(6))
    torch.testing.assert_close(
        some.at_first(some.attention), whole.attention.diagonal(dim1=-2, dim2=-1)[:, chosen]
    )


@pytest.mark.parametrize("step", [1, 2, 3])
def test_views_of_backward_rows_are_logits_by_offset(step):
    logits = torch.randn(2, 3, 20, 20)
    queries = range(11, 20, step)
    found = backwards_by_offset(logits[:, :, 11::step].flip(-1), 11, 10, step)
    for row, query in enumerate(queries):
        for d in range(10):
            torch.testing.assert_close(found[..., row, d], logits[..., query, query - d])
