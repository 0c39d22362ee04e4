"""Extraction: what a store holds is what the model computed, or there is no store."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from abspos.activations import extract as module
from abspos.activations import losses
from abspos.activations import store as activation_store
from abspos.activations.arms import Embeddings, Extraction
from abspos.activations.capture import NAME, forward, listening
from abspos.activations.interventions import InterventionError
from abspos.activations.losses import LOSS_STRIDE
from abspos.arrays import NonFiniteError, from_bits, open_dataset, save_dataset, to_bits
from abspos.models.loading import load
from abspos.models.sources import ModelError, fetch_random
from abspos.models.tokenizer import TokenizerError, tokenizer_of
from abspos.stores import Stored, StoreError, write_manifest

LAYERS, INPUTS, HEADS, KV, LENGTH, SIZE, HIDDEN = 3, 16, 4, 2, 32, 8, 32


def opened(stored):
    return open_dataset(*stored).load()


@pytest.fixture(scope="module")
def bos(activations):
    return opened(activations["bos"])


@pytest.fixture(scope="module")
def given(checkpoint, windows):
    """Tokens, and input embeddings with BOS in place, made by hand."""
    tokens = torch.as_tensor(open_dataset(*windows)["tokens"].values).long()
    table = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    embeddings = table[tokens]
    embeddings[:, 0] = table[0]
    return tokens, embeddings


def plain(checkpoint):
    return AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager").eval()


def altered(checkpoint, folder, change):
    """A copy of the checkpoint with its weights changed in place."""
    shutil.copytree(checkpoint, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def nothing_left(folder):
    return sorted(p.name for p in folder.iterdir()) == []


# what a store holds


def test_dimensions(bos):
    assert {name: (a.dims, a.shape) for name, a in bos.data_vars.items()} == {
        "q": (
            ("layer", "input", "head", "position", "feature"),
            (LAYERS, INPUTS, HEADS, LENGTH, SIZE),
        ),
        "k": (
            ("layer", "input", "kv_head", "position", "feature"),
            (LAYERS, INPUTS, KV, LENGTH, SIZE),
        ),
        "v0": (("layer", "input", "value_head", "feature"), (LAYERS, INPUTS, KV, SIZE)),
        "write0": (("layer", "head", "hidden"), (LAYERS, HEADS, HIDDEN)),
        "state0": (("depth", "input", "hidden"), (LAYERS + 1, INPUTS, HIDDEN)),
        "grand_mean": (("depth", "hidden"), (LAYERS + 1, HIDDEN)),
        "by_position": (("depth", "position"), (LAYERS + 1, LENGTH)),
        "square": (("depth", "position"), (LAYERS + 1, LENGTH)),
        "by_input": (("depth", "input"), (LAYERS + 1, INPUTS)),
        "median": (("depth", "input"), (LAYERS + 1, INPUTS)),
        "largest": (("depth", "input"), (LAYERS + 1, INPUTS)),
        "loss": (("input",), (INPUTS,)),
    }


@torch.no_grad()
def test_queries_and_keys_are_those_of_the_model(bos, given, checkpoint):
    model = load(checkpoint, {}, LENGTH, "float32", "cpu", 0)
    model.set_attn_implementation(NAME)
    for part in (slice(0, 8), slice(8, 16)):

        def compare(seen, part=part):
            np.testing.assert_array_equal(bos["q"][seen.layer, part], seen.query)
            np.testing.assert_array_equal(bos["k"][seen.layer, part], seen.key)
            np.testing.assert_array_equal(bos["v0"][seen.layer, part], seen.value[:, :, 0])

        with listening(compare):
            forward(model, given[1][part], None)


@torch.no_grad()
def test_states_and_loss_are_those_of_the_eager_model(bos, given, checkpoint):
    tokens, embeddings = given
    out = plain(checkpoint)(inputs_embeds=embeddings, output_hidden_states=True)
    for depth in range(LAYERS):  # the last one stands before the final norm
        state = out.hidden_states[depth].double().numpy()
        np.testing.assert_allclose(bos["state0"][depth], state[:, 0], rtol=1e-4, atol=1e-6)
        mu = state[:, 1:].mean((0, 1))
        away = ((state.mean(0) - mu) ** 2).sum(-1)
        np.testing.assert_allclose(bos["grand_mean"][depth], mu, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(bos["by_position"][depth], away, rtol=1e-4)
        np.testing.assert_allclose(bos["square"][depth], (state**2).sum((0, 2)), rtol=1e-4)
        by_input = ((state[:, 1:].mean(1) - mu) ** 2).sum(-1)
        np.testing.assert_allclose(bos["by_input"][depth], by_input, rtol=1e-4)
        magnitude = np.sort(np.abs(state).reshape(INPUTS, -1), axis=-1)
        middle = (magnitude.shape[-1] - 1) // 2
        np.testing.assert_allclose(bos["median"][depth], magnitude[:, middle], rtol=1e-4)
        largest = np.abs(state[:, 1:]).max((1, 2))
        np.testing.assert_allclose(bos["largest"][depth], largest, rtol=1e-4)
    log_p = out.logits.double().log_softmax(-1)
    scored = range(LENGTH // 2, LENGTH - 1, LOSS_STRIDE)
    for n in range(INPUTS):
        expected = -np.mean([log_p[n, i, tokens[n, i + 1]] for i in scored])
        assert bos["loss"][n] == pytest.approx(expected, rel=1e-4)


def test_attributes(bos, checkpoint):
    attrs = bos.attrs
    assert attrs["condition"] == "bos"
    assert attrs["variant"] == {"name": "standard"}
    assert attrs["dtype"] == "float32"
    assert attrs["window"] == [None] * LAYERS
    np.testing.assert_allclose(attrs["scale"], SIZE**-0.5)
    assert attrs["certificates"]["masked"] == 0
    assert max(attrs["certificates"][n] for n in ("output", "logits", "weights")) < 1e-5
    assert attrs["certificates"]["inputs"] == 2
    assert attrs["checkpoint"]["model_type"] == "llama"
    assert str(checkpoint) not in json.dumps(attrs), "no path of this machine"


def test_window_is_an_attribute_of_each_layer(activations):
    assert opened(activations["window"]).attrs["window"] == [6] * LAYERS


def test_progress_is_told(run, tmp_path, lines):
    run(tmp_path, number=16, batch=8)
    assert lines() == ["tiny/bos: 2/2 batches of 8 inputs, about 0:00 left"]


# position 0 is a closed system


def test_state_at_position_0_is_one_under_bos(bos, activations):
    for name in ("bos", "window"):
        state0 = opened(activations[name])["state0"].values
        assert (state0 == state0[:, :1]).all()
    varied = opened(activations["no-bos"])["state0"].values
    assert (varied != varied[:, :1]).any()
    v0 = bos["v0"].values
    assert (v0 == v0[:, :1]).all()


def test_trajectory_is_closed(activations, run, tmp_path):
    shifted = run(tmp_path, "control-shift")
    for stored in (*activations.values(), shifted):
        errors = opened(stored).attrs["closed_trajectory"]
        assert len(errors) == LAYERS + 1
        assert max(errors) < 1e-5


def test_an_open_trajectory_would_be_seen(checkpoint):
    model = load(checkpoint, {}, LENGTH, "float32", "cpu", 0)
    starts = torch.randn(2, HIDDEN)
    zeros = np.zeros((LAYERS + 1, 2, HIDDEN), dtype=np.float32)
    with torch.no_grad():
        right = module.trajectory_error(model, starts, None, zeros + 1)
    assert min(right) > 0.1


def test_zeros_stay_zeros(run, tmp_path):
    found = opened(run(tmp_path, "ablate-zero"))
    assert (found["state0"] == 0).all()
    assert (found["v0"] == 0).all()
    assert (found["k"][..., 0, :] == 0).all()
    assert found.attrs["closed_trajectory"] == [0] * (LAYERS + 1)


# conditions


def test_control_noop_is_bos_bit_for_bit(bos, run, tmp_path):
    noop = opened(run(tmp_path, "control-noop", number=8))
    for name in ("q", "k", "v0", "state0", "loss"):
        same = bos[name].isel(input=slice(0, 8))
        np.testing.assert_array_equal(noop[name], same, err_msg=name)


def test_control_noop_of_all_inputs_is_the_same_store(activations, run, tmp_path):
    noop = run(tmp_path, "control-noop")
    digests = [json.loads(m.read_text())["files"] for _, m in (activations["bos"], noop)]
    differ = {n for n in digests[0] if digests[0][n] != digests[1].get(n)}
    assert {n for n in differ if not n.startswith("write0/")} == {"zarr.json"}


def test_control_shift_changes_attention_by_rounding_alone(bos, run, tmp_path):
    shifted = opened(run(tmp_path, "control-shift"))
    assert np.abs(shifted["q"] - bos["q"]).max() > 0.1
    np.testing.assert_allclose(shifted["loss"], bos["loss"], rtol=1e-5)
    np.testing.assert_allclose(shifted["state0"], bos["state0"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("condition", ["control-shift", "shift"])
def test_shifts_are_refused_before_weights_are_read(
    condition, run, tmp_path, checkpoint, monkeypatch
):
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    config = json.loads((model / "config.json").read_text())
    dynamic = {"rope_type": "dynamic", "factor": 2.0}
    variant = {"name": "standard"}
    if condition == "shift":  # the frequencies of T positions are not those of T / 2
        config["max_position_embeddings"] = LENGTH - 1
        variant["rope"] = dynamic
    else:
        config["max_position_embeddings"] = LENGTH
        config["rope_parameters"] = dynamic | {"rope_theta": 1e4}
    (model / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(module.loading, "load", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(InterventionError, match=rf"condition '{condition}': at inputs.length 32 "):
        run(tmp_path / "out", condition, variant, checkpoint=model)


def test_the_arm_shift_is_bos_half_a_window_earlier(shift_pair, run, windows, tmp_path):
    """Whole arms, losses too: as if that window had been drawn, but for the rotation."""
    _, made, _ = shift_pair
    shifted, drawn = opened(made), open_dataset(*windows)
    whole = np.concatenate([drawn["before"].values, drawn["tokens"].values], axis=1)
    earlier = drawn.assign(tokens=(("input", "position"), whole[:, :LENGTH]))
    save_dataset(earlier, tmp_path / "in.zarr", tmp_path / "in.json")
    inputs = Stored(tmp_path / "in.zarr", tmp_path / "in.json")
    plain = opened(run(tmp_path / "out", "bos", windows=inputs))
    for name in ("v0", "state0", "loss", "square"):
        np.testing.assert_allclose(shifted[name], plain[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.abs(shifted["k"] - plain["k"]).max() > 0.1


def test_conditions_change_the_numbers(bos, activations, run, tmp_path):
    for condition in ("swap-token-1", "swap-mean"):
        assert np.abs(opened(run(tmp_path, condition))["q"] - bos["q"]).max() > 1e-3
    no_bos = opened(activations["no-bos"])
    assert (no_bos["q"][0, :, :, 1:] == bos["q"][0, :, :, 1:]).all(), "layer 0 sees its own token"
    assert np.abs(no_bos["q"][1, :, :, 1:] - bos["q"][1, :, :, 1:]).max() > 1e-3


def test_batches_do_not_matter(bos, run, tmp_path):
    other = opened(run(tmp_path, batch=5))
    for name in bos.data_vars:
        np.testing.assert_allclose(other[name], bos[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_untrained_weights_are_another_model(bos, run, tmp_path):
    untrained = {"name": "untrained", "untrained": True}
    one, two = (opened(run(tmp_path, variant=untrained, seed=s)) for s in (0, 1))
    assert np.abs(one["q"] - bos["q"]).max() > 0.1
    assert np.abs(one["q"] - two["q"]).max() > 1e-3


def test_what_heads_write_from_position_0(bos, activations, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    for layer, head in np.ndindex(LAYERS, HEADS):
        w = weights[f"model.layers.{layer}.self_attn.o_proj.weight"].numpy()
        v = bos["v0"].values[layer, 0, head // 2]
        expected = w[:, head * SIZE : (head + 1) * SIZE] @ v
        np.testing.assert_allclose(bos["write0"][layer, head], expected, atol=1e-6)
    assert "write0" not in opened(activations["no-bos"]), "its token differs between inputs"


# bfloat16


def test_bfloat16_is_stored_without_loss(run, tmp_path, checkpoint, given):
    found = opened(run(tmp_path, dtype="bfloat16"))
    assert found["q"].dtype == found["k"].dtype == np.uint16
    assert found["q"].attrs["scalar"] == found["k"].attrs["scalar"] == "bfloat16"
    model = load(checkpoint, {}, LENGTH, "bfloat16", "cpu", 0)
    model.set_attn_implementation(NAME)

    def compare(seen):
        bits = found["q"][seen.layer, :8].values
        np.testing.assert_array_equal(from_bits(bits), seen.query.float())
        np.testing.assert_array_equal(to_bits(from_bits(bits)), bits)

    with torch.no_grad(), listening(compare):
        forward(model, given[1][:8].bfloat16(), None)


@pytest.fixture
def shapes_matter(monkeypatch):
    """Products of matrices that round otherwise in a batch of another size, as AMX does."""
    exact = torch.nn.Linear.forward

    def rounded(self, x):
        found = exact(self, x)
        up = torch.arange(found.shape[-1]) % 2 == len(x) % 2
        return torch.where(up & (x.shape[0] > 2), found * (1 + 2**-5), found)

    monkeypatch.setattr(torch.nn.Linear, "forward", rounded)


@pytest.mark.usefixtures("shapes_matter")
def test_in_bfloat16_the_certificate_repeats_a_whole_batch(run, tmp_path, monkeypatch):
    """A pass over the sample alone would differ from the stored one by more than is allowed."""
    found = opened(run(tmp_path, dtype="bfloat16", batch=8)).attrs["certificates"]
    assert found["inputs"] == 2
    assert found["output"] < 0.01
    monkeypatch.setattr(module, "rerun", lambda batch, dtype: 2)
    with pytest.raises(ModelError, match="certificate 'output'"):
        run(tmp_path, dtype="bfloat16", batch=8)


# failures leave nothing


@pytest.mark.parametrize(
    ("tensor", "rows", "layer", "what"),
    [
        ("layers.1.self_attn.q_proj", slice(16, 24), 1, "query head 2"),
        ("layers.2.self_attn.k_proj", slice(8, 16), 2, "key head 1"),
        ("layers.0.mlp.down_proj", slice(0, 1), 1, "query head 0"),
    ],
)
def test_a_nan_is_named_by_layer_head_and_input(
    checkpoint, run, tmp_path, tensor, rows, layer, what
):
    def spoil(tensors):
        tensors[f"model.{tensor}.weight"][rows] = torch.nan

    spoilt = altered(checkpoint, tmp_path / "model", spoil)
    (tmp_path / "out").mkdir()
    with pytest.raises(NonFiniteError) as error:
        run(tmp_path / "out", checkpoint=spoilt)
    text = str(error.value)
    assert f"tiny/bos: NaN or infinity in layer {layer}, {what}, input 0" in text
    assert "\n" not in text
    assert nothing_left(tmp_path / "out")


def test_the_input_of_a_nan_is_counted_over_all_batches(run, tmp_path, monkeypatch):
    real = module.embed

    def spoilt(model, tokens, part, *rest):
        given = real(model, tokens, part, *rest)
        if 11 in given.numbers:
            given.embeddings[given.numbers.index(11), 20] = torch.inf
        return given

    monkeypatch.setattr(module, "embed", spoilt)
    with pytest.raises(NonFiniteError, match="layer 0, query head 0, input 11;"):
        run(tmp_path)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("room", [1, 4 * 8 * 258 * 3])
def test_a_loss_of_few_positions_at_a_time_is_the_same(run, tmp_path, monkeypatch, bos, room):
    monkeypatch.setattr(losses, "LOGIT_BYTES", room)
    np.testing.assert_allclose(opened(run(tmp_path))["loss"], bos["loss"], rtol=1e-6)


def test_replacements_are_not_scored_and_still_checked(checkpoint, run, tmp_path):
    found = opened(run(tmp_path, "swap-mean"))
    assert np.isnan(found["loss"]).all()

    def spoil(tensors):
        tensors["model.layers.2.mlp.down_proj.weight"][3] = torch.nan

    spoilt = altered(checkpoint, tmp_path / "model", spoil)
    with pytest.raises(NonFiniteError, match="output of the last layer, input 0"):
        run(tmp_path, "swap-mean", checkpoint=spoilt)


def test_embeddings_are_those_that_the_first_layer_gets(source, tmp_path):
    """Gemma scales what its table holds."""
    fetch_random(source | {"family": "gemma3_text"}, "0", tmp_path)
    module = load(tmp_path, {}, LENGTH, "float32", "cpu", 0).get_input_embeddings()
    found, every = Embeddings(module), torch.arange(258)
    assert len(found) == 258
    torch.testing.assert_close(found[3:9], module(every)[3:9], rtol=0, atol=0)
    torch.testing.assert_close(found[[7, 5]], module(every)[[7, 5]], rtol=0, atol=0)
    torch.testing.assert_close(found[0], module.weight[0] * HIDDEN**0.5)


# tokenizers as they are


@pytest.fixture(scope="module")
def prepending(checkpoint, tmp_path_factory):
    """The checkpoint with a tokenizer that adds BOS by itself."""
    folder = tmp_path_factory.mktemp("prepending") / "model"
    shutil.copytree(checkpoint, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("a")["input_ids"][0] == 0
    return folder


@pytest.mark.parametrize(
    ("adds", "policy", "has"),
    [
        (True, "auto", True),
        (False, "auto", False),
        (False, "prepend", True),
        (True, "none", False),
    ],
)
@torch.no_grad()
def test_as_is_a_text_is_what_the_tokenizer_makes_of_it(
    run, draw_into, tmp_path, prepending, checkpoint, given, adds, policy, has
):
    folder = prepending if adds else checkpoint
    inputs = draw_into(tmp_path, folder)
    found = opened(run(tmp_path, "as-is", checkpoint=folder, windows=inputs, bos=policy))
    tokens = given[0]
    if has:  # the whole text, cut to the same length
        tokens = torch.cat([torch.zeros(INPUTS, 1, dtype=torch.long), tokens[:, :-1]], 1)
    out = plain(checkpoint)(tokens, output_hidden_states=True)
    state = out.hidden_states[1][:, 0]
    np.testing.assert_allclose(found["state0"][1], state, rtol=1e-4, atol=1e-6)
    log_p = out.logits.double().log_softmax(-1)
    scored = range(LENGTH // 2, LENGTH - 1, LOSS_STRIDE)
    expected = [-np.mean([log_p[n, i, tokens[n, i + 1]] for i in scored]) for n in range(INPUTS)]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-4)


def test_a_bos_that_is_not_there_cannot_be_prepended(source, draw_into, run, tmp_path):
    fetch_random(source | {"bos": False}, "0", tmp_path / "model")
    given = {"checkpoint": tmp_path / "model", "windows": draw_into(tmp_path, tmp_path / "model")}
    with pytest.raises(InterventionError, match=r"inputs.bos 'prepend': .* no BOS token"):
        run(tmp_path / "out", "as-is", bos="prepend", **given)


@pytest.mark.parametrize(("condition", "loads"), [("bos", 0), ("as-is", 0), ("swap-token-1", 1)])
def test_an_arm_loads_the_tokenizer_only_for_a_swap_token(
    run, tmp_path, monkeypatch, condition, loads
):
    """A large vocabulary takes seconds, in each of the arms' jobs."""
    loaded = []

    def load(folder):
        loaded.append(folder)
        return tokenizer_of(folder)

    monkeypatch.setattr("abspos.activations.arms.tokenizer_of", load)
    run(tmp_path, condition, token="a" if loads else None)
    assert len(loaded) == loads


