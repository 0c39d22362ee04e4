"""What decompose takes from outside, and what its dataset says of itself."""

import warnings

import numpy as np
import pytest
import xarray as xr

from abspos.components import decompose
from abspos.components.labelled import FIELDS


def softmaxed(dtype=np.float64, length=12) -> np.ndarray:
    logits = np.random.default_rng(0).normal(size=(3, 2, length, length))
    weights = np.exp(logits) * np.tril(np.ones((length, length)))
    return (weights / weights.sum(-1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_attention_weights_in_place_of_logits_are_noticed(dtype):
    with pytest.warns(UserWarning, match="every row sums to 1, as after a softmax"):
        decompose(softmaxed(dtype))


@pytest.mark.parametrize(
    "logits",
    [
        np.log(softmaxed() + 1e-9),
        2 * softmaxed(),
        np.zeros((3, 2, 12, 12)),
        np.random.default_rng(0).normal(size=(3, 2, 12, 12)),
    ],
    ids=["log attention", "twice", "zeros", "normal"],
)
def test_logits_are_no_attention_weights(logits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decompose(logits)


@pytest.mark.parametrize("window", [None, 3])
def test_minus_infinity_where_nothing_is_seen_changes_nothing(window):
    logits = np.random.default_rng(1).normal(size=(3, 2, 12, 12))
    hidden = ~np.tril(np.ones((12, 12), bool))
    if window:
        hidden |= np.tril(np.ones((12, 12), bool), -window)
    expected = decompose(logits, window)
    found = decompose(np.where(hidden, -np.inf, logits), window)
    xr.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("window", "stated"), [(None, 11), (4, 4)])
def test_the_dataset_says_what_it_holds(window, stated):
    found = decompose(np.zeros((3, 2, 11, 11)), window)
    assert found.attrs == {"T": 11, "window": stated, "anchor": 4}
    assert {name: found[name].attrs["lens"] for name in found} == {
        name: lens for name, (_, lens, _) in FIELDS.items()
    }
    assert found["residual"].attrs["units"] == "nats"
    assert found["attention"].attrs["units"] == "1"
    assert found["offset"].attrs["units"] == "positions"
    assert set(found.coords) == {"input", "head", "query", "offset"}
    assert all(found[name].attrs["long_name"] for name in (*found, *found.coords))


def test_labels_of_inputs_and_heads_are_kept():
    logits = xr.DataArray(
        np.zeros((2, 3, 8, 8)),
        dims=("input", "head", "query", "key"),
        coords={"input": ["x", "y"], "head": [4, 5, 7], "text": ("input", ["a", "b"]), "layer": 9},
    )
    found = decompose(logits)
    assert found["input"].values.tolist() == ["x", "y"]
    assert found["head"].values.tolist() == [4, 5, 7]
    assert found["text"].values.tolist() == ["a", "b"]
    assert found["layer"] == 9


def test_the_dataset_can_be_written_as_it_is(tmp_path):
    found = decompose(np.random.default_rng(0).normal(size=(3, 2, 8, 8)), 3)
    found.to_netcdf(tmp_path / "x.nc", engine="scipy")
    xr.testing.assert_equal(xr.load_dataset(tmp_path / "x.nc", engine="scipy"), found)
