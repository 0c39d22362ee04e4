"""Energies of arrays: closed forms, the same numbers as a study's tables, and what is refused."""

import numpy as np
import pytest
import torch
import xarray as xr

import abspos
from abspos.arrays import from_bits, open_dataset
from abspos.statistics.arm_tables import ArmTables

NUMBERS = ("energy", "ci_low", "ci_high", "p_value", "influence")


def noisy(inputs=6, heads=2, length=24, seed=0, noise=0.3) -> np.ndarray:
    """Logits (input, head, query, key) with a common part that depends on the position."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(heads, length, length))
    return common + noise * rng.normal(size=(inputs, heads, length, length))


def queries_and_keys(length=24, heads=4, kv_heads=2, inputs=5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(3)
    return (
        rng.normal(size=(inputs, heads, length, 8)),
        rng.normal(size=(inputs, kv_heads, length, 8)),
    )


def test_equal_logits_have_the_closed_form_and_no_residual():
    found = abspos.energies(np.zeros((4, 2, 16, 16)), early=5)
    mask = np.log(8 / (np.arange(8) + 1))
    for which, queries in (("early", slice(1, 5)), ("late", slice(5, 8))):
        own = found.sel(bin=which, lens="log")
        np.testing.assert_allclose(own["energy"].sel(component="mask"), (mask[queries] ** 2).mean())
        np.testing.assert_allclose(own["energy"].sel(component="residual"), 0, atol=1e-12)
        np.testing.assert_allclose(own["ci_low"], own["ci_high"], atol=1e-12)


def test_a_planted_sink_has_the_closed_form():
    """R_i(i) = b - c_i at position 0 and -c_i before it; docs/method.md, section 1."""
    b, half = 2.0, 8
    logits = np.zeros((4, 1, 16, 16))
    logits[..., 0] = b
    c = np.log1p((np.exp(b) - 1) / (np.arange(half) + 1))
    i = np.arange(1, half)
    energy = abspos.energies(logits, early=half).sel(bin="early", lens="log")["energy"]
    wanted = {
        "row": (i * c[i] ** 2 / (i + 1)).mean(),
        "sink": ((b - c[i]) ** 2 / (i + 1)).mean(),
        "rest": 0,
    }
    for name, value in (*wanted.items(), ("residual", sum(wanted.values()))):
        np.testing.assert_allclose(energy.sel(component=name), value, atol=1e-12)


def test_it_is_what_the_mean_field_has_without_noise():
    logits = np.repeat(noisy(1), 4, axis=0)
    fields = abspos.decompose(logits)["residual"][0, :, 1:5]
    wanted = (fields**2).mean("offset").mean("query")
    found = abspos.energies(logits, early=5)["energy"].sel(bin="early", lens="log")
    np.testing.assert_allclose(found.sel(component="residual"), wanted)


def assert_close(found: xr.Dataset, expected: xr.Dataset) -> None:
    """The same numbers, and tests of what is not zero but for rounding."""
    some = abs(expected["energy"]) > 1e-9
    left_out = ["p_value", "influence"]
    xr.testing.assert_allclose(found.drop_vars(left_out), expected.drop_vars(left_out), atol=1e-12)
    for name in left_out:
        xr.testing.assert_allclose(found[name].where(some), expected[name].where(some), atol=2e-3)


@pytest.mark.parametrize("length", [25, 400])
def test_queries_and_keys_give_what_their_logits_give(length):
    """Long inputs are taken on a grid of queries, on both ways."""
    q, k = queries_and_keys(length)
    logits = np.einsum("nhif,nhjf->nhij", q, np.repeat(k, 2, axis=1)) * 8**-0.5
    assert_close(abspos.energies(q=q, k=k), abspos.energies(logits))
    capped = abspos.energies(4 * np.tanh(2 * logits / 4), early=9, window=7)
    found = abspos.energies(q=q, k=k, scale=2 * 8**-0.5, softcap=4, early=9, window=7)
    assert_close(found, capped)


def test_the_numbers_are_those_of_a_study(activations, components):
    source, store = open_dataset(*activations["window"]), open_dataset(*components["window"])
    table = ArmTables(store, {"condition": "bos"}, 0.95, 10_000, 0).tables["energies"]
    arrays = {name: source[name][2].values for name in ("q", "k")}
    if arrays["q"].dtype == np.uint16:
        arrays = {name: from_bits(values) for name, values in arrays.items()}
    found = abspos.energies(
        **arrays,
        scale=source.attrs["scale"][2],
        window=source.attrs["window"][2],
        documents=store["document"].values,
        early=8,
    )
    rows = table[(table["layer"] == 2) & (table["bin"] != "beyond")]
    compared = 0
    for row in rows.to_dict("records"):
        own = found.sel({name: row[name] for name in ("bin", "lens", "component", "head")})
        for name in NUMBERS:
            np.testing.assert_allclose(own[name], row[name], rtol=2e-4, atol=1e-6)
            compared += 1
    assert compared > 100
    assert found["energy"].count() == len(rows)


def test_inputs_of_one_document_never_form_a_pair():
    logits = noisy(8)
    alike = np.concatenate([logits[:4], logits[:4]])
    documents = np.array(list("abcdabcd"))
    one, two = abspos.energies(logits[:4]), abspos.energies(alike, documents=documents)
    np.testing.assert_allclose(two["energy"], one["energy"])
    assert (two.attrs["n_inputs"], two.attrs["n_documents"]) == (8, 4)


@pytest.mark.parametrize("window", [None, 4])
def test_the_parts_of_the_residual_add_up(window):
    found = abspos.energies(noisy(), early=8, window=window)["energy"]
    parts = found.sel(component=["row", "sink", "rest"]).sum("component")
    np.testing.assert_allclose(parts, found.sel(component="residual"), atol=1e-9)
    log = found.sel(lens="log")
    np.testing.assert_array_equal(log.sel(component="pattern"), log.sel(component="rest"))


def test_every_kind_of_array_gives_the_same():
    values = noisy().astype(np.float32)
    expected = abspos.energies(values)
    array = xr.DataArray(
        values, dims=("input", "head", "query", "key"), coords={"head": [3, 8], "layer": 5}
    )
    labelled = abspos.energies(array.transpose("key", "head", "input", "query"))
    assert labelled["head"].values.tolist() == [3, 8]
    np.testing.assert_array_equal(labelled["energy"], expected["energy"])
    for logits in (torch.as_tensor(values), torch.as_tensor(values).requires_grad_()):
        xr.testing.assert_identical(abspos.energies(logits), expected)


def test_the_dataset_says_what_it_holds():
    found = abspos.energies(noisy(), early=5, window=7)
    assert found.attrs == {
        "T": 24,
        "window": 7,
        "early": 5,
        "n_inputs": 6,
        "n_documents": 6,
        "confidence": 0.95,
    }
    assert dict(zip(found["lens"].values, found["units"].values, strict=True)) == {
        "log": "nats^2",
        "probability": "1",
    }
    assert found["first"].values.tolist() == [1, 5]
    assert found["last"].values.tolist() == [4, 11]
    assert {*NUMBERS} == {*found.data_vars}
    assert all(found[name].attrs["long_name"] for name in NUMBERS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "give logits, or both q and k"),
        ({"q": 0}, "give logits, or both q and k"),
        ({"logits": noisy(), "q": 0, "k": 0}, "give logits, or both q and k"),
        ({"logits": noisy(), "early": 1}, "early: 1; .* at least 2"),
        ({"logits": noisy(2)}, "2 documents, needs at least 3"),
        ({"logits": noisy(), "window": 0}, "window: value 0"),
        ({"logits": noisy(), "documents": [1, 2]}, r"documents: shape \(2,\), must be \(6,\)"),
        ({"q": np.zeros((3, 4, 8)), "k": np.zeros((3, 4, 8))}, "q: shape .* position, feature"),
        ({"q": np.zeros((3, 4, 8, 2)), "k": np.zeros((3, 3, 8, 2))}, "multiple of the K/V heads"),
        ({"q": np.zeros((3, 4, 8, 2)), "k": np.zeros((3, 2, 9, 2))}, "as many"),
        ({"q": np.full((3, 1, 8, 2), np.nan), "k": np.zeros((3, 1, 8, 2))}, "q: NaN or infinity"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, told):
    with pytest.raises(ValueError, match=told) as caught:
        abspos.energies(**arguments)
    assert "\n" not in str(caught.value)


def test_attention_weights_are_noticed():
    weights = np.exp(noisy()) * np.tril(np.ones((24, 24)))
    weights /= weights.sum(-1, keepdims=True)
    with pytest.warns(UserWarning, match="as after a softmax") as caught:
        abspos.energies(weights)
    assert caught[0].filename == __file__
