"""Upper triangles: there and back, of some inputs, and the symmetric part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos.statistics.packing import of_some, pack, symmetric, unpack


def grams(seed, number, heads=()):
    fields = np.random.default_rng(seed).normal(size=(*heads, number, 6))
    return fields @ fields.swapaxes(-1, -2)


def test_pack_takes_the_upper_triangle_row_by_row():
    gram = np.array([[1, 2, 3], [0, 4, 5], [0, 0, 6]], dtype=np.float32)
    assert pack(gram).tolist() == [1, 2, 3, 4, 5, 6]
    assert pack(gram).dtype == np.float32


@given(st.integers(1, 9))
def test_unpack_undoes_pack(number):
    gram = grams(number, number, heads=(2, 3)).astype(np.float32)
    gram = (gram + gram.swapaxes(-1, -2)) / 2
    for given_n in (None, number):
        back = unpack(pack(gram), given_n)
        assert back.dtype == gram.dtype
        np.testing.assert_array_equal(back, gram)


@pytest.mark.parametrize(("length", "n"), [(5, None), (6, 4)])
def test_unpack_refuses_other_lengths(length, n):
    with pytest.raises(ValueError, match=f"length {length}, must be"):
        unpack(np.zeros(length), n)


@given(st.integers(2, 9), st.integers(0, 99), st.booleans())
def test_some_inputs_have_the_gram_of_those_in_their_order(number, seed, masked):
    rng = np.random.default_rng(seed)
    gram = grams(seed, number, heads=(2,))
    chosen = rng.permutation(number)[: rng.integers(1, number + 1)]
    if masked:
        chosen = np.isin(np.arange(number), chosen)
    wanted = gram[:, chosen][:, :, chosen]
    np.testing.assert_allclose(unpack(of_some(pack(gram), chosen)), wanted)


@given(st.integers(1, 9))
def test_the_symmetric_part_is_the_mean_with_the_transpose(number):
    gram = np.random.default_rng(number).normal(size=(2, number, number))
    wanted = (gram + gram.swapaxes(-1, -2)) / 2
    np.testing.assert_allclose(unpack(symmetric(gram)), wanted)
