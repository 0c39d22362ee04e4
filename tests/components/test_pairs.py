"""The shift pair: known logits in, known shares out; and token for token the same words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from abspos.arrays import open_dataset
from abspos.components import grams
from abspos.components.pairs import (
    COMBINATIONS,
    Arm,
    Pair,
    alignment_error,
    combined,
    fields,
    log_attention,
    pair_error,
    pair_grams,
    require_aligned,
)
from abspos.components.reduction import Plan
from abspos.statistics.energies import energy
from abspos.statistics.factorial import COMPONENTS, effects
from abspos.statistics.packing import unpack

INPUTS, HEADS, LENGTH, EARLY = 6, 2, 24, 8
HALF = LENGTH // 2


def noise(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def words(seed):
    """Logits among the words (input, head, query, key)."""
    return noise(seed, INPUTS, HEADS, HALF, HALF)


def toeplitz(seed=0):
    """Logits of offsets alone, the same for all inputs and heads."""
    place = torch.arange(HALF)
    offset = (place[:, None] - place).clamp_min(0)
    return noise(seed, HALF)[offset].expand(INPUTS, HEADS, -1, -1).clone()


def arm(logits, late):
    """An arm with these logits among its words, whose keys are unit vectors; elsewhere noise."""
    keys = torch.eye(HALF, dtype=logits.dtype).expand(logits.shape)
    queries = [logits, noise(20 + late, *logits.shape)]
    keys = [keys, noise(30 + late, *logits.shape)]
    order = [1, 0] if late else [0, 1]
    return Arm(*(torch.cat([found[n] for n in order], 2) for found in (queries, keys)))


def pair(a, b, window=None):
    """A pair with these logits among the words of arms A and B."""
    return Pair(arm(a, False), arm(b, True), 1.0, window, None)


def random_pair(window=None):
    """A pair of any vectors, two heads to a K/V head."""
    sizes = ((2, 4, LENGTH, 5), (2, 2, LENGTH, 5))
    arms = [Arm(*(noise(40 + 2 * n + m, *size) for m, size in enumerate(sizes))) for n in (0, 1)]
    return Pair(*arms, 0.7, window, None)


def plan(window=None):
    return Plan(
        queries=torch.arange(HALF),
        bins=grams.bins(HALF, EARLY, [window] if window else []),
        anchor=HALF - 1,
        early=EARLY,
        length=LENGTH,
        documents=torch.arange(INPUTS),
        device="cpu",
    )


def energies(made, component="residual", lens="log"):
    found = pair_grams(made, plan())
    return {
        name: energy(unpack(found[f"factorial/{component}/{lens}/{name}"].numpy()))
        for name in COMBINATIONS[component]
    }


# closed forms


def test_the_same_logits_at_both_places_leave_nothing():
    a = words(1)
    for name, gram in pair_grams(pair(a, a), plan()).items():
        assert float(gram.abs().max()) == 0, name


def test_toeplitz_logits_leave_nothing():
    """Whatever both arms add to a whole row of logits."""
    gauge = noise(2, INPUTS, HEADS, HALF, 1)
    for name, gram in pair_grams(pair(toeplitz() + gauge, toeplitz()), plan()).items():
        if "factorial" not in name or name.endswith("AAA"):
            assert float(gram.abs().max()) < 1e-20, name


@pytest.mark.parametrize("lens", ["log", "probability"])
def test_a_planted_key_0_makes_all_of_r(lens):
    made = pair(words(3).abs(), words(3).abs())
    made.bos.key[:, :, 0] *= 3
    found = effects(energies(made, lens=lens))
    for head in range(HEADS):
        assert found["key 0"][head] > 0.01
        for name in set(found) - {"key 0"}:
            assert abs(found[name][head]) < 1e-12 * found["key 0"][head], name
    for energy_ in energies(made, "pattern", lens).values():
        assert np.abs(energy_).max() < 1e-20


@pytest.mark.parametrize("factor", ["queries", "keys"])
def test_one_changed_factor_makes_all_of_r(factor):
    logits = toeplitz(3) + 0.1 * words(4)
    made = pair(logits, logits)
    changed = made.bos.query if factor == "queries" else made.bos.key[:, :, 1:]
    changed *= 1.5
    for component in COMBINATIONS:
        found = effects(energies(made, component), COMPONENTS[component])
        others = [np.abs(found[name]).max() for name in set(found) - {factor}]
        assert found[factor].min() > 0.01
        assert max(others) < 1e-12 * found[factor].min()


def test_a_sink_has_its_closed_form():
    """docs/method.md, section 1: R_i(i) = b - c_i, and R_i(d) = -c_i elsewhere."""
    f, bias = toeplitz(), 2.0
    a = f.clone()
    a[..., 0] += bias
    queries = torch.arange(1, EARLY)
    found = {tuple(key): x for *key, x in fields(pair(a, f), queries, factorial=True)}
    own = found["log", "residual", "AAA"][0, 0] * (queries + 1.0).sqrt()[:, None]
    for row, i in enumerate(queries.tolist()):
        z = f[0, 0, i, : i + 1].logsumexp(-1)
        c = torch.log1p(torch.exp(f[0, 0, i, 0] - z) * (np.exp(bias) - 1))
        torch.testing.assert_close(own[row, 0], bias - c)
        torch.testing.assert_close(own[row, 1 : i + 1], (-c).expand(i))
        assert (own[row, i + 1 :] == 0).all()
    for lens in grams.LENSES:
        assert float(found[lens, "pattern", "AA"].abs().max()) < 1e-12, (
            "all keys but the sink alike"
        )


def test_key_0_is_nothing_to_the_pattern():
    """It renormalises on ordinary keys: its combinations have no third letter."""
    made, louder = pair(words(5), words(6)), pair(words(5), words(6))
    louder.bos.key[:, :, 0] *= 50
    before, after = (pair_grams(own, plan()) for own in (made, louder))
    changed = {n for n in before if not torch.allclose(before[n], after[n], rtol=1e-9, atol=1e-12)}
    assert not [name for name in changed if "pattern" in name]
    assert [name for name in changed if "residual" in name]


# against slower computations


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("combination", ["AAA", "ABA", "BAB", "BBA", "BBB"])
def test_combinations_are_softmaxes_of_the_vectors_they_name(combination, window):
    made = random_pair(window)
    queries = torch.arange(1, HALF)
    products, seen = made.products(queries), made.seen(queries)
    own = log_attention(combined(products, combination), seen)
    side = {"A": (made.bos, 0), "B": (made.shifted, HALF)}
    for i in (1, 2, 7, HALF - 1):
        (q_arm, q_at), (k_arm, k_at), (first_arm, first_at) = (side[x] for x in combination)
        keys = k_arm.key[:, :, k_at : k_at + i + 1].clone()
        keys[:, :, 0] = first_arm.key[:, :, first_at]
        for head in range(4):
            query = q_arm.query[:, head, q_at + i]
            row = 0.7 * torch.einsum("nf,nkf->nk", query, keys[:, head // 2])
            row = row[:, -(window or i + 1) :].log_softmax(-1)
            sight = row.shape[1]
            torch.testing.assert_close(own[:, head, i - 1, i + 1 - sight : i + 1], row)


@pytest.mark.parametrize("window", [None, 5, 9])
def test_aaa_is_arm_a_and_bbb_arm_b_cut(window, monkeypatch):
    assert max(pair_error(random_pair(window), head) for head in range(3)) < 1e-12
    right = Arm.words

    def late(self, late):
        found = right(self, late)
        return Arm(found.query.roll(int(late), 2), found.key)

    monkeypatch.setattr(Arm, "words", late)
    assert pair_error(random_pair(window)) > 0.01, "one position off"


@pytest.mark.parametrize("window", [None, 4])
def test_matched_r_of_a_bin(window):
    """Against fields of all queries at once, whatever their bands."""
    made = pair(words(7), words(8), window)
    found = pair_grams(made, plan(window))
    for which in plan(window).plain:
        queries = torch.arange(which.first, which.stop)
        for lens, component, name, field in fields(made, queries, factorial=False):
            assert (component, name) == ("residual", "AAA")
            whole = grams.pack(grams.gram(grams.flatten(field))) / len(queries)
            torch.testing.assert_close(found[f"gram/{which.name}/{lens}/matched"], whole)
    for lens in grams.LENSES:
        torch.testing.assert_close(
            found[f"gram/early/{lens}/matched"], found[f"factorial/residual/{lens}/AAA"]
        )


def test_queries_of_a_grid_stand_for_others():
    """The late bin weights a query by those it stands for."""
    made = pair(words(7), words(8))
    every = torch.arange(HALF)
    taken = every[[*range(EARLY), 9, 11]]
    grid = replace(plan(), queries=taken)
    found = pair_grams(made, grid)
    gaps = grid.gaps[EARLY:]
    parts = {}
    for number, query in enumerate(taken[EARLY:]):
        for lens, _, _, field in fields(made, query[None], factorial=False):
            part = grams.gram(grams.flatten(field)) * gaps[number] / gaps.sum()
            parts[lens] = parts.get(lens, 0) + part
    for lens, whole in parts.items():
        torch.testing.assert_close(found[f"gram/late/{lens}/matched"], grams.pack(whole))


# the same words


def test_other_words_are_refused():
    a, b = pair(words(9), words(9)), pair(words(9), words(10))
    require_aligned(a, "float32")
    assert alignment_error(a) == 0
    with pytest.raises(ValueError, match="layer 0: queries or keys of the pair differ by"):
        require_aligned(b, "float32")
    broken = pair(words(9), words(9) * torch.nan)
    with pytest.raises(ValueError, match="differ by nan"):
        require_aligned(broken, "float32")


def test_stores_of_a_pair(shift_pair, windows):
    """On a model: in layer 0, queries and keys are those of the same words, bit for bit or nearly;
    what stands before them is the text before the window."""
    bos, shift, made = (open_dataset(*store) for store in shift_pair)
    half = bos.sizes["position"] // 2
    for name in ("q", "k"):
        a, b = bos[name].values[0, :, :, 1:half], shift[name].values[0, :, :, half + 1 :]
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())
        other = shift[name].values[0, :, :, half : 2 * half - 1]
        assert np.abs(a - other).max() > 0.1 * np.abs(a).max(), "one word further is another word"
    assert max(made.attrs["pair_error"]) < 1e-4
    assert list(made["combination_residual"].values) == list(COMBINATIONS["residual"])
    assert "matched" in made["component_early"].values
    # Layer 0 reads words alone: whatever R there is, key 0 makes.
    gram = made["factorial_residual"].sel(lens="log").isel(layer=0)
    own = {
        name: energy(unpack(gram.sel(combination_residual=name).values))
        for name in COMBINATIONS["residual"]
    }
    np.testing.assert_allclose(own["BBA"], own["AAA"], rtol=1e-3)
    assert (np.abs(own["AAB"]) < 1e-6 * own["AAA"]).all()
