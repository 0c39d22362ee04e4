"""Simulated studies: what is planted is found, and the truth they are held to is the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from abspos.calibration import simulation as module
from abspos.calibration.simulation import LENGTH, calibrate, fields, one_study, simulate, summarise
from abspos.calibration.worlds import World, planted
from abspos.logits import rebuilt_logits
from abspos.statistics.energies import energy

SMALL = World(0.5)


def test_any_logits_are_those_of_some_queries_and_keys():
    """q = rows of s, k = unit vectors: what is planted could stand in an activation store."""
    s = torch.as_tensor(planted(SMALL, LENGTH)).flatten(0, 1)[None]
    k = torch.eye(s.shape[-1], dtype=s.dtype).expand(*s.shape)
    torch.testing.assert_close(rebuilt_logits(s, k, 1.0), s, rtol=0, atol=0)


def test_a_toeplitz_part_alone_has_no_residual():
    flat = fields(planted(SMALL, LENGTH, left=0.0)[None])
    assert float(flat["log", "residual"].abs().max()) < 1e-9
    assert float(flat["probability", "residual"].abs().max()) < 1e-9
    assert float(flat["log", "mask"].abs().max()) > 0.1


def test_planted_residuals_grow_with_depth_and_shrink_with_what_is_left():
    whole, less = (
        fields(planted(SMALL, LENGTH, left)[None])["log", "residual"] for left in (1.0, 0.8)
    )
    sizes = (whole**2).sum((1, 2)).reshape(module.LAYERS, module.HEADS)
    assert (sizes.diff(dim=0) > 0).all()
    assert ((less**2).sum((1, 2)) < (whole**2).sum((1, 2))).all()


def test_the_truth_is_the_energy_of_the_population(monkeypatch):
    """Sums in blocks against one large Gram matrix."""
    monkeypatch.setattr(module, "BLOCK", 25)
    found = module.truth(SMALL, 3, 60)
    rng = np.random.default_rng([3, 1])
    own = np.concatenate([module.draw(SMALL, n, LENGTH, rng) for n in (25, 25, 10)])
    x = fields(planted(SMALL, LENGTH) + own)["log", "mask"]
    by_head = energy((x @ x.mT).numpy()).reshape(module.LAYERS, module.HEADS)
    np.testing.assert_allclose(found["mask energy, each head", "log"], by_head, rtol=1e-9)
    np.testing.assert_allclose(
        found["mask energy, median head", "log"], np.median(by_head, axis=1).mean(), rtol=1e-9
    )


def test_both_arms_have_the_same_inputs():
    """Noise is paired: with nothing taken away the second arm would be the first."""
    made = simulate(SMALL, 4, np.random.default_rng(0))
    again = simulate(SMALL, 4, np.random.default_rng(0))
    for key, gram in made.items():
        np.testing.assert_array_equal(gram, again[key])
    assert not np.allclose(made["first", "log", "residual"], made["second", "log", "residual"])


def test_heavy_tails_are_heavy():
    rng = np.random.default_rng(0)
    sizes = {
        tails: (module.draw(World(1.0, tails), 400, LENGTH, rng) ** 2).sum((1, 2, 3, 4))
        for tails in ("normal", "heavy")
    }
    share = {t: np.sort(s)[-5:].sum() / s.sum() for t, s in sizes.items()}
    assert share["heavy"] > 5 * share["normal"]


@pytest.fixture(scope="module")
def studies():
    return [one_study(SMALL, (8, 32), 0, study) for study in range(40)]


@pytest.fixture(scope="module")
def expected():
    return module.truth(SMALL, 0, 4000)


def test_intervals_cover(studies, expected):
    table = summarise(SMALL, expected, studies)
    large = table[table["n_inputs"] == 32]
    assert (large["coverage"] > 0.8).all()
    assert large["coverage"].mean() > 0.9
    # Of single heads: their median is no U-statistic, and not without bias.
    energies = large[large["number"].str.endswith("energy, each head")]
    assert (energies["bias"].abs() < 4 * energies["spread"] / np.sqrt(40)).all()


def test_a_wrong_truth_is_not_covered(studies, expected):
    wrong = {key: 1.5 * value for key, value in expected.items()}
    table = summarise(SMALL, wrong, studies)
    large = table[(table["n_inputs"] == 32) & (table["number"] == "mask energy, median head")]
    assert (large["coverage"] < 0.2).all()


def test_a_table_for_every_world(tmp_path):
    worlds = (World(0.5), World(1.0, "heavy"))
    calibrate(
        tmp_path / "c.csv",
        studies=6,
        inputs=[4, 8],
        population=40,
        seed=0,
        threads=1,
        worlds=worlds,
    )
    table = pd.read_csv(tmp_path / "c.csv")
    assert len(table) == 2 * 2 * 20
    assert set(table["studies"]) == {6}
    assert (
        (table["coverage_low"] <= table["coverage"] + 1e-9)
        & (table["coverage"] <= table["coverage_high"] + 1e-9)
    ).all()
