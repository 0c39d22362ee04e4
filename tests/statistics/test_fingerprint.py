"""The crossed design of fingerprint: unbiased where tokens carry nothing, everything, or a part."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import xarray as xr

from abspos.documents import holdout
from abspos.statistics.fingerprint import (
    COLUMNS,
    FEWEST_TEXTS,
    decoded,
    design_of,
    explained,
    fingerprint,
    hangs,
    over_readers,
    p_value,
    permuted,
)
from abspos.statistics.half_samples import SPLITS
from abspos.statistics.replicates import replicate_interval

HEADS, TEXTS, TOKENS, AXES = 3, 24, 4, 5


def planted(rng, token=0.0, text=0.0, both=0.0, studies=1, texts=TEXTS):
    """Writes (study x head, text, token, axis) with these variances of each part, tokens fixed."""

    def part(variance, *shape):
        return np.sqrt(variance / AXES) * rng.normal(size=(studies * HEADS, *shape, AXES))

    fixed = part(1, 1, TOKENS)
    fixed -= fixed.mean(2, keepdims=True)
    size = (fixed**2).sum(-1, keepdims=True).mean(2, keepdims=True)
    return (
        fixed * np.sqrt(token / size)
        + part(text, texts, 1)
        + part(both, texts, TOKENS)
        + 3  # what every write has in common is no variance
    )


# token's share of the variance


@pytest.mark.parametrize(
    ("parts", "share"),
    [
        ({"both": 1}, 0.0),
        ({"both": 1, "text": 2}, 0.0),
        ({"token": 1}, 1.0),
        ({"token": 1, "both": 1}, 0.5),
        ({"token": 1, "text": 2, "both": 1}, 0.25),
        ({"token": 0.01, "text": 1}, 0.01 / 1.01),
    ],
)
def test_the_share_is_unbiased(parts, share):
    """Under nothing, under everything and between; the mean of 150 studies of three heads.

    By the share of sums of squares, uncorrected, nothing would be 1 / TEXTS of what varies within
    texts; held out text by text, it would lie below 0.
    """
    found = explained(planted(np.random.default_rng(0), studies=150, **parts))[:, 0]
    error = found.std() / np.sqrt(len(found))
    assert found.mean() == pytest.approx(share, abs=4 * error + 1e-12)
    assert error < 0.006


def slowly(writes):
    """The share of one head by loops over pairs of different texts."""
    texts, tokens = writes.shape[:2]
    middle = writes.mean(1)
    pairs = [(n, m) for n, m in product(range(texts), repeat=2) if n != m]
    by_token = np.mean(
        [
            (writes[n, k] - middle[n]) @ (writes[m, k] - middle[m])
            for n, m in pairs
            for k in range(tokens)
        ]
    )
    common = np.mean([middle[n] @ middle[m] for n, m in pairs])
    return by_token / ((writes**2).sum(-1).mean() - common)


def test_the_share_against_loops():
    writes = planted(np.random.default_rng(1), token=1, text=1, both=2)
    found = explained(writes)
    for head, own in enumerate(writes):
        assert found[head, 0] == pytest.approx(slowly(own))
        assert found[head, 1 + 5] == pytest.approx(slowly(np.delete(own, 5, 0)))


def test_intervals_cover_the_share():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(60):
        found = explained(planted(rng, token=1, both=3, texts=32)).mean(0)
        reach = replicate_interval(found)
        hits += bool(reach.low < 0.25 < reach.high)
    assert 52 <= hits <= 60


def test_permutation_within_texts_is_the_mean_of_nothing():
    """Against shuffles one by one; texts and their total variance stay."""
    rng = np.random.default_rng(3)
    writes = planted(rng, token=1, text=1, both=1)
    found = permuted(writes, 400, 0)
    assert found.shape == (HEADS, 400)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(400)
    shuffled = [
        explained(writes[0][np.arange(TEXTS)[:, None], order])[0]
        for order in rng.permuted(np.tile(np.arange(TOKENS), (400, TEXTS, 1)), axis=-1)
    ]
    assert found[0].std() == pytest.approx(np.std(shuffled), rel=0.15)
    assert p_value(float(explained(writes)[:, 0].mean()), found.mean(0)) == 1 / 401


def test_p_values_of_nothing_are_uniform():
    rng = np.random.default_rng(4)
    ps = []
    for seed in range(60):
        writes = planted(rng, text=1, both=1, texts=10)
        share = float(explained(writes)[:, 0].mean())
        ps.append(p_value(share, permuted(writes, 99, seed).mean(0)))
    assert np.mean(ps) == pytest.approx(0.5, abs=0.12)


# decoding


def test_decoding_of_nothing_is_chance():
    rng = np.random.default_rng(5)
    right = [decoded(planted(rng, text=1, both=1)).mean() for _ in range(100)]
    assert np.mean(right) == pytest.approx(1 / TOKENS, abs=4 * np.std(right) / 10)


def test_decoding_of_everything_is_certain():
    assert (decoded(planted(np.random.default_rng(6), token=1)) == 1).all()


def test_decoding_against_loops():
    writes = planted(np.random.default_rng(7), token=1, text=1, both=2)
    writes[0] *= 1e4  # no head drowns the others
    scaled = [h / np.sqrt(((h - h.mean((0, 1))) ** 2).sum(-1).mean()) for h in writes]
    joint = np.concatenate(scaled, -1)
    for n in range(TEXTS):
        means = np.delete(joint, n, 0).mean(0)
        right = [
            np.argmin([((joint[n, k] - mean) ** 2).sum() for mean in means]) == k
            for k in range(TOKENS)
        ]
        assert decoded(writes)[n] == np.mean(right)


# values and designs


def test_how_far_values_hang_on_their_token():
    same = np.ones((TOKENS, 3, AXES))
    assert hangs(same) == pytest.approx(np.zeros(3))
    orthogonal = np.eye(TOKENS)[:, None]
    assert hangs(orthogonal) == pytest.approx(1 - 1 / TOKENS)


def test_summaries_are_over_readers_alone():
    shares = np.arange(12.0).reshape(3, 4, 1)
    readers = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]], dtype=bool)
    assert over_readers(shares, readers, "mean").ravel().tolist() == [1, 10]
    shares[0, 0] = -50
    assert over_readers(shares, readers, "median").ravel().tolist() == [1, 10]


def arms(rng, documents=None, number=32, **changes):
    """Stores of bos and three tokens: 2 layers of 3 heads, of which the last two read the sink."""
    found = {}
    share = np.zeros((2, 3, number))
    share[:, 1:] = 0.6
    for name in ("bos", "swap-token-1", "swap-token-2", "swap-token-3"):
        inputs = changes.get(name, number)
        found[name] = xr.Dataset(
            {
                "write0": (("layer", "head", "hidden"), rng.normal(size=(2, 3, 40))),
                "value0": (("layer", "value_head", "feature"), rng.normal(size=(2, 1, 6))),
                "to_first": (("layer", "head", "input"), rng.uniform(0.3, 0.9, (2, 3, inputs))),
                "a_1_64": (("layer", "head", "input"), share[..., :inputs].copy()),
                "document": ("input", np.arange(inputs) if documents is None else documents),
            },
            attrs={"kind": ["full", "sliding"]},
        )
    return found


def test_writes_are_attention_times_what_values_write():
    """In coordinates of the tokens' span all inner products are those of the writes themselves."""
    given = arms(np.random.default_rng(8))
    design = design_of(given, 0)
    _, measured = holdout(32, 0, np.arange(32))
    plain = np.stack(
        [
            a["to_first"].values[:, :, measured, None] * a["write0"].values[:, :, None]
            for a in given.values()
        ],
        3,
    )
    found = design.writes()
    assert found.shape == (2, 3, 16, 4, 4)
    flat, wide = (x.reshape(2, 3, 64, -1) for x in (found, plain))
    np.testing.assert_allclose(
        flat @ flat.swapaxes(-1, -2), wide @ wide.swapaxes(-1, -2), atol=1e-9
    )