def test_a_nan_after_the_last_attention_is_named_too(checkpoint, run, tmp_path):
    def spoil(tensors):
        tensors["model.layers.2.mlp.down_proj.weight"][3] = torch.nan

    spoilt = altered(checkpoint, tmp_path / "model", spoil)
    (tmp_path / "out").mkdir()
    with pytest.raises(NonFiniteError, match="output of the last layer, input 0"):
        run(tmp_path / "out", checkpoint=spoilt)
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_neither_store_nor_manifest(
    run, tmp_path, monkeypatch, error
):
    real, calls = module.token_loss, []

    def fail_later(*args):
        calls.append(1)
        if len(calls) == 3:
            raise error("in the middle")
        return real(*args)

    monkeypatch.setattr(module, "token_loss", fail_later)
    with pytest.raises(error):
        run(tmp_path, batch=4)
    assert len(calls) == 3
    assert nothing_left(tmp_path)


def test_a_failed_certificate_leaves_nothing(run, tmp_path, monkeypatch):
    """The certificate reads the store back: what is on disk is what is certified."""
    real = activation_store.to_numpy
    monkeypatch.setattr(activation_store, "to_numpy", lambda tensor: real(tensor) * 1.01)
    with pytest.raises(ModelError, match="certificate 'output': layer 0"):
        run(tmp_path)
    assert nothing_left(tmp_path)


