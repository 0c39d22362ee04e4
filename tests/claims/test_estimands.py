"""Estimands on planted fields whose numbers have closed forms (docs/method.md, section 5)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from abspos.claims import estimands
from abspos.statistics.energies import slope
from abspos.statistics.replicates import gram_replicates

NUMBERS = ("energy reduction", "aligned reduction", "difference share", "amplitude reduction")
SUMMARIES = ("median", "mean")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def labelled(replicates):
    return xr.DataArray(replicates, dims=("layer", "head", "replicate"))


def swapped(bos, swap, summary="median"):
    """The numbers of two arms' fields (layer, head, input, element)."""
    inner = [np.einsum("lhnk,lhmk->lhnm", x, y) for x, y in ((swap, swap), (bos, bos), (swap, bos))]
    found = estimands.swap_replicates(*(labelled(gram_replicates(g, None)) for g in inner), summary)
    return {
        name: replicates.values[np.isfinite(replicates.values)]
        for name, replicates in found.items()
    }


def constant_field(rng, layers=2, heads=5, inputs=4, elements=8):
    """The same field in every input: energies are its square without any noise."""
    one = rng.normal(size=(layers, heads, 1, elements))
    return np.tile(one, (1, 1, inputs, 1))


# bos-swap


@pytest.mark.parametrize("summary", SUMMARIES)
def test_a_swap_that_changes_nothing(rng, summary):
    """Exactly 0 in every replicate, whatever the noise."""
    bos = constant_field(rng) + rng.normal(size=(2, 5, 4, 8))
    found = swapped(bos, bos.copy(), summary)
    assert tuple(found) == NUMBERS
    for replicates in found.values():
        np.testing.assert_array_equal(replicates, 0)


