"""The attention function under `abspos`: the eager model's numbers, and what it hands on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from abspos.activations import capture
from abspos.activations.capture import (
    NAME,
    attention,
    forward,
    given_states,
    listening,
    passing,
    residual_stream,
)
from abspos.activations.certificates import allowed
from abspos.logits import rebuilt_logits
from abspos.models.adapters import decoder_layers
from abspos.models.loading import load
from abspos.models.sources import ModelError, fetch, fetch_random


def embeddings(inputs=2, length=20, hidden=32, seed=0):
    return torch.randn(inputs, length, hidden, generator=torch.Generator().manual_seed(seed))


def captured(folder, window=None):
    model = load(folder, {"window": window}, 32, "float32", "cpu", 0)
    model.set_attn_implementation(NAME)
    return model


def eager(folder, given, window=None):
    """Output of the model with its own eager attention and, for a window, a mask made here."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    mask = None
    if window is not None:
        i, j = torch.meshgrid(*[torch.arange(given.shape[1])] * 2, indexing="ij")
        seen = (j <= i) & (i - j < window)
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
        mask = mask.expand(len(given), -1, -1, -1)
    with torch.no_grad():
        return model(
            inputs_embeds=given,
            attention_mask=mask,
            output_attentions=True,
            output_hidden_states=True,
            use_cache=False,
        )


@torch.no_grad()
def seen_by(model, given):
    seen = {}
    with listening(lambda found: seen.__setitem__(found.layer, found)):
        final = forward(model, given, None)
    return seen, final


@pytest.mark.parametrize("window", [None, 1, 6, 20, 25])
def test_attention_is_the_eager_models(checkpoint, window):
    given = embeddings()
    expected = eager(checkpoint, given, window)
    seen, final = seen_by(captured(checkpoint, window), given)
    assert sorted(seen) == [0, 1, 2]
    torch.testing.assert_close(final, expected.hidden_states[-1], rtol=1e-4, atol=1e-5)
    for layer, found in seen.items():
        mask = allowed(20, window)
        logits = rebuilt_logits(found.query, found.key, found.scale)
        weights = logits.masked_fill(~mask, -torch.inf).softmax(-1)
        torch.testing.assert_close(weights, expected.attentions[layer], rtol=1e-4, atol=1e-6)
        value = found.value.repeat_interleave(2, 1)
        torch.testing.assert_close(
            (weights @ value).transpose(1, 2), found.output, rtol=1e-4, atol=1e-6
        )


def test_shapes_handed_on(checkpoint):
    seen, _ = seen_by(captured(checkpoint), embeddings())
    found = seen[1]
    assert found.query.shape == (2, 4, 20, 8)
    assert found.key.shape == found.value.shape == (2, 2, 20, 8)
    assert found.output.shape == (2, 20, 4, 8)
    assert found.scale == pytest.approx(8**-0.5)
    assert found.window is None


@pytest.mark.parametrize("window", [None, 6])
def test_later_tokens_never_reach_earlier_ones(checkpoint, window):
    model = captured(checkpoint, window)
    given = embeddings()
    changed = given.clone()
    changed[:, 12:] = embeddings(seed=1)[:, 12:]
    (_, before), (_, after) = seen_by(model, given), seen_by(model, changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12:] != after[:, 12:]).any()


def test_a_window_hides_position_0_from_a_single_layer(checkpoint):
    model = captured(checkpoint, 6)
    given = embeddings()
    changed = given.clone()
    changed[:, 0] = 0
    outputs = []
    for case in (given, changed):
        seen, _ = seen_by(model, case)
        outputs.append(seen[0].output)
    assert torch.equal(outputs[0][:, 6:], outputs[1][:, 6:])
    assert (outputs[0][:, 1:6] != outputs[1][:, 1:6]).any()


def test_listening_changes_nothing_and_ends(checkpoint):
    model = captured(checkpoint)
    given = embeddings()
    with torch.no_grad():
        alone = forward(model, given, None)
    heard = []
    with pytest.raises(KeyError), listening(heard.append):
        raise KeyError
    _, final = seen_by(model, given)
    assert torch.equal(final, alone)
    assert heard == []
    assert capture._listeners == []


# a mask that is lost


def test_causality_would_be_lost_without_a_mask_of_that_name(checkpoint):
    """Why the mask is registered: the attention function alone lets later tokens through."""
    from transformers import AttentionInterface

    AttentionInterface.register("abspos_unmasked", attention)
    model = captured(checkpoint, 6)
    model.set_attn_implementation("abspos_unmasked")
    _, unmasked = seen_by(model, embeddings())
    _, masked = seen_by(captured(checkpoint, 6), embeddings())
    assert (unmasked - masked).abs().max() > 1e-3


# families: see test_families.py


