"""Exchange of position 0's keys and values: what changes, and what must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abspos.activations.capture import NAME, forward, listening
from abspos.activations.exchange import Exchange, exchanging
from abspos.activations.interventions import InterventionError
from abspos.arrays import open_dataset
from abspos.models.loading import load
from abspos.models.sources import ModelError

LAYERS, HEADS, KV, LENGTH = 3, 4, 2, 32


@pytest.fixture(scope="module")
def model(checkpoint):
    made = load(checkpoint, {}, LENGTH, "float32", "cpu", 0)
    made.set_attn_implementation(NAME)
    return made


@pytest.fixture(scope="module")
def embeddings(model, windows):
    tokens = torch.as_tensor(open_dataset(*windows)["tokens"].values[:4]).long()
    with torch.no_grad():
        given = model.get_input_embeddings()(tokens).clone()
    given[:, 0] = model.get_input_embeddings().weight[0].detach()
    return given


def first(model, embedding) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (layer, kv_head, feature) of one embedding at position 0."""
    seen = []
    with torch.no_grad(), listening(seen.append):
        forward(model, embedding[None, None], None)
    return tuple(torch.stack([getattr(s, n)[0, :, 0] for s in seen]) for n in ("key", "value"))


def exchange(model, token: int, heads) -> Exchange:
    embedding = model.get_input_embeddings().weight[token].detach()
    return Exchange(*first(model, embedding), torch.as_tensor(heads))


@torch.no_grad()
def states(model, embeddings, given) -> torch.Tensor:
    with exchanging(given):
        return forward(model, embeddings, None)


def heads(*chosen: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((LAYERS, HEADS), dtype=bool)
    for one in chosen:
        mask[one] = True
    return mask


def test_bos_exchanged_for_itself_changes_nothing(model, embeddings):
    itself = exchange(model, 0, np.ones((LAYERS, HEADS), dtype=bool))
    torch.testing.assert_close(
        states(model, embeddings, itself), states(model, embeddings, None), rtol=0, atol=1e-6
    )


def test_no_heads_change_nothing(model, embeddings):
    none = exchange(model, 5, heads())
    assert torch.equal(states(model, embeddings, none), states(model, embeddings, None))


def test_position_0_keeps_its_own_trajectory(model, embeddings):
    everywhere = exchange(model, 5, np.ones((LAYERS, HEADS), dtype=bool))
    changed, plain = states(model, embeddings, everywhere), states(model, embeddings, None)
    assert torch.equal(changed[:, 0], plain[:, 0])
    assert not torch.allclose(changed[:, 1:], plain[:, 1:])


def test_all_heads_read_what_a_swapped_token_would_show(model, embeddings):
    """Seen from later positions, an exchange in all heads is the swap itself."""
    everywhere = exchange(model, 5, np.ones((LAYERS, HEADS), dtype=bool))
    swapped = embeddings.clone()
    swapped[:, 0] = model.get_input_embeddings().weight[5].detach()
    torch.testing.assert_close(
        states(model, embeddings, everywhere)[:, 1:],
        states(model, swapped, None)[:, 1:],
        rtol=1e-4,
        atol=1e-5,
    )


def test_only_the_chosen_head_reads_the_other(model, embeddings):
    """Against a slow softmax, in the first layer, where inputs are the same."""
    given = exchange(model, 5, heads((0, 2)))
    plain, seen = [], []
    with torch.no_grad(), listening(plain.append):
        forward(model, embeddings, None)
    with torch.no_grad(), listening(seen.append), exchanging(given):
        forward(model, embeddings, None)
    changed, own = seen[0], plain[0]
    for head in (0, 1, 3):
        torch.testing.assert_close(changed.output[:, :, head], own.output[:, :, head])
    key, value = own.key[:, 1].clone(), own.value[:, 1].clone()  # heads 2 and 3 share K/V head 1
    key[:, 0], value[:, 0] = given.keys[0, 1], given.values[0, 1]
    logits = (own.query[:, 2] @ key.mT * own.scale).masked_fill(
        torch.ones(LENGTH, LENGTH).triu(1).bool(), -torch.inf
    )
    expected = logits.softmax(-1) @ value
    torch.testing.assert_close(changed.output[:, 1:, 2], expected[:, 1:], rtol=1e-4, atol=1e-5)
    assert changed.key.shape[1] == HEADS
    torch.testing.assert_close(changed.key[:, 2], key)
    torch.testing.assert_close(changed.key[:, 3], own.key[:, 1])


def test_an_extraction_is_certified_and_names_its_heads(run, components, tmp_path):
    bos = components["bos"]
    made = run(tmp_path, "exchange-all", reference=bos)
    store = open_dataset(*made)
    assert store.sizes["kv_head"] == HEADS
    assert np.array(store.attrs["exchanged"]).all()
    assert store.attrs["certificates"]["logits"] < 1e-3
    assert store.attrs["certificates"]["masked"] == 0
    assert max(store.attrs["closed_trajectory"]) < 1e-6


def test_the_certificate_finds_another_exchange(run, components, tmp_path, monkeypatch):
    """Eager attention with other heads exchanged must not pass for this one."""
    from abspos.activations import exchange as ours

    bos, real = components["bos"], ours.read_by_head
    monkeypatch.setattr(
        "abspos.activations.capture.exchange.read_by_head",
        lambda layer, key, value: tuple(x.roll(1, 1) for x in real(layer, key, value)),
    )
    with pytest.raises(ModelError, match="certificate"):
        run(tmp_path, "exchange-all", reference=bos)


def test_an_exchange_needs_bos(run, tmp_path):
    with pytest.raises(InterventionError, match="'exchange-readers': needs bos"):
        run(tmp_path, "exchange-readers")