def test_readers_are_chosen_on_texts_that_are_not_measured():
    given = arms(np.random.default_rng(9))
    design = design_of(given, 0)
    assert design.readers.tolist() == [[False, True, True]] * 2
    choosing, measured = holdout(32, 0, np.arange(32))
    share = given["bos"]["a_1_64"].values
    share[..., measured] = 0.9
    np.testing.assert_array_equal(design_of(given, 0).readers, design.readers)
    given["bos"] = given["bos"].assign(measured=("input", choosing))
    exchanged = design_of(given, 0)
    assert exchanged.readers.tolist() == [[True, True, True]] * 2
    np.testing.assert_array_equal(
        exchanged.attention[0], given["bos"]["to_first"].values[..., choosing]
    )


def test_where_sources_are_units_texts_stand_in_their_order():
    """In which they first appear among all inputs; the order of texts changes no estimate."""
    given = arms(np.random.default_rng(14))
    _, measured = holdout(32, 0, np.arange(32))
    plain = explained(design_of(given, 0).writes())[..., 0]
    names = np.array(["b", "c", "a", "d"])[np.arange(32) % 4]
    given["bos"] = given["bos"].assign(source=("input", names))
    design = design_of(given, 0)
    assert list(dict.fromkeys(design.sources)) == [0, 1, 2, 3]
    assert (design.units, design.texts, design.lacks()) == (4, 16, "")
    for code, name in enumerate(("b", "c", "a", "d")):
        own = given["bos"]["to_first"].values[..., measured & (names == name)]
        np.testing.assert_array_equal(design.attention[0][..., design.sources == code], own)
    np.testing.assert_allclose(explained(design.writes(), design.sources)[..., 0], plain)
    given["bos"]["source"].values[~measured] = "e"
    assert design_of(given, 0).lacks() == "no measured text of 1 sources"