def test_a_models_own_window_is_handed_on(source, tmp_path):
    fetch(source | {"family": "mistral"}, "0", tmp_path / "0", tmp_path / "0.json")
    model = load(tmp_path / "0", {}, 32, "float32", "cpu", 0)
    model.config.sliding_window = 5
    for layer in decoder_layers(model):
        layer.self_attn.config.sliding_window = 5
    model.set_attn_implementation(NAME)
    seen, final = seen_by(model, embeddings())
    assert {found.window for found in seen.values()} == {5}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = forward(model, embeddings(), None)
    torch.testing.assert_close(final, expected, rtol=1e-4, atol=1e-5)


def test_learned_sinks_which_sdpa_ignores_are_refused():
    q = torch.zeros(1, 4, 3, 8)
    module = SimpleNamespace(layer_idx=7, is_causal=True, training=False)
    with pytest.raises(ModelError, match="layer 7: learned sink"):
        attention(module, q, q, q, None, s_aux=torch.ones(4))
    output, weights = attention(module, q, q, q, None, s_aux=None)
    assert output.shape == (1, 3, 4, 8)
    assert weights is None


def test_a_learned_sink_is_refused_in_the_model_too(source, tmp_path):
    fetch_random(source | {"family": "gpt_oss"}, "0", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=NAME)
    with pytest.raises(ModelError, match=r"layer 0: .*\(s_aux\)"):
        seen_by(model, embeddings())


def test_a_mask_added_is_the_mask_that_is_seen():
    query = torch.zeros(1, 1, 4, 2)
    seen = allowed(4, 2)[None, None]
    assert torch.equal(capture.additive(seen, query) == 0, seen)
    assert torch.equal(capture.additive(None, query) == 0, allowed(4, None)[None, None])
    assert capture.additive(None, query).min() == torch.finfo(torch.float32).min


# the residual stream


def test_residual_stream_is_before_each_layer_and_after_the_last(checkpoint):
    model = captured(checkpoint)
    given = embeddings()
    expected = eager(checkpoint, given).hidden_states
    with torch.no_grad(), residual_stream(model) as seen:
        final = forward(model, given, None)
    assert len(seen.states) == 4
    assert torch.equal(seen.states[0], given)
    for found, state in zip(seen.states[:3], expected[:3], strict=True):
        torch.testing.assert_close(found, state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.model.norm(seen.states[3]), final)


def test_states_are_handed_over_as_they_pass(checkpoint):
    model, taken = captured(checkpoint), []
    with (
        torch.no_grad(),
        residual_stream(model) as seen,
        passing(model, lambda *s: taken.append(s)),
    ):
        forward(model, embeddings(), None)
    assert [depth for depth, _ in taken] == [0, 1, 2, 3]
    assert all(torch.equal(a, b) for (_, a), b in zip(taken, seen.states, strict=True))


def test_residual_stream_is_of_the_last_pass_and_ends(checkpoint):
    model = captured(checkpoint)
    with torch.no_grad(), residual_stream(model) as seen:
        forward(model, embeddings(), None)
        forward(model, embeddings(inputs=1, length=3), None)
        assert [tuple(state.shape) for state in seen.states] == [(1, 3, 32)] * 4
    with torch.no_grad():
        forward(model, embeddings(), None)
    assert len(seen.states) == 4
    assert seen.states[0].shape == (1, 3, 32)


def test_a_layer_that_writes_into_what_it_reads_changes_no_state_that_was_kept(checkpoint):
    model, given = captured(checkpoint), embeddings()
    with torch.no_grad(), residual_stream(model) as expected:
        forward(model, given, None)

    def overwrite(module, args, output):
        args[0].zero_()

    decoder_layers(model)[1].register_forward_hook(overwrite)
    with torch.no_grad(), residual_stream(model) as found:
        forward(model, given, None)
    torch.testing.assert_close(found.states[1], expected.states[1], rtol=0, atol=0)


def test_given_states_are_what_each_layer_reads(checkpoint):
    """Every layer writes what it wrote in the pass that the states are of."""
    model, first, second = captured(checkpoint), embeddings(seed=0), embeddings(seed=1)
    with torch.no_grad(), residual_stream(model) as of_first:
        forward(model, first, None)
    wanted, written = list(of_first.states), {}
    with (
        torch.no_grad(),
        passing(model, lambda depth, state: written.__setitem__(depth, state)),
        given_states(model, wanted[:-1]),
    ):
        forward(model, second, None)
    torch.testing.assert_close(written[0], second, rtol=0, atol=0)
    for depth in range(1, len(wanted)):
        torch.testing.assert_close(written[depth], wanted[depth], rtol=0, atol=0)
    with torch.no_grad(), residual_stream(model) as after:
        forward(model, second, None)
    assert not torch.allclose(after.states[-1], wanted[-1])
