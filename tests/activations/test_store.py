"""The writer of an activation store: what it takes is on disk, in order and checked."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import zarr

from abspos.activations.capture import Attention
from abspos.activations.shapes import Shape, arrays
from abspos.activations.store import Sums, Writer, is_finite, to_numpy
from abspos.arrays import NonFiniteError, from_bits

SHAPE = Shape(
    2, 5, 4, 2, 2, 6, 8, 8, 16, 2
)  # 5 inputs in batches of 2: the last chunk is half full


def attention(layer: int, inputs: int, seed: int, dtype: torch.dtype = torch.float32) -> Attention:
    """What the model computed in one layer, with q and k strided as RoPE leaves them."""
    made = torch.Generator().manual_seed(seed)

    def values(heads: int) -> torch.Tensor:
        return torch.randn(inputs, 6, heads, 8, generator=made).transpose(1, 2).to(dtype)

    output = torch.zeros(inputs, 6, 4, 8)
    query, key, value = values(4), values(2), values(2)
    first = value[:, :, 0]
    return Attention(layer, query, key, value, first, output, 0.5, None, None, None)


def fill(writer: Writer, dtype: torch.dtype = torch.float32) -> list[list[Attention]]:
    """Hand over all batches; what was handed over, by layer."""
    seen: list[list[Attention]] = [[], []]
    for first in range(0, 5, 2):
        writer.inputs = slice(first, min(first + 2, 5))
        for layer in range(2):
            one = attention(layer, min(2, 5 - first), 10 * first + layer, dtype)
            seen[layer].append(one)
            writer(one)
        writer.drain()
    return seen


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_handed_over_is_what_is_stored(tmp_path, overlap, dtype) -> None:
    with Writer(tmp_path / "q.zarr", SHAPE, dtype, "run", overlap) as writer:
        seen = fill(writer, getattr(torch, dtype))
    for layer in range(2):
        for name, array in (("query", writer.q), ("key", writer.k)):
            stored = np.asarray(array[layer])
            stored = from_bits(stored) if dtype == "bfloat16" else stored
            given = torch.cat([getattr(one, name) for one in seen[layer]]).float().numpy()
            np.testing.assert_array_equal(stored, given)
        values = torch.cat([one.value0 for one in seen[layer]]).float().numpy()
        np.testing.assert_array_equal(writer.v0[layer], values)


@pytest.mark.parametrize("overlap", [False, True])
def test_what_is_not_finite_is_named(tmp_path, overlap) -> None:
    one = attention(1, 2, 0)
    one.key[1, 0, 3, 2] = torch.nan
    with Writer(tmp_path / "q.zarr", SHAPE, "float32", "run", overlap) as writer:
        writer.inputs = slice(2, 4)
        with pytest.raises(NonFiniteError, match=r"run: NaN .* layer 1, key head 0, input 3"):
            (writer(one), writer.drain())


def test_nothing_is_written_after_a_failure(tmp_path, monkeypatch) -> None:
    real, written = Writer.write, []

    def slow(self, layer, *rest):
        if layer == 0:
            raise OSError("no space left")
        time.sleep(0.05)
        real(self, layer, *rest)
        written.append(layer)

    monkeypatch.setattr(Writer, "write", slow)
    with (
        pytest.raises(OSError, match="no space"),
        Writer(tmp_path / "q.zarr", SHAPE, "float32", "run", overlap=True) as writer,
    ):
        fill(writer)
    before = len(written)
    time.sleep(0.2)
    assert len(written) == before


def test_moments_are_those_of_all_inputs() -> None:
    states = [torch.randn(5, 6, 16) for _ in range(3)]
    sums = Sums(SHAPE)
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        sums.inputs = part
        for depth, state in enumerate(states):
            sums(depth, state[part])
    whole = torch.stack(states).double().numpy()
    group = sums.moments()
    mean_t = whole.mean(1)
    mu = mean_t[:, 1:].mean(1)
    away = ((mean_t - mu[:, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(group["state0"][:], whole[:, :, 0])
    np.testing.assert_allclose(group["grand_mean"][:], mu, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(group["by_position"][:], away, rtol=1e-5)
    np.testing.assert_allclose(group["square"][:], (whole**2).sum((1, 3)), rtol=1e-5)
    by_input = ((whole[:, :, 1:].mean(2) - mu[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(group["by_input"][:], by_input, rtol=1e-5)
    magnitude = np.sort(np.abs(whole).reshape(3, 5, -1), axis=-1)
    np.testing.assert_allclose(group["median"][:], magnitude[..., 47], rtol=1e-6)  # of 96
    largest = np.abs(whole[:, :, 1:]).max((2, 3))
    np.testing.assert_allclose(group["largest"][:], largest, rtol=1e-6)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_arrays_of_a_store_are_those_that_the_plan_counts(tmp_path, dtype, crossed) -> None:
    drawn = np.random.default_rng(0)
    sums = Sums(SHAPE)
    sums.inputs = slice(0, 5)
    for depth in range(3):
        sums(depth, torch.randn(5, 6, 16))
    with Writer(tmp_path / "q.zarr", SHAPE, dtype, "run") as writer:
        fill(writer, getattr(torch, dtype))
        written = drawn.normal(size=(2, 4, 16)).astype("f4")
        losses = drawn.normal(size=5).astype("f4")
        writer.finish(sums, losses, written if crossed else None)
    group = zarr.open_group(tmp_path / "q.zarr", mode="r")
    wanted = arrays(SHAPE, dtype, crossed)
    assert set(group.array_keys()) == set(wanted)
    for name, own in wanted.items():
        array = group[name]
        assert (array.shape, str(array.dtype)) == (own.shape, own.dtype)
        assert array.metadata.dimension_names == own.axes
        chunks = list((tmp_path / "q.zarr" / name).glob("c.*"))
        checksums = 4 * len(chunks)
        assert sum(path.stat().st_size for path in chunks) == own.nbytes + checksums


def test_to_numpy():
    values = torch.randn(3, 4)
    np.testing.assert_array_equal(to_numpy(values.T), values.numpy().T)
    bits = to_numpy(values.bfloat16())
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(from_bits(bits), values.bfloat16().float().numpy())


def test_finite_values_are_told_from_their_bits() -> None:
    values = torch.tensor([0.0, -3.0, 3e38, float("inf"), -float("inf"), float("nan")])
    expected = [True, True, True, False, False, False]
    assert is_finite(to_numpy(values)).tolist() == expected
    assert is_finite(to_numpy(values.bfloat16())).tolist() == expected
