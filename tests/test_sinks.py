"""Which heads an exchange acts on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from abspos.arrays import save_dataset
from abspos.sinks import SINK_THRESHOLD, choose, heads_of

shares = arrays(
    np.float64, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=st.floats(0, 1)
)


@given(shares)
def test_readers_and_others_are_all_heads_and_never_the_same(share):
    readers, others = (choose(share, which) for which in ("readers", "others"))
    assert (readers ^ others).all()
    assert (share[readers] > SINK_THRESHOLD).all()
    assert (share[others] <= SINK_THRESHOLD).all()


@given(shares)
def test_a_third_of_each_layer_attends_most_and_a_third_least(share):
    top, bottom = (choose(share, which) for which in ("top", "bottom"))
    third = max(1, round(share.shape[1] / 3))
    assert (top.sum(1) == third).all()
    assert (bottom.sum(1) == third).all()
    for own, most, least in zip(share, top, bottom, strict=True):
        assert own[most].min() >= own[~most].max(initial=0)
        assert own[least].max() <= own[~least].min(initial=1)


@given(shares)
def test_thirds_of_the_depth_are_all_layers_once(share):
    thirds = [choose(share, which) for which in ("lower", "middle", "upper")]
    assert (np.sum(thirds, axis=0) == 1).all()
    sizes = [third.all(1).sum() for third in thirds]
    assert max(sizes) - min(sizes) <= 1
    first = [np.flatnonzero(third.all(1)) for third in thirds]
    assert np.concatenate(first).tolist() == list(range(len(share)))
    assert choose(share, "all").all()


def test_heads_are_chosen_on_documents_that_are_not_measured(tmp_path):
    documents = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    measured = np.array([1, 3])  # and with them 7 and 9, of the same documents
    attention = np.full((1, 2, 12), 0.1, dtype=np.float32)
    attention[0, 0] = 0.9
    attention[0, :, [1, 3, 7, 9]] = [[0, 1.0]] * 4  # what these show must not be seen
    store = xr.Dataset(
        {
            "a_1_64": (("layer", "head", "input"), attention),
            "document": ("input", documents),
        }
    )
    stored = (tmp_path / "bos.zarr", tmp_path / "bos.json")
    save_dataset(store, *stored)
    assert heads_of("readers", *stored, measured).tolist() == [[True, False]]
    with pytest.raises(ValueError, match=r"choosing heads \(top\): 0 documents"):
        heads_of("top", *stored, np.arange(6))
