"""A block of heads in bands of queries is what it is in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abspos.components.blocks import block_bands, block_parts, early_by_offset, steps
from abspos.components.decomposition import by_offset
from abspos.logits import rebuilt_logits
from abspos.study import grid

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def q_and_k(seed, length, inputs=2, heads=4, kv_heads=2, size=6):
    made = torch.Generator().manual_seed(seed)
    shape = (inputs, heads, length, size)
    q = torch.randn(shape, generator=made, dtype=torch.float64)
    return q, torch.randn(inputs, kv_heads, length, size, generator=made, dtype=torch.float64)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(70, 140),
    st.none() | st.integers(1, 150),
    st.sampled_from([1.0, 40.0]),
    st.sets(st.integers(0, 69), max_size=3),
)
def test_bands_are_the_whole_cut_to_pieces(seed, length, window, scale, left_out):
    """Near and far logits, windows, and queries that are not evenly spaced."""
    q, k = q_and_k(seed, length)
    half = length // 2
    queries = [i for i in range(half) if i not in left_out or i == half - 1]
    bands = grid.bands(queries)
    chosen = torch.tensor(queries)
    found, to_first = block_bands(q, k, scale, window, None, chosen, bands)
    whole, wanted = block_parts(q, k, scale, window, None, chosen)
    np.testing.assert_allclose(to_first, wanted, **EXACT)
    assert len(found) == len(bands)
    for parts, band in zip(found, bands, strict=True):
        offsets = parts.valid.shape[1]
        assert offsets == queries[band][-1] + 1
        assert not whole.valid[band, offsets:].any(), "nothing that is seen is cut away"
        for name in ("residual", "attention", "predicted"):
            own, other = getattr(parts, name), getattr(whole, name)[:, :, band, :offsets]
            np.testing.assert_allclose(own, other, err_msg=name, **EXACT)
        for name in ("relative", "denominator"):
            np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), **EXACT)
        np.testing.assert_allclose(parts.mask(5), whole.mask(5)[..., band], **EXACT)
        assert parts.keys.tolist() == parts.valid.sum(-1).tolist()


@pytest.mark.parametrize("window", [None, 5, 16, 17, 20, 31, 32, 40])
@pytest.mark.parametrize("length", [32, 33])
@pytest.mark.parametrize("scale", [0.4, 60.0])
def test_attention_to_position_0_is_that_of_the_whole_row(length, window, scale):
    """Also of late queries, whose row is put together from its near and its far keys."""
    q, k = q_and_k(1, length)
    k[:, :, 0] *= 3
    logits = rebuilt_logits(q, k, scale)
    key, query = torch.arange(length), torch.arange(length)[:, None]
    seen = (key <= query) & (key > query - (window or length))
    wanted = logits.masked_fill(~seen, -torch.inf).softmax(-1)[..., 0]
    _, found = block_parts(q, k, scale, window)
    np.testing.assert_allclose(found, wanted, **EXACT)


@pytest.mark.parametrize("queries", [[0], [3], [0, 1, 2], [2, 5, 8], [1, 2, 4], [0, 7]])
def test_early_logits_by_offset(queries):
    logits = torch.randn(2, 12, 12)
    last = queries[-1]
    rows = logits[:, queries][..., : last + 1].flip(-1)
    found = early_by_offset(rows, queries)
    wanted = by_offset(logits[:, : last + 1, : last + 1], 0, last + 1)
    for place, i in enumerate(queries):
        np.testing.assert_array_equal(found[:, place, : i + 1], wanted[:, i, : i + 1])


def test_steps_are_a_slice_where_they_are_even():
    assert steps([4, 7, 10]) == slice(4, 11, 3)
    assert steps([5]) == slice(5, 6, 1)
    assert steps([4, 7, 11]) == [4, 7, 11]
    assert steps([5, 6]) == slice(5, 7, 1)
