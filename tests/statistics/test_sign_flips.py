"""The sign-flip test: against separate flips, its level and power, ties, documents."""

import itertools

import numpy as np
import pytest
from scipy import stats

from abspos.statistics import sign_flips
from abspos.statistics.packing import pack
from abspos.statistics.sign_flips import sign_flip_p, sign_flip_summary_p


def grams(seed, number, heads=(), mean=0.0, features=6):
    """Grams of `number` fields: mean (features,) or scalar, plus unit Gaussian noise."""
    fields = np.random.default_rng(seed).normal(size=(*heads, number, features)) + mean
    return fields @ fields.swapaxes(-1, -2)


def dense_flips(gram, flips, seed):
    """p by separate flips: the textbook version, at full cost."""
    gram = gram - np.diag(np.diag(gram))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(flips, len(gram)))
    signs[0] = 1
    flipped = ((signs @ gram) * signs).sum(axis=-1)
    return (flipped >= flipped[0]).mean()


def test_product_flips_agree_with_separate_flips():
    tested = grams(17, 33, heads=(60,), mean=0.12)  # odd: the halves differ
    separate = [dense_flips(gram, 10_000, 18) for gram in tested]
    product = sign_flip_p(tested)
    assert min(separate) < 0.02
    assert max(separate) > 0.5
    assert np.abs(product - separate).max() < 0.1
    assert abs(np.mean(product - separate)) < 0.02


def test_product_flips_are_the_flips_they_claim_to_be():
    tested = np.random.default_rng(19).normal(size=(40, 5, 5))
    draw = np.random.default_rng(3)
    first, second = draw.choice([-1.0, 1.0], size=(4, 2)), draw.choice([-1.0, 1.0], size=(4, 3))
    first[0] = second[0] = 1
    signs = [np.concatenate(ab) for ab in itertools.product(first, second)]
    for gram, p in zip(tested, sign_flip_p(tested, flips=16, seed=3), strict=True):
        zeroed = gram - np.diag(np.diag(gram))
        flipped = np.array([e @ zeroed @ e for e in signs])
        assert p == (flipped >= flipped[0] - 1e-12).mean()


def test_sign_flip_p_is_uniform_where_there_is_no_effect():
    p = [sign_flip_p(grams(seed, 24, features=3), flips=900, seed=seed) for seed in range(1_000)]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    for level in (0.01, 0.05):
        assert np.mean(np.array(p) <= level) < level + 4 * np.sqrt(level / 1_000)


def test_sign_flip_p_of_a_clear_effect_is_as_small_as_it_gets():
    assert (sign_flip_p(grams(20, 64, heads=(3,), mean=1.0)) == 1e-4).all()
    assert (sign_flip_p(-grams(20, 64, heads=(3,), mean=1.0)) > 0.99).all()  # one-sided


def test_sign_flip_p_counts_ties_against_the_effect():
    assert sign_flip_p(np.zeros((8, 8))) == 1
    # two inputs: the signs (+, +) and (-, -) tie with the identity in spite of rounding
    p = sign_flip_p(np.array([[5, 0.1], [0.1, 5]]), flips=40_000)
    assert p == pytest.approx(0.5, abs=0.06)


def test_rounding_does_not_break_ties():
    fields = np.random.default_rng(24).integers(-2, 3, size=(200, 12, 2))
    gram = fields @ fields.swapaxes(-1, -2)  # whole numbers: exact sums, many ties
    for factor in (0.1, 1 / 3, 1e-9):
        np.testing.assert_array_equal(sign_flip_p(factor * gram), sign_flip_p(gram))


def test_sign_flip_p_does_not_depend_on_neighbours_or_blocks(monkeypatch):
    tested = grams(21, 20, heads=(2, 5), mean=0.2)
    together = sign_flip_p(tested)
    monkeypatch.setattr(sign_flips, "BLOCK_BYTES", 1)
    np.testing.assert_array_equal(sign_flip_p(tested), together)
    assert sign_flip_p(tested[1, 2]) == together[1, 2]
    assert (sign_flip_p(tested, seed=1) != together).any()


@pytest.mark.parametrize("number", [2, 3, 20, 33])
def test_many_pairs_are_flipped_as_few_are(number, monkeypatch):
    tested = grams(26, number, heads=(6,), mean=0.2)
    few = sign_flip_p(tested)
    monkeypatch.setattr(sign_flips, "FEW_PAIRS", -1)
    np.testing.assert_array_equal(sign_flip_p(tested), few)


def test_sign_flips_of_documents_flip_together():
    draw = np.random.default_rng(22)
    documents = np.repeat(np.arange(16), 3)
    fields = draw.normal(size=(400, 16, 3))[:, documents]
    gram = fields @ fields.swapaxes(-1, -2)
    assert (sign_flip_p(gram) <= 0.05).mean() > 0.35  # what ignoring documents finds
    assert (sign_flip_p(gram, documents=documents) <= 0.05).mean() < 0.12
    np.testing.assert_array_equal(
        sign_flip_p(gram[:9], documents=np.arange(48)), sign_flip_p(gram[:9])
    )


@pytest.mark.parametrize("seed", range(3, 9))
def test_summary_sign_flips_agree_with_a_slow_evaluation(seed) -> None:
    draw = np.random.default_rng(seed)
    field = draw.normal(size=(2, 3, 9, 4)) + 0.1
    gram = field @ field.swapaxes(-1, -2)
    units, side = 9, 5
    signs = np.random.default_rng(11)
    first, second = (signs.choice([-1.0, 1.0], size=(side, k)) for k in (4, 5))
    first[0], second[0] = 1.0, 1.0
    off = gram * (1 - np.eye(units))
    values = [
        np.mean([np.median([e @ head @ e for head in layer]) for layer in off])
        for a in first
        for b in second
        for e in [np.concatenate([a, b])]
    ]
    slow = np.mean(np.array(values) >= values[0] - 1e-9)
    fast = sign_flip_summary_p(pack(gram), lambda x: np.median(x, axis=0), flips=25, seed=11)
    assert fast == slow


def test_summary_sign_flips_see_a_planted_field() -> None:
    draw = np.random.default_rng(4)
    noise = draw.normal(size=(2, 3, 32, 6))
    for shift, largest in ((0.0, 1.0), (1.0, 0.001)):
        field = noise + shift
        p = sign_flip_summary_p(pack(field @ field.swapaxes(-1, -2)), lambda x: x.mean(axis=0))
        assert p <= largest
        assert (p > 0.01) == (shift == 0)


@pytest.mark.parametrize("documents", [None, np.repeat(np.arange(8), 2), np.arange(16) // 3])
def test_what_stands_within_a_unit_is_not_read(documents):
    gram = grams(25, 16, heads=(4,), mean=0.3)
    within = np.eye(16, dtype=bool)
    if documents is not None:
        within = documents[:, None] == documents
    other = np.where(within, np.nan, gram)
    expected = sign_flip_p(gram, documents=documents)
    assert (expected < 1).all()
    np.testing.assert_array_equal(sign_flip_p(other, documents=documents), expected)
    other[2, 0, 15] = np.nan
    found = sign_flip_p(other, documents=documents)
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, False])