def test_without_a_source_the_share_is_that_of_the_other_texts():
    """A token explains all in the texts of the first source, and nothing in those of the others."""
    rng = np.random.default_rng(15)
    sources = np.repeat([0, 1, 2, 3], TEXTS // 4)
    writes = planted(rng, both=1)
    writes[:, sources == 0] = writes[:, :1]
    found = explained(writes, sources)
    assert found.shape[1] == 1 + 4 + 2 * SPLITS
    np.testing.assert_allclose(found[:, 0], explained(writes)[:, 0])
    for source in range(4):
        others = explained(writes[:, sources != source])[:, 0]
        np.testing.assert_allclose(found[:, 1 + source], others)
    np.testing.assert_allclose(explained(writes[:, sources == 0])[:, 0], 1)
    assert (found[:, 0] > found[:, 1] + 0.02).all()


def test_one_text_of_a_document_counts():
    documents = np.arange(32) // 2
    assert design_of(arms(np.random.default_rng(10), documents), 0).texts == 8


def test_arms_on_fewer_inputs_are_no_part():
    assert design_of(arms(np.random.default_rng(11), **{"swap-token-2": 8}), 0).tokens == 3


def test_what_a_design_lacks():
    given = arms(np.random.default_rng(12))
    assert not design_of(given, 0).lacks()
    assert "0 tokens" in design_of({}, 0).lacks()
    assert "1 tokens" in design_of({"bos": given["bos"]}, 0).lacks()
    few = arms(np.random.default_rng(12), number=FEWEST_TEXTS)
    assert f"{FEWEST_TEXTS // 2} texts, 4 tokens, 4 sink readers" in design_of(few, 0).lacks()
    for store in given.values():
        store["a_1_64"].values[:] = 0.1
    assert "0 sink readers" in design_of(given, 0).lacks()


def test_the_table_by_depth():
    given = arms(np.random.default_rng(13))
    given["bos"]["a_1_64"].values[0] = 0
    found = fingerprint({("standard", name): store for name, store in given.items()}, 0.95, 0)
    assert found.columns.tolist() == COLUMNS
    assert found["layer"].tolist() == [0, 1]
    assert found["kind"].tolist() == ["full", "sliding"]
    assert found["readers"].tolist() == [0, 2]
    assert found["explained"].isna().tolist() == [True, False]
    assert found["value_share"].between(0.3, 0.9).all()
    assert found["explained"].dtype == found["decoded"].dtype == float
    last = found.iloc[1]
    assert last["ci_low"] < last["explained"] < last["ci_high"]
    assert last["p_value"] == 0.001
    assert last["decoded"] > 0.9
    assert (last["tokens"], last["n_inputs"]) == (4, 16)
    assert fingerprint({}, 0.95, 0).empty
