"""A variant as a checkpoint's own architecture: what its config states is what its layers have."""

from __future__ import annotations

import json

import pytest
import torch

from abspos.activations.capture import NAME
from abspos.activations.layers import layers_of
from abspos.models.families import BY_LAYER, IN_ALL, REFUSED, WITH_WINDOW
from abspos.models.loading import load
from abspos.models.native import native_config
from abspos.models.sources import ModelError, fetch_random, initialise, require_measurable

STANDARD = {"rope": None, "window": None, "untrained": False}
WINDOW = STANDARD | {"window": 6}
LENGTH = 24


def random(source, folder, family, **changes):
    folder.mkdir()
    fetch_random(source | {"family": family} | changes, "0", folder)
    return folder


def written(config, folder):
    """A checkpoint of a config, as training writes it."""
    folder.mkdir()
    initialise(config, 0, torch.float32).save_pretrained(folder)
    require_measurable(folder)
    return folder


def kinds(folder, variant=STANDARD):
    """Kind of each layer as an extraction finds it."""
    model = load(folder, variant, LENGTH, "float32", "cpu", 0)
    model.set_attn_implementation(NAME)
    embedding = model.get_input_embeddings().weight[5]
    window = variant["window"]
    return [layer.kind(window) for layer in layers_of(model, embedding, LENGTH, window)]


@pytest.mark.parametrize("family", [*WITH_WINDOW, *IN_ALL, *BY_LAYER])
def test_a_window_is_in_every_layer_whatever_the_family(source, tmp_path, family):
    start = random(source, tmp_path / "start", family, window=None)
    made = written(native_config(start, WINDOW, LENGTH), tmp_path / "made")
    assert kinds(made) == kinds(start, WINDOW)
    assert all(kind.startswith("sliding 6, ") for kind in kinds(made))


@pytest.mark.parametrize("kind", ["ntk", "linear", "yarn"])
def test_rope_is_in_the_config(source, tmp_path, kind):
    start = random(source, tmp_path / "start", "llama")
    variant = STANDARD | {"rope": {"rope_type": kind, "factor": 4.0}}
    made = written(native_config(start, variant, LENGTH), tmp_path / "made")
    assert kinds(made) == kinds(start, variant) != kinds(start)


def test_both_are(source, tmp_path):
    start = random(source, tmp_path / "start", "llama")
    variant = WINDOW | {"rope": {"rope_type": "ntk", "factor": 4.0}}
    made = written(native_config(start, variant, LENGTH), tmp_path / "made")
    assert kinds(made) == kinds(start, variant)


def test_no_change_leaves_the_config_as_it_was(source, tmp_path):
    start = random(source, tmp_path / "start", "llama")
    made = written(native_config(start, STANDARD, LENGTH), tmp_path / "made")
    before, after = (json.loads((f / "config.json").read_text()) for f in (start, made))
    assert before == after


def refused(folder, variant=WINDOW):
    with pytest.raises(ModelError) as error:
        native_config(folder, variant, LENGTH)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("family", ["gpt_neox", "gemma3_text", "granite"])
def test_a_family_that_cannot_state_a_window_in_every_layer_is_refused(source, tmp_path, family):
    assert family not in REFUSED
    why = refused(random(source, tmp_path / "start", family))
    assert "cannot be trained with a window" in why
    assert "llama, " in why


def test_a_llama_with_biases_is_no_mistral(source, tmp_path):
    start = random(source, tmp_path / "start", "llama")
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps(config | {"attention_bias": True}))
    assert "without biases" in refused(start)


def test_a_variant_that_cannot_act_is_refused(source, tmp_path):
    start = random(source, tmp_path / "start", "mistral", window=6)
    assert "inert" in refused(start)
