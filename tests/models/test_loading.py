"""A checkpoint loaded with a variant: what acts, what is refused, what follows from the seed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from abspos.activations.capture import NAME, forward
from abspos.models import loading as variants
from abspos.models.adapters import decoder_layers
from abspos.models.loading import describe, load, ntk_theta, variant_config
from abspos.models.sources import ModelError

STANDARD = {"name": "standard"}
ROPES = {
    "ntk": {"rope_type": "ntk", "factor": 4.0},
    "ntk below one": {"rope_type": "ntk", "factor": 0.5},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "longrope": {
        "rope_type": "longrope",
        "factor": 4.0,
        "short_factor": [2.0] * 4,
        "long_factor": [4.0] * 4,
    },
}


def states(folder, variant, length=32, seed=0):
    """Final hidden states of one input under a variant."""
    model = load(folder, variant, length, "float32", "cpu", seed)
    made = torch.Generator().manual_seed(5)
    given = torch.randn(1, length, model.config.hidden_size, generator=made)
    with torch.no_grad():
        return forward(model, given, None)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_an_unreadable_checkpoint_is_told(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "0")
    weights = tmp_path / "0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="transformers cannot load it") as error:
        load(tmp_path / "0", STANDARD, 32, "float32", "cpu", 0)
    one_line(error)


def test_weights_that_are_not_there_are_refused_and_not_drawn_at_random(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "part")
    tensors = load_file(tmp_path / "part/model.safetensors")
    for name in "qk":
        del tensors[f"model.layers.1.self_attn.{name}_proj.weight"]
    save_file(tensors, tmp_path / "part/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"2 of the model's tensors .*layers\.1\.") as error:
        load(tmp_path / "part", STANDARD, 32, "float32", "cpu", 0)
    assert "\n" not in str(error.value)


def test_a_model_comes_ready_to_measure(checkpoint):
    model = load(checkpoint, STANDARD, 32, "bfloat16", "cpu", 0)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in model.parameters())
    assert len(decoder_layers(model)) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_told(checkpoint):
    with pytest.raises(ModelError, match="device 'cuda': no GPU"):
        load(checkpoint, STANDARD, 32, "float32", "cuda", 0)


def test_inputs_longer_than_the_context_are_refused(checkpoint):
    variant_config(checkpoint, STANDARD, 256)
    with pytest.raises(ModelError, match=r"inputs\.length 257: the model's context is 256"):
        variant_config(checkpoint, STANDARD, 257)


def test_describe_is_plain(checkpoint):
    found = describe(checkpoint)
    assert found["model_type"] == "llama"
    assert found["num_hidden_layers"] == 3
    assert json.loads(json.dumps(found)) == found


# untrained weights


def test_untrained_weights_depend_on_the_seed_alone(checkpoint):
    untrained = {"name": "untrained", "untrained": True}
    torch.manual_seed(1)
    one = load(checkpoint, untrained, 32, "float32", "cpu", 0).state_dict()
    torch.manual_seed(2)
    again = load(checkpoint, {**untrained, "window": 5}, 64, "float32", "cpu", 0).state_dict()
    other = load(checkpoint, untrained, 32, "float32", "cpu", 1).state_dict()
    trained = load(checkpoint, STANDARD, 32, "float32", "cpu", 0).state_dict()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], trained[name])
    assert {n: t.shape for n, t in one.items()} == {n: t.shape for n, t in trained.items()}


def test_untrained_weights_leave_the_global_state_alone(checkpoint):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load(checkpoint, {"untrained": True}, 32, "float32", "cpu", 0)
    assert torch.equal(torch.rand(1), expected)


# rope


@pytest.mark.parametrize(
    ("theta", "factor", "size", "expected"),
    [(1e4, 1.0, 64, 1e4), (1.0, 8.0, 4, 64.0), (1e5, 8.0, 64, 1e5 * 8 ** (64 / 62))],
)
def test_ntk_theta(theta, factor, size, expected):
    assert ntk_theta(theta, factor, size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [0.5, 2.0, 8.0])
def test_ntk_stretches_the_slowest_frequency_by_its_factor(factor):
    """What NTK-aware scaling is for: the slowest by f, the fastest not at all."""
    d, theta = 64, 10000.0

    def frequencies(base):
        return base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)

    ratio = frequencies(theta) / frequencies(ntk_theta(theta, factor, d))
    torch.testing.assert_close(ratio[-1], torch.tensor(factor, dtype=torch.float64))
    assert ratio[0] == 1


def test_ntk_changes_the_base_in_the_config(checkpoint):
    config = variant_config(checkpoint, {"rope": ROPES["ntk"]}, 32)
    assert config.rope_parameters["rope_theta"] == pytest.approx(10000 * 4 ** (8 / 6))
    assert config.rope_parameters["rope_type"] == "default"


@pytest.mark.parametrize("name", ROPES)
def test_rope_variants_act(checkpoint, name):
    plain, varied = states(checkpoint, STANDARD), states(checkpoint, {"rope": ROPES[name]})
    assert torch.equal(plain[:, 0], varied[:, 0]), "position 0 attends to itself alone"
    assert (plain[:, 1:] - varied[:, 1:]).abs().max() > 1e-3


def test_linear_scaling_is_position_over_factor(checkpoint):
    scaled, plain = (
        load(checkpoint, {"rope": rope}, 32, "float32", "cpu", 0).model.rotary_emb
        for rope in ({"rope_type": "linear", "factor": 2.0}, None)
    )
    position = torch.arange(32)[None]
    for found, expected in zip(
        scaled(torch.zeros(1), position), plain(torch.zeros(1), position / 2), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_dynamic_rope_is_inert_within_the_context(checkpoint):
    dynamic = {"rope": {"rope_type": "dynamic", "factor": 4.0}}
    for length in (32, 256):
        with pytest.raises(ModelError, match=f"inert while inputs.length {length} <= ") as error:
            variant_config(checkpoint, dynamic, length)
        one_line(error)


def test_dynamic_rope_acts_beyond_the_context(checkpoint):
    dynamic = {"rope": {"rope_type": "dynamic", "factor": 4.0}}
    varied = load(checkpoint, dynamic, 300, "float32", "cpu", 0).model.rotary_emb
    plain = load(checkpoint, STANDARD, 256, "float32", "cpu", 0).model.rotary_emb
    for length, same in ((256, True), (300, False)):
        position = torch.arange(length)[None]
        found, expected = (rope(torch.zeros(1), position)[0] for rope in (varied, plain))
        assert torch.equal(found, expected) == same


def test_rope_that_is_scaled_already_is_refused(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "0")
    path = tmp_path / "0" / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    path.write_text(json.dumps(config))
    with pytest.raises(
        ModelError, match="rope_type 'linear': the checkpoint's RoPE is scaled"
    ) as e:
        variant_config(tmp_path / "0", {"rope": ROPES["ntk"]}, 32)
    one_line(e)
    variant_config(tmp_path / "0", {"window": 5}, 32)


def test_a_config_without_a_rope_base_is_told(checkpoint):
    config = variant_config(checkpoint, STANDARD, 32)
    config.rope_parameters = None
    with pytest.raises(ModelError, match="need a rope_theta"):
        variants.apply_rope(config, ROPES["ntk"])


@pytest.mark.parametrize("variant", [STANDARD, {"window": 5}, {"rope": ROPES["ntk"]}])
def test_a_variant_travels_in_the_config(checkpoint, variant):
    model = load(checkpoint, variant, 32, "float32", "cpu", 0)
    model.set_attn_implementation(NAME)
    assert model.config.abspos_window == variant.get("window")
