"""Which heads an exchange acts on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from abspos.arrays import save_dataset
from abspos.documents import holdout
from abspos.sinks import SINK_THRESHOLD, choose, heads_of

shares = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(0, 1)
)


@given(shares, st.integers(0, 5))
def test_readers_and_matched_heads_are_as_many_in_each_layer_and_never_the_same(share, seed):
    readers, matched = (choose(share, which, seed) for which in ("readers", "matched"))
    assert (readers.sum(1) == matched.sum(1)).all()
    assert not (readers & matched).any()
    assert (share[readers] > SINK_THRESHOLD).all()
    assert (share[matched] <= SINK_THRESHOLD).all()
    reads = (share > SINK_THRESHOLD).sum(1)
    assert (readers.sum(1) == np.minimum(reads, share.shape[1] - reads)).all()


def test_the_strongest_readers_come_first():
    share = np.array([[0.4, 0.9, 0.5, 0.1, 0.2]])
    assert choose(share, "readers", 0).tolist() == [[False, True, True, False, False]]
    assert choose(share, "all", 0).all()


def test_heads_are_chosen_on_one_half_of_the_documents(tmp_path):
    documents = np.arange(12)
    selecting, measuring = holdout(12, 3, documents)
    attention = np.zeros((1, 2, 12), dtype=np.float32)
    attention[0, 0, selecting] = 0.9
    attention[0, 1, measuring] = 0.9  # what the other half shows must not be seen
    store = xr.Dataset({"a_1_64": (("layer", "head", "input"), attention)})
    save_dataset(store, tmp_path / "bos.zarr", tmp_path / "bos.json")
    found = heads_of("readers", tmp_path / "bos.zarr", tmp_path / "bos.json", documents, 3)
    assert found.tolist() == [[True, False]]


@pytest.mark.parametrize("which", ["readers", "matched", "all"])
def test_the_draw_follows_the_seed(which):
    share = np.random.default_rng(0).random((6, 12))
    np.testing.assert_array_equal(choose(share, which, 1), choose(share, which, 1))
