"""Sums by unit and by XOR of units, against sums pair by pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from abspos.documents import unit_codes
from abspos.statistics.half_samples import ORDER
from abspos.statistics.packing import pack
from abspos.statistics.unit_sums import unit_sums


def by_pair(gram, codes, units):
    margins, classes = np.zeros(units), np.zeros(ORDER)
    for n, m in np.ndindex(gram.shape):
        if codes[n] != codes[m]:
            margins[codes[n]] += gram[n, m]
            margins[codes[m]] += gram[n, m]
            classes[(codes[n] ^ codes[m]) % ORDER] += gram[n, m]
    return margins, classes


@given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=12)
    | st.sampled_from([list(range(130)), list(range(3)) * 2]),
    seed=st.integers(0, 99),
)
def test_sums_are_those_over_pairs_of_different_units(labels, seed):
    rng = np.random.default_rng(seed)
    codes, sizes = unit_codes(labels, len(labels))
    gram = rng.normal(size=(3, len(labels), len(labels))).astype(np.float32)
    gram = gram + gram.swapaxes(-1, -2)
    gram[:, codes[:, None] == codes] = np.nan  # what stands within a unit is not read
    found = unit_sums(pack(gram), codes, sizes)
    assert found.margins.dtype == found.classes.dtype == np.float64
    for head, own in enumerate(gram):
        margins, classes = by_pair(own.astype(np.float64), codes, len(sizes))
        np.testing.assert_allclose(found.margins[head], margins, atol=1e-9)
        np.testing.assert_allclose(found.classes[head], classes, atol=1e-9)
        np.testing.assert_allclose(found.total[head], margins.sum() / 2, atol=1e-9)
    assert found.pairs == (codes[:, None] != codes).sum()
