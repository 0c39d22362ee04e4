"""Substitution of position 0's keys and values: what changes, and what must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from abspos.activations import substitution as module
from abspos.activations.capture import NAME, forward, listening, residual_stream
from abspos.activations.interventions import InterventionError, Setting
from abspos.activations.position0 import last_of, mid_text, substitution, within
from abspos.activations.substitution import Substitution, substituting
from abspos.arrays import open_dataset
from abspos.documents import holdout
from abspos.models.loading import load
from abspos.models.sources import ModelError
from abspos.study.conditions import SUBSTITUTES

LAYERS, HEADS, KV, LENGTH, OTHER = 3, 4, 2, 32, 5
EVERY = torch.ones(LAYERS, HEADS, dtype=torch.bool)


@pytest.fixture(scope="module")
def model(checkpoint):
    made = load(checkpoint, {}, LENGTH, "float32", "cpu", 0)
    made.set_attn_implementation(NAME)
    return made


@pytest.fixture(scope="module")
def tokens(windows):
    return torch.as_tensor(open_dataset(*windows)["tokens"].values[:4]).long()


@pytest.fixture(scope="module")
def setting(model):
    table = model.get_input_embeddings().weight.detach()
    return Setting(table, bos=0, token=OTHER, later=4, shift=64, seed=0)


@pytest.fixture(scope="module")
def embeddings(model, tokens, setting):
    with torch.no_grad():
        given = model.get_input_embeddings()(tokens).clone()
    given[:, 0] = setting.table[0]
    return given


@torch.no_grad()
def made(model, setting, tokens, condition, heads=EVERY) -> Substitution:
    given = SUBSTITUTES[condition]
    return substitution(model, setting, given, heads.numpy(), tokens, batch=3)


@torch.no_grad()
def states(model, embeddings, given, rows=slice(None)) -> torch.Tensor:
    with substituting(given):
        return forward(model, embeddings[rows], None)


@torch.no_grad()
def captured(model, embeddings, given=None):
    """Attention of every layer, and the residual stream before each and after the last."""
    seen = []
    with listening(seen.append), substituting(given), residual_stream(model) as stream:
        forward(model, embeddings, None)
    return seen, stream.states


def heads(*chosen: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(LAYERS, HEADS, dtype=torch.bool)
    for one in chosen:
        mask[one] = True
    return mask


def slow(seen, values):
    """Attention of all heads by a softmax over the causal logits, with other values."""
    group = HEADS // KV
    key = seen.key.repeat_interleave(group, 1)
    logits = (seen.query @ key.mT * seen.scale).masked_fill(
        torch.ones(LENGTH, LENGTH).triu(1).bool(), -torch.inf
    )
    return logits.softmax(-1) @ values.repeat_interleave(group, 1)


# what must not change


def test_bos_exchanged_for_itself_changes_nothing(model, embeddings, tokens, setting):
    itself = made(model, replace(setting, token=0), tokens, "exchange-all")
    torch.testing.assert_close(
        states(model, embeddings, itself), states(model, embeddings, None), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("condition", SUBSTITUTES)
def test_no_heads_change_nothing(model, embeddings, tokens, setting, condition):
    none = made(model, setting, tokens, condition, heads())
    assert torch.equal(states(model, embeddings, none), states(model, embeddings, None))


@pytest.mark.parametrize("chosen", [EVERY, heads((0, 1), (1, 2), (2, 0))], ids=["all", "some"])
@pytest.mark.parametrize("condition", ["exchange-all", "silence-all", "unsink-both"])
def test_position_0_keeps_its_own_trajectory(model, embeddings, tokens, setting, condition, chosen):
    given = made(model, setting, tokens, condition, chosen)
    (seen, changed), (before, plain) = (captured(model, embeddings, g) for g in (given, None))
    for own, other in zip(changed, plain, strict=True):
        assert torch.equal(own[:, 0], other[:, 0])
    for own, other in zip(seen, before, strict=True):
        assert torch.equal(own.value0, other.value0)
    assert not torch.allclose(changed[-1][:, 1:], plain[-1][:, 1:])


def test_bos_in_mid_text_put_where_it_stood_changes_nothing(model, embeddings, tokens, setting):
    """Its own key and value at position 0 are a substitute that is none."""
    with torch.no_grad():
        keys, values = last_of(model, setting.table[0][None, None], None)
    for own in (Substitution(EVERY, keys), Substitution(EVERY, None, values)):
        torch.testing.assert_close(
            states(model, embeddings, own), states(model, embeddings, None), rtol=0, atol=1e-6
        )


# what does


def test_all_heads_read_what_a_swapped_token_would_show(model, embeddings, tokens, setting):
    """Seen from later positions, an exchange in all heads is the swap itself."""
    everywhere = made(model, setting, tokens, "exchange-all")
    swapped = embeddings.clone()
    swapped[:, 0] = setting.table[OTHER]
    torch.testing.assert_close(
        states(model, embeddings, everywhere)[:, 1:],
        states(model, swapped, None)[:, 1:],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("chosen", [heads((0, 2)), heads((0, 2), (0, 3))], ids=["one", "group"])
def test_only_chosen_heads_read_the_other(model, embeddings, tokens, setting, chosen):
    """Against a slow softmax, in the first layer, where inputs are the same."""
    given = made(model, setting, tokens, "exchange-all", chosen)
    (own, *_), _ = captured(model, embeddings)
    (changed, *_), _ = captured(model, embeddings, given)
    key, value = own.key.clone(), own.value.clone()
    key[:, :, 0], value[:, :, 0] = given.keys[0], given.values[0]
    expected = slow(replace(own, key=key), value)
    group = HEADS // KV
    by_head = [x.repeat_interleave(HEADS // x.shape[1], 1) for x in (changed.key, key, own.key)]
    for head in range(HEADS):
        if chosen[0, head]:
            torch.testing.assert_close(
                changed.output[:, 1:, head], expected[:, head, 1:], rtol=1e-4, atol=1e-5
            )
            assert torch.equal(by_head[0][:, head], by_head[1][:, head])
        else:
            torch.testing.assert_close(changed.output[:, :, head], own.output[:, :, head])
            assert torch.equal(by_head[0][:, head], by_head[2][:, head])
    assert changed.key.shape[1] == (HEADS if chosen.sum() % group else KV)


def test_silence_is_attention_to_a_value_of_zero(model, embeddings, tokens, setting):
    """Weights as they are, v_0 = 0: by hand in every layer, from what that layer was given."""
    given = made(model, setting, tokens, "silence-all")
    seen, _ = captured(model, embeddings, given)
    (plain, *_), _ = captured(model, embeddings)
    for layer in seen:
        assert (layer.value[:, :, 0] == 0).all()
        expected = slow(layer, layer.value).transpose(1, 2)
        torch.testing.assert_close(layer.output[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-6)
    assert torch.equal(seen[0].query, plain.query)
    assert torch.equal(seen[0].key, plain.key)
    assert torch.equal(seen[0].value[:, :, 1:], plain.value[:, :, 1:])


@torch.no_grad()
def test_the_key_in_mid_text_is_rotated_as_at_position_0(model, embeddings, tokens, setting):
    """Taken with ids from 0 on and turned back by hand, it is the same; its value does not turn."""
    keys, values = mid_text(model, setting, tokens, batch=3)
    text, ids = within(model, setting.table[0], tokens)
    usual, usual_values = last_of(model, text, ids - ids[0, 0])
    assert ids[0, -1] == 0
    torch.testing.assert_close(values, usual_values, rtol=1e-4, atol=1e-5)
    size, place = keys.shape[-1], text.shape[1] - 1
    base = model.config.rope_parameters["rope_theta"]
    angle = place * base ** (-torch.arange(0, size, 2) / size)
    first, second = usual.chunk(2, -1)
    turned = [
        first * angle.cos() + second * angle.sin(),
        second * angle.cos() - first * angle.sin(),
    ]
    torch.testing.assert_close(keys, torch.cat(turned, -1), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(keys[1:], keys[1:, :1])  # inputs differ once context has entered
    here, _ = last_of(model, setting.table[0][None, None], None)
    torch.testing.assert_close(keys[0], here[0].expand_as(keys[0]))
    assert not torch.allclose(keys[1:], here[1:].expand_as(keys[1:]), rtol=0.05)


def test_bos_whose_place_enters_otherwise_is_refused(model, tokens, setting, monkeypatch):
    real = within

    def elsewhere(*given):
        embeddings, ids = real(*given)
        return embeddings, ids + 3

    monkeypatch.setattr("abspos.activations.position0.within", elsewhere)
    with pytest.raises(ModelError, match="layer 0, its key differs"), torch.no_grad():
        mid_text(model, setting, tokens, batch=4)


def test_substitutes_follow_their_inputs(model, embeddings, tokens, setting):
    """Keys in mid-text differ between inputs: each batch reads its own."""
    given = made(model, setting, tokens, "unsink-both")
    whole = states(model, embeddings, given)
    for rows in (slice(0, 1), slice(1, 4)):
        part = states(model, embeddings, given.of(rows), rows)
        torch.testing.assert_close(part, whole[rows], rtol=1e-4, atol=1e-5)


# extractions


def test_an_extraction_is_certified_and_states_its_heads_and_inputs(
    run, components, windows, tmp_path
):
    documents = open_dataset(*windows)["document"].values
    _, measured = holdout(len(documents), 0, documents)
    for condition in ("exchange-others", "silence-top", "unsink-both"):
        made = run(tmp_path, condition, reference=components["bos"], held_out_of=16, number=6)
        store = open_dataset(*made)
        assert store.attrs["numbers"] == np.flatnonzero(measured)[:6].tolist()
        chosen = np.array(store.attrs["substituted"])
        assert chosen.shape == (LAYERS, HEADS)
        assert store.sizes["kv_head"] == (HEADS if condition == "silence-top" else KV)
        assert store.sizes["value_head"] == KV
        assert store.attrs["certificates"]["logits"] < 1e-3
        assert store.attrs["certificates"]["masked"] == 0
        assert max(store.attrs["closed_trajectory"]) < 1e-6
        if condition == "silence-top":
            assert chosen.sum(1).tolist() == [1] * LAYERS


def test_in_bfloat16_the_eager_pass_reads_the_substitute_of_the_sample(run, tmp_path):
    """The captured pass has the whole batch; keys in mid-text differ between its inputs."""
    made = run(tmp_path, "unsink-both", held_out_of=16, number=6, batch=4, dtype="bfloat16")
    certificates = open_dataset(*made).attrs["certificates"]
    assert certificates["inputs"] == 2
    assert certificates["weights"] < 0.02


def test_the_certificate_finds_another_substitution(run, components, tmp_path, monkeypatch):
    """Eager attention with other heads must not pass for this one."""
    real = module.read
    monkeypatch.setattr(
        "abspos.activations.capture.substitution.read",
        lambda layer, key, value: tuple(x.roll(1, 1) for x in real(layer, key, value)),
    )
    with pytest.raises(ModelError, match="certificate"):
        run(tmp_path, "exchange-all", held_out_of=16, number=6)


def test_chosen_heads_need_bos(run, tmp_path):
    with pytest.raises(InterventionError, match="'readers': chosen under bos"):
        run(tmp_path, "exchange-readers", held_out_of=16)
