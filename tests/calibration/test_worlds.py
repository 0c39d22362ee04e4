"""Worlds: closed forms of what is planted, and draws that are each input's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos.calibration.worlds import World, draw, logits, planted, read
from abspos.components.decomposition import decompose
from abspos.models.sources import fetch_synthetic

LENGTH = 16
HALF = LENGTH // 2
SMALL = World(0.5, layers=2)


def test_a_planted_sink_has_its_closed_form():
    """Property 4 of docs/method.md, section 1, with b = the sink of each head and depth."""
    world = World(0.0, layers=2, drift=0.0)
    found = decompose(logits(world, [0], LENGTH)[0])  # layers stand where inputs do
    toeplitz = planted(world, LENGTH, left=0.0)
    for layer, head in np.ndindex(2, 3):
        b = world.sinks[head] * world.heads[head] * (1 + layer) / 2
        for i in range(1, HALF):
            f = toeplitz[layer, head, i, i::-1]
            log_z = np.log(np.exp(f).sum())
            c = np.log1p(np.exp(f[i] - log_z) * np.expm1(b))
            residual = found["residual"].values[layer, head, i, : i + 1]
            np.testing.assert_allclose(residual[:-1], -c, atol=1e-9)
            np.testing.assert_allclose(residual[-1], b - c, atol=1e-9)


@pytest.mark.parametrize("tails", ["normal", "heavy", "few"])
def test_without_sink_and_drift_the_mean_residual_is_zero(tails):
    """Own logits do not tell an early query from a late one that has as many keys."""
    world = World(1.0, tails, layers=1)
    own = draw(world, 4000, LENGTH, np.random.default_rng(0))[:, 0] + planted(world, LENGTH, 0)[0]
    residual = decompose(own)["residual"].values[:, :, 1:HALF]
    mean, error = residual.mean(0), residual.std(0) / np.sqrt(len(own))
    assert np.nanmax(np.abs(mean / error)) < 5


def test_an_inputs_logits_follow_from_its_number_alone():
    together, alone = logits(SMALL, [3, 4, 5], LENGTH), logits(SMALL, [4], LENGTH)
    np.testing.assert_array_equal(together[1], alone[0])
    assert not np.array_equal(together[0], together[1])


def test_arms_differ_by_what_is_planted_alone():
    """Own logits are the same in every arm; an untrained one has nothing else."""
    whole, less, bare = (
        logits(SMALL, [0, 1], LENGTH, left, untrained)
        for left, untrained in ((1.0, False), (0.5, False), (1.0, True))
    )
    difference = planted(SMALL, LENGTH) - planted(SMALL, LENGTH, 0.5)
    np.testing.assert_allclose(whole - less, np.stack([difference] * 2), atol=1e-12)
    np.testing.assert_allclose(whole - bare, np.stack([planted(SMALL, LENGTH)] * 2), atol=1e-12)


@pytest.mark.parametrize(("tails", "carried"), [("normal", 0.04), ("few", 0.5)])
def test_few_inputs_carry_half_of_the_variance(tails, carried):
    world = World(1.0, tails, layers=1, heads=(1.0,), sinks=(0.0,))
    own = draw(world, 6400, 4, np.random.default_rng(0))
    sizes = np.sort((own**2).mean((1, 2, 3, 4)))
    # White noise and a field of cosines, of variance 1 and about a half.
    assert sizes.mean() == pytest.approx(1.5, rel=0.1)
    largest = sizes[-6400 // 32 :].sum() / sizes.sum()
    assert largest == pytest.approx(carried, abs=0.08 if tails == "few" else 0.12)


@given(st.floats(0, 3), st.sampled_from(["normal", "heavy", "few"]), st.integers(0, 99))
def test_a_world_is_read_as_its_source_was_written(tmp_path_factory, noise, tails, seed):
    folder = tmp_path_factory.mktemp("world")
    given = {"noise": noise, "tails": tails, "heads": [1.0, 2.0], "sinks": [0.5, 0.0], "seed": seed}
    fetch_synthetic({"type": "synthetic", **given}, "0", folder)
    assert read(folder) == World(noise, tails, heads=(1.0, 2.0), sinks=(0.5, 0.0), seed=seed)
