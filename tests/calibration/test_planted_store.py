"""A synthetic model as stores: the layout of any model, the Grams of the simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abspos.arrays import open_dataset
from abspos.calibration import simulation as calibration
from abspos.calibration.planted_store import Planting, plant
from abspos.calibration.simulation import EARLY, LENGTH, fields
from abspos.calibration.worlds import World, logits, read
from abspos.components.store import Decomposition, decompose_run
from abspos.inputs.windows import prepare
from abspos.models.sources import ModelError, fetch
from abspos.statistics.packing import unpack
from abspos.statistics.replicates import packed_grams
from abspos.stores import Stored
from abspos.study.fields import SyntheticSource

NUMBER = 12
SOURCE = {"type": "synthetic", "seed": 3, "layers": 4, "tails": "few"}
WORLD = World(1.0, "few", seed=3)
FULL = {"rope": None, "window": None, "untrained": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus):
    """Checkpoint and windows of a synthetic model, each with its manifest."""
    folder = tmp_path_factory.mktemp("synthetic")
    checkpoint = folder / "checkpoint", folder / "checkpoint.json"
    fetch(SyntheticSource(**SOURCE).model_dump(mode="json"), "seed-3", *checkpoint)
    windows = folder / "inputs.zarr", folder / "inputs.json"
    prepare(
        str(corpus),
        str(checkpoint[0]),
        *map(str, windows),
        number=NUMBER,
        length=LENGTH,
        start="random",
        seed=0,
    )
    return checkpoint, windows


@pytest.fixture(scope="module")
def arm(made, tmp_path_factory):
    """arm(condition, variant, left, dtype) -> activation store and its manifest."""

    def run(condition="bos", variant=None, left=1.0, dtype="float32", batch=5):
        folder = tmp_path_factory.mktemp("arm")
        stored = Stored(folder / "a.zarr", folder / "a.json")
        settings = Planting(
            FULL | (variant or {}), condition, NUMBER, "a", 0, dtype, batch, 0, left=left
        )
        # Paths are plain text, as Snakemake hands them to a script.
        pairs = (Stored(*map(str, pair)) for pair in (*made, stored))
        plant(*pairs, settings, threads=1, label="synthetic")
        return stored

    return run


@pytest.fixture(scope="module")
def decomposed(made, arm, tmp_path_factory):
    """decomposed(...) -> component store of an arm, in memory."""

    def run(*given, **others):
        folder = tmp_path_factory.mktemp("components")
        stored = folder / "c.zarr", folder / "c.json"
        settings = Decomposition(EARLY, 63, [6], keep_fields=True)
        arms = (arm(*given, **others), Stored(*made[1]), Stored(*stored))
        decompose_run(*arms, settings, device="cpu", threads=1, label="synthetic")
        return open_dataset(*stored).load()

    return run


@pytest.mark.parametrize("left", [1.0, 0.8])
def test_grams_are_those_of_the_simulated_studies(decomposed, left):
    """Through checkpoint, store and decomposition, or in memory: the same to rounding."""
    store = decomposed(left=left)
    direct = fields(logits(WORLD, range(NUMBER), LENGTH, left))
    for key, packed in packed_grams(store, "early").items():
        if key[1] not in calibration.COMPONENTS:
            continue
        wanted = (direct[key] @ direct[key].mT).reshape(4, 3, NUMBER, NUMBER).numpy()
        scale = np.abs(wanted).max(axis=(-2, -1), keepdims=True)
        found = unpack(packed, NUMBER)
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2e-6, err_msg=str(key))


def test_a_store_has_the_layout_of_any_model(arm, activations):
    """The same arrays, dimensions, dtypes and attributes as those of a model that ran."""
    for condition in ("bos", "no-bos"):
        model = open_dataset(*activations[condition])
        planted = open_dataset(*arm(condition))
        assert set(planted.variables) == set(model.variables)
        for name, variable in model.variables.items():
            assert planted[name].dims == variable.dims, name
            assert planted[name].dtype == variable.dtype, name
        assert set(planted.attrs) == set(model.attrs)


def test_what_is_stored_in_float32_is_what_was_planted(arm):
    stored = open_dataset(*arm())
    found = stored.attrs["certificates"]
    assert found["logits"] == found["weights"] == found["masked"] == 0
    assert found["inputs"] == 2
    assert found["positions"] == LENGTH
    assert max(stored.attrs["closed_trajectory"]) == 0


def test_what_was_planted_otherwise_is_refused(made, tmp_path, monkeypatch):
    from abspos.calibration import planted_store as synthetic_store

    real = synthetic_store.logits
    calls = iter(range(100))
    monkeypatch.setattr(  # what is stored is not what the certificate asks for again
        synthetic_store, "logits", lambda *a, **k: real(*a, **k) * (1 + 0.01 * (next(calls) > 0))
    )
    with pytest.raises(ModelError, match="certificate 'logits': layer 0: relative error"):
        plant(
            Stored(*made[0]),
            Stored(*made[1]),
            Stored(tmp_path / "a.zarr", tmp_path / "a.json"),
            Planting(FULL, "bos", NUMBER, None, 0, "float32", NUMBER, 0),
            threads=1,
            label="synthetic",
        )
    assert not (tmp_path / "a.zarr").exists()


def test_the_checkpoint_states_its_world(made):
    assert read(made[0][0]) == WORLD


def test_position_0_is_what_the_condition_says(arm):
    """Constant under BOS and under one token, the text's own without BOS."""
    states = {c: open_dataset(*arm(c))["state0"].values for c in ("bos", "no-bos", "swap-token-1")}
    for condition in ("bos", "swap-token-1"):
        assert np.ptp(states[condition], axis=1).max() == 0
    assert np.ptp(states["no-bos"], axis=1).max() > 0
    assert np.abs(states["bos"] - states["swap-token-1"]).max() > 0


def test_noop_is_bos_whatever_the_batch(arm):
    first, second = (open_dataset(*arm(c, batch=b)) for c, b in (("bos", 5), ("control-noop", 3)))
    for name in ("q", "k", "state0", "loss"):
        np.testing.assert_array_equal(first[name].values, second[name].values)


def test_a_window_hides_position_0_and_changes_no_logit(arm, decomposed):
    full, narrow = open_dataset(*arm()), open_dataset(*arm(variant={"window": 6}))
    np.testing.assert_array_equal(full["q"].values, narrow["q"].values)
    assert narrow.attrs["window"] == [6] * 4
    assert narrow.attrs["kind"] == ["sliding 6"] * 4
    assert decomposed(variant={"window": 6})["a_1_64"].values.max() < 1


def test_bfloat16_is_kept_as_its_bits(arm):
    stored = open_dataset(*arm(dtype="bfloat16"))
    assert stored["q"].dtype == np.uint16
    assert 1e-4 < stored.attrs["certificates"]["logits"] < 1e-2


def test_untrained_has_nothing_planted(arm):
    """Of an untrained arm the mean over inputs of a relative part is noise around 0."""
    stored = open_dataset(*arm(variant={"untrained": True}))
    wanted = torch.as_tensor(logits(WORLD, range(NUMBER), LENGTH, untrained=True)).float()
    np.testing.assert_array_equal(stored["q"].values, wanted.transpose(0, 1).numpy())