def test_a_rerun_that_fails_takes_the_old_store_away(run, tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(module, "token_loss", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path)
    assert nothing_left(tmp_path)


def test_a_condition_that_does_not_exist_leaves_nothing(run, tmp_path):
    with pytest.raises(InterventionError, match="'swap-tokens': not one of"):
        run(tmp_path, "swap-tokens")
    assert nothing_left(tmp_path)


def test_swap_tokens_must_be_single(run, tmp_path):
    with pytest.raises(TokenizerError, match="' king' is 5 tokens"):
        run(tmp_path, token=" king")
    assert nothing_left(tmp_path)


def test_altered_inputs_are_refused(checkpoint, windows, tmp_path):
    shutil.copytree(windows.store, tmp_path / "0.zarr")
    (tmp_path / "0.zarr" / "extra").touch()
    write_manifest(checkpoint, tmp_path / "model.json")
    with pytest.raises(StoreError, match="extra: not in the manifest"):
        module.extract(
            Stored(checkpoint, tmp_path / "model.json"),
            Stored(tmp_path / "0.zarr", windows.manifest),
            Stored(tmp_path / "s", tmp_path / "m"),
            Extraction({}, "bos", 8, None, early=8, dtype="float32", batch=8, seed=0),
            device="cpu",
            threads=1,
            label="x",
        )
