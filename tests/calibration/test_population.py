"""True energies: the U-statistic of a population, in blocks, and 0 where nothing is planted."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from abspos.calibration import population as module
from abspos.calibration.population import PlantedArm, energies, flat, write_energies
from abspos.calibration.worlds import World, draw, logits, planted
from abspos.statistics.energies import energy

WORLD = World(0.5, layers=2, seed=4)
LENGTH, EARLY, ANCHOR, NUMBER = 24, 6, 8, 30
WHOLE, LESS = PlantedArm(1.0, False, None, (5,)), PlantedArm(0.7, False, None, (5,))
NARROW, BARE = PlantedArm(1.0, False, 5, (5,)), PlantedArm(0.0, False, None, (5,))
GIVEN = {"length": LENGTH, "early": EARLY, "anchor": ANCHOR}


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:  # blocks of 7 inputs, the last one smaller
        patch.setattr(module, "BLOCK_BYTES", 7 * 8 * 2 * 3 * LENGTH**2)
        return energies(WORLD, [WHOLE, LESS, NARROW, BARE], WHOLE, population=NUMBER, **GIVEN)


def fields(arm):
    """The same population's fields, at one go."""
    rng = np.random.default_rng([WORLD.seed, 2**33])
    own = np.concatenate([draw(WORLD, n, LENGTH, rng) for n in (7, 7, 7, 7, 2)])
    made = torch.as_tensor(own + planted(WORLD, LENGTH, arm.left))
    return flat(made.flatten(1, 2), arm, EARLY, ANCHOR)


@pytest.mark.parametrize("arm", [WHOLE, LESS, NARROW], ids=["whole", "less", "narrow"])
def test_a_truth_is_the_energy_of_one_large_gram_matrix(found, arm):
    for key, x in fields(arm).items():
        wanted = energy((x @ x.mT).numpy()).reshape(2, 3)
        np.testing.assert_allclose(found[arm][key], wanted, rtol=1e-9, atol=1e-12, err_msg=key)


def test_the_cross_is_the_inner_product_with_bos(found):
    for lens in ("log", "probability"):
        key = ("early", lens, "residual")
        x, y = fields(LESS)[key], fields(WHOLE)[key]
        wanted = energy((x @ y.mT).numpy()).reshape(2, 3)
        np.testing.assert_allclose(found[LESS]["cross", lens, "residual"], wanted, rtol=1e-9)
        sides = [
            energy((fields(LESS)[k] @ fields(WHOLE)[k].mT).numpy()).reshape(2, 3)
            for k in (("early", lens, "row"), ("early", lens, "sink"))
        ]
        np.testing.assert_allclose(found[LESS]["cross", lens, "row+sink"], sum(sides), rtol=1e-9)
        for component in ("residual", "pattern"):
            np.testing.assert_allclose(
                found[WHOLE]["cross", lens, component],
                found[WHOLE]["early", lens, component],
                rtol=1e-12,
            )


def test_bins_and_components_are_those_of_a_study(found):
    assert {key[0] for key in found[WHOLE]} == {"early", "late", "beyond-5", "cross"}
    for arm in (WHOLE, NARROW):
        parts = {"mask", "residual", "row", "sink", "rest", "pattern"}
        late = {key[1:] for key in found[arm] if key[0] == "late"}
        assert late == set(product(("log", "probability"), parts))
        early = {key[1:] for key in found[arm] if key[0] == "early"}
        assert early == late | {("log", "anchored"), ("probability", "anchored")}
    beyond = {key[1:] for key in found[WHOLE] if key[0] == "beyond-5"}
    hidden = set(product(("log", "probability"), ("residual", "rest", "pattern")))
    assert beyond == hidden | {("log", "row")}
    crossed = {key[1:] for key in found[LESS] if key[0] == "cross"}
    assert crossed == set(product(("log", "probability"), ("residual", "row+sink", "pattern")))


def test_the_rest_is_what_row_and_sink_leave(found):
    for lens in ("log", "probability"):
        parts = [found[WHOLE]["early", lens, part] for part in ("row", "sink", "rest")]
        np.testing.assert_allclose(sum(parts), found[WHOLE]["early", lens, "residual"], rtol=1e-9)


def test_where_nothing_is_left_the_residual_is_zero_and_the_mask_is_not(found):
    for (which, lens, component), values in found[BARE].items():
        if component in module.RESIDUAL:
            assert (values == 0).all(), (which, lens, component)
        elif which == "early":
            assert (values > 0).all(), (which, lens, component)


def test_without_noise_every_input_is_the_truth():
    """What a population of equal inputs gives is the energy of one input's field."""
    world = World(0.0, layers=2)
    found = energies(world, [WHOLE], WHOLE, population=3, **GIVEN)[WHOLE]
    one = torch.as_tensor(logits(world, [0], LENGTH)).flatten(1, 2)
    for key, x in flat(one, WHOLE, EARLY, ANCHOR).items():
        np.testing.assert_allclose(found[key].ravel(), (x**2).sum((1, 2)), rtol=1e-9, atol=1e-15)


def test_the_table_has_a_row_for_every_head(tmp_path):
    source = {
        "type": "synthetic",
        "seed": 4,
        "layers": 2,
        "heads": [0.2, 1.0],
        "sinks": [3.0, 0.0],
        "drift": 1.0,
        "noise": 0.5,
        "tails": "normal",
    }
    arm = {"untrained": False, "window": None, "windows": []}
    arms = [
        {"variant": "standard", "condition": "bos", "left": 1.0, **arm},
        {"variant": "standard", "condition": "control-noop", "left": 1.0, **arm},
        {"variant": "standard", "condition": "swap-token-1", "left": 0.5, **arm},
        {"variant": "untrained", "condition": "bos", "left": 1.0, **arm, "untrained": True},
    ]
    write_energies(
        tmp_path / "t.csv",
        source=source,
        arms=arms,
        population=10,
        model="m",
        revision="seed-4",
        threads=1,
        **GIVEN,
    )
    table = pd.read_csv(tmp_path / "t.csv")
    cells = table.groupby(["variant", "condition", "bin", "lens", "component"]).size()
    assert (cells == 2 * 2).all()
    by_arm = {name: part["truth"].to_numpy() for name, part in table.groupby("condition")}
    noop, bos = by_arm["control-noop"], table[table["variant"] == "standard"]
    np.testing.assert_array_equal(noop, bos[bos["condition"] == "bos"]["truth"])
    bare = table[(table["variant"] == "untrained") & (table["component"] == "residual")]
    assert (bare["truth"] == 0).all()