@pytest.mark.parametrize("summary", SUMMARIES)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5, -1.0])
def test_a_swap_that_scales_the_field(rng, factor, summary):
    bos = constant_field(rng)
    found = swapped(bos, factor * bos, summary)
    wanted = (1 - factor**2, 1 - factor, (1 - factor) ** 2, 1 - abs(factor))
    for name, value in zip(NUMBERS, wanted, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("summary", SUMMARIES)
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_swap_for_an_orthogonal_field(rng, factor, summary):
    """The same energy is none removed; nothing of it is aligned; the difference is their sum."""
    bos = constant_field(rng)
    bos[..., 4:] = 0
    swap = factor * np.roll(bos, 4, -1)
    found = swapped(bos, swap, summary)
    wanted = (1 - factor**2, 1, 1 + factor**2, 1 - factor)
    for name, value in zip(NUMBERS, wanted, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


def test_forty_percent_of_the_energy_is_not_forty_of_the_amplitude(rng):
    found = swapped(bos := constant_field(rng), np.sqrt(0.6) * bos)
    assert found["energy reduction"][0] == pytest.approx(0.4)
    assert found["amplitude reduction"][0] == pytest.approx(1 - np.sqrt(0.6))
    assert found["aligned reduction"][0] == pytest.approx(1 - np.sqrt(0.6))


def test_a_part_removed_counts_alike_in_energy_aligned_and_difference(rng):
    """b = kept + gone, orthogonal: three numbers are the share of what is gone."""
    bos = constant_field(rng, layers=1, heads=1)
    kept = bos.copy()
    kept[..., 5:] = 0
    share = 1 - (kept**2).sum() / (bos**2).sum()
    found = swapped(bos, kept)
    for name in NUMBERS[:3]:
        np.testing.assert_allclose(found[name], share)
    np.testing.assert_allclose(found["amplitude reduction"], 1 - np.sqrt(1 - share))


@pytest.mark.parametrize("summary", SUMMARIES)
def test_the_difference_is_the_energy_of_the_difference_field(rng, summary):
    bos, swap = constant_field(rng), constant_field(rng)
    gram = np.einsum("lhnk,lhmk->lhnm", swap - bos, swap - bos)
    energy = labelled(gram_replicates(gram, None))
    reference = labelled(gram_replicates(np.einsum("lhnk,lhmk->lhnm", bos, bos), None))
    over = energy.median("head") if summary == "median" else energy.mean("head")
    under = reference.median("head") if summary == "median" else reference.mean("head")
    wanted = (over.mean("layer") / under.mean("layer")).values
    found = swapped(bos, swap, summary)["difference share"]
    np.testing.assert_allclose(found, wanted[np.isfinite(wanted)])


def test_the_difference_share_of_a_median_head_is_never_negative():
    """Medians of E_b, E_s and U would come from three heads: here 1 + 1 - 2 * 10 = -18."""
    amplitudes = np.array([[1.0, 10.0], [1.0, 1.0], [10.0, 1.0]])  # of BOS and swap, by head
    bos, swap = (np.tile(a[None, :, None, None], (1, 1, 4, 1)) for a in amplitudes.T)
    found = swapped(bos, swap)
    np.testing.assert_allclose(found["difference share"], 81)


@given(seed=st.integers(0, 999), inputs=st.integers(3, 6))
def test_with_one_head_the_numbers_are_tied(seed, inputs):
    """Difference share = 2 aligned - energy reduction; amplitude follows from energy."""
    rng = np.random.default_rng(seed)
    bos, swap = (5 + rng.normal(size=(1, 1, inputs, 6)) for _ in range(2))
    found = swapped(bos, swap)
    np.testing.assert_allclose(
        found["difference share"],
        2 * found["aligned reduction"] - found["energy reduction"],
        atol=1e-9,
    )
    np.testing.assert_allclose(
        (1 - found["amplitude reduction"]) ** 2, 1 - found["energy reduction"], atol=1e-9
    )


@pytest.mark.filterwarnings("error")
def test_an_energy_below_zero_has_no_amplitude():
    one = xr.DataArray([1.0, 1.0], dims="replicate")
    found = estimands.swap_numbers(-0.01 * one, one, 0 * one, one)
    assert np.isnan(found["amplitude reduction"]).all()
    np.testing.assert_allclose(found["energy reduction"], 1.01)


def test_reduction():
    treated, reference = (xr.DataArray([x, x / 2], dims="replicate") for x in (3.0, 4.0))
    np.testing.assert_allclose(estimands.reduction(treated, reference), 0.25)


# window-accumulates


@pytest.mark.parametrize(("window", "half"), [(6, 16), (32, 64), (2, 16), (16, 16), (64, 64)])
def test_reachable_layers_follow_the_light_cone(window, half):
    """Position 0 reaches window - 1 further each layer: grown here one layer at a time."""
    farthest, wanted = 0, []
    for _ in range(20):
        farthest += window - 1
        wanted.append(farthest >= half - 1)
    np.testing.assert_array_equal(estimands.reachable([window] * 20, half), wanted)


def test_reachable_layers_of_the_default_study():
    found = estimands.reachable([32] * 30, 64)
    np.testing.assert_array_equal(np.flatnonzero(~found), [0, 1])  # 3 x 31 = 93 >= 63 > 62


@pytest.mark.parametrize("summary", SUMMARIES)
def test_accumulation_of_a_planted_depth(rng, summary):
    """Energies that grow by 0.3 a layer in every head, in replicates each of its own size."""
    layer = np.arange(8)[:, None, None]
    head = rng.normal(size=(1, 5, 1))
    replicate = np.array([1.0, 2.0, -1.0])
    beyond = labelled((0.3 * layer + head) * replicate)
    layers = layer[:, 0, 0] >= 3
    found = estimands.accumulation(beyond, layers, summary)
    np.testing.assert_allclose(found, 0.3 * replicate)
    transposed = estimands.accumulation(
        beyond.transpose("replicate", "head", "layer"), layers, summary
    )
    np.testing.assert_allclose(transposed, found)


def test_accumulation_uses_the_chosen_layers_alone_at_their_own_depth(rng):
    energies = rng.normal(size=(6, 3, 4))
    layers = np.array([False, True, True, False, True, True])
    found = estimands.accumulation(labelled(energies), layers, "median")
    by_layer = np.median(energies, 1)
    wanted = [slope([1, 2, 4, 5], by_layer[layers, s]) for s in range(4)]
    np.testing.assert_allclose(found, wanted)
    energies[~layers] = 1e9
    np.testing.assert_allclose(estimands.accumulation(labelled(energies), layers, "median"), wanted)
