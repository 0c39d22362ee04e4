"""Certificates hold for what happened, and fail by layer for what did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from abspos.activations import capture, certificates
from abspos.activations.capture import NAME, forward, listening
from abspos.activations.certificates import (
    TOLERANCE,
    allowed,
    certify,
    relative,
    relative_by_position,
)
from abspos.logits import rebuilt_logits
from abspos.models.adapters import decoder_layers
from abspos.models.loading import load
from abspos.models.sources import ModelError, fetch


def model_of(folder, window=None, dtype="float32"):
    model = load(folder, {"window": window}, 64, dtype, "cpu", 0)
    model.set_attn_implementation(NAME)
    return model


def embeddings(length=24, hidden=32):
    return torch.randn(2, length, hidden, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def stored_by(model, given, positions=None):
    """What an extraction would have stored: layer -> q and k as float32."""
    stored = {}

    def keep(seen):
        stored[seen.layer] = tuple(t.float().numpy().copy() for t in (seen.query, seen.key))

    with listening(keep):
        forward(model, given, positions)
    return stored


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("window", [None, 1, 5])
def test_what_happened_is_certified(checkpoint, window):
    model, given = model_of(checkpoint, window), embeddings()
    found = certify(model, given, None, stored_by(model, given), window, "float32")
    assert all(0 <= found[name] < 1e-5 for name in ("output", "logits", "weights"))
    assert found["masked"] == 0
    assert found["tolerance"] == TOLERANCE["float32"]
    assert (found["inputs"], found["positions"]) == (2, 24)
    assert model.config._attn_implementation == NAME, "the model is left as it was"


def test_shifted_positions_are_certified(checkpoint):
    model, given = model_of(checkpoint), embeddings()
    positions = torch.arange(24)[None] + 64
    certify(model, given, positions, stored_by(model, given, positions), None, "float32")
    # RoPE makes the shift cancel, but not by a different shift of queries and keys.
    moved, still = stored_by(model, given, positions), stored_by(model, given)
    mixed = {layer: (moved[layer][0], still[layer][1]) for layer in moved}
    with pytest.raises(ModelError, match="layer 0"):
        certify(model, given, positions, mixed, None, "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ids_that_begin_below_0_are_certified_against_ordinary_ones(checkpoint, dtype):
    """As the arm shift has them; ids that RoPE takes for others are refused."""
    model, given = model_of(checkpoint, dtype=dtype), embeddings().to(getattr(torch, dtype))
    positions = torch.arange(24)[None] - 12
    stored = stored_by(model, given, positions)
    certify(model, given, positions, stored, None, dtype, ordinary=True)
    stretched = 2 * positions
    stored = stored_by(model, given, stretched)
    certify(model, given, stretched, stored, None, dtype)
    with pytest.raises(ModelError, match="layer 0"):
        certify(model, given, stretched, stored, None, dtype, ordinary=True)


def test_bfloat16_has_a_tolerance_of_its_own(checkpoint):
    model, given = model_of(checkpoint, dtype="bfloat16"), embeddings().bfloat16()
    stored = stored_by(model, given)
    found = certify(model, given, None, stored, None, "bfloat16")
    assert found["tolerance"] == TOLERANCE["bfloat16"]
    with pytest.raises(ModelError, match=r"allowed 0\.0"):
        certify(model, given, None, stored, None, "float32")


def drifting(monkeypatch, share):
    """The eager pass alone adds to what layer 0 writes that share of it, features moved by one."""
    real = certificates.eager_state

    def moved(model, *args):
        handle = decoder_layers(model)[0].register_forward_hook(
            lambda module, args, out: out + share * out.roll(1, -1)
        )
        try:
            return real(model, *args)
        finally:
            handle.remove()

    monkeypatch.setattr(certificates, "eager_state", moved)


def test_in_bfloat16_an_error_of_one_layer_does_not_spread_to_the_next(checkpoint, monkeypatch):
    """What is rounding in layer 0 would be told as an error of layer 1 by a pass of its own."""
    model, given = model_of(checkpoint, dtype="bfloat16"), embeddings().bfloat16()
    stored = stored_by(model, given)
    alone = certify(model, given, None, stored, None, "bfloat16")
    drifting(monkeypatch, 0.03)
    found = certify(model, given, None, stored, None, "bfloat16")
    assert 0.02 < found["states"] < 0.04, "and it is still seen where it arose"
    assert {n: found[n] for n in ("output", "weights", "logits")} == {
        n: alone[n] for n in ("output", "weights", "logits")
    }
    assert alone["states"] < 0.02


def test_in_bfloat16_a_layer_that_writes_something_else_fails(checkpoint, monkeypatch):
    model, given = model_of(checkpoint, dtype="bfloat16"), embeddings().bfloat16()
    stored = stored_by(model, given)
    drifting(monkeypatch, 0.1)
    with pytest.raises(ModelError, match="certificate 'states': layer 0") as error:
        certify(model, given, None, stored, None, "bfloat16")
    one_line(error)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_key_that_only_the_eager_mask_hides_fails_however_small_its_weight(
    checkpoint, monkeypatch, dtype
):
    """The last query loses position 0, whose weight is less than the tolerance of bfloat16."""
    model, given = model_of(checkpoint, dtype=dtype), embeddings(length=64)
    given = given.to(model.dtype)
    stored = stored_by(model, given)
    certify(model, given, None, stored, None, dtype)
    real = certificates.eager_state
    monkeypatch.setattr(
        certificates,
        "eager_state",
        lambda model, given, ids, window, compare: real(model, given, ids, 63, compare),
    )
    with pytest.raises(ModelError, match=r"certificate 'masked': layer 0: weight 0\.0") as error:
        certify(model, given, None, stored, None, dtype)
    one_line(error)


def test_in_bfloat16_what_all_layers_start_from_is_compared(checkpoint, monkeypatch):
    model, given = model_of(checkpoint, dtype="bfloat16"), embeddings().bfloat16()
    stored = stored_by(model, given)
    real = certificates.eager_state
    monkeypatch.setattr(
        certificates,
        "eager_state",
        lambda model, given, *others: real(model, 1.1 * given, *others),
    )
    with pytest.raises(ModelError, match="certificate 'states': layer 0"):
        certify(model, given, None, stored, None, "bfloat16")


def test_in_float32_passes_are_compared_through_their_depth(checkpoint, monkeypatch):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    assert certify(model, given, None, stored, None, "float32")["states"] is None
    drifting(monkeypatch, 0.03)
    with pytest.raises(ModelError, match="layer 1: relative error"):
        certify(model, given, None, stored, None, "float32")


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("which", [0, 1])
def test_altered_queries_or_keys_fail_by_layer(checkpoint, layer, which):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    stored[layer][which][1, 1, 13, 3] += 1.0
    with pytest.raises(ModelError, match=f"layer {layer}: relative error") as error:
        certify(model, given, None, stored, None, "float32")
    assert one_line(error).endswith("refused")
    assert model.config._attn_implementation == NAME


def test_a_nan_fails(checkpoint):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    stored[2][0][0, 0, 5, 0] = np.nan
    with pytest.raises(ModelError, match="layer 2: relative error nan"):
        certify(model, given, None, stored, None, "float32")


def test_swapped_heads_fail(checkpoint):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    stored[1] = (stored[1][0][:, ::-1].copy(), stored[1][1])
    with pytest.raises(ModelError, match="layer 1"):
        certify(model, given, None, stored, None, "float32")


def test_a_wrong_scale_fails(checkpoint, monkeypatch):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    real = capture.Attention

    def wrong(**seen):
        return replace(real(**seen), scale=seen["scale"] * 1.01)

    monkeypatch.setattr(capture, "Attention", wrong)
    with pytest.raises(ModelError, match="certificate 'output': layer 0"):
        certify(model, given, None, stored, None, "float32")


@pytest.mark.parametrize("variant", [None, 5])
def test_a_mask_that_loses_causality_fails(checkpoint, monkeypatch, variant):
    def everything(*args, batch_size, q_length, kv_length, **kwargs):
        return torch.ones(batch_size, 1, q_length, kv_length, dtype=torch.bool)

    from transformers import AttentionMaskInterface

    model, given = model_of(checkpoint, variant), embeddings()
    AttentionMaskInterface.register(NAME, everything)
    try:
        stored = stored_by(model, given)
        with pytest.raises(ModelError, match=r"layer 0: its mask .*query 0 sees key 1"):
            certify(model, given, None, stored, variant, "float32")
    finally:
        AttentionMaskInterface.register(NAME, capture.mask)


def test_a_mask_that_loses_the_window_fails(checkpoint):
    model, given = model_of(checkpoint), embeddings()
    with pytest.raises(ModelError, match="layer 0"):
        certify(model, given, None, stored_by(model, given), 5, "float32")


def test_eager_weight_on_a_masked_position_fails(checkpoint, monkeypatch):
    """The check against the model's own weights, with a window that it does not have."""
    model, given = model_of(checkpoint, 5), embeddings()
    stored = stored_by(model, given)
    real = certificates.eager_state
    monkeypatch.setattr(
        certificates,
        "eager_state",
        lambda model, given, ids, window, compare: real(model, given, ids, 6, compare),
    )
    with pytest.raises(ModelError, match="certificate 'masked': layer 0") as error:
        certify(model, given, None, stored, 5, "float32")
    one_line(error)


def test_other_output_logits_fail(checkpoint, monkeypatch):
    model, given = model_of(checkpoint), embeddings()
    stored = stored_by(model, given)
    real = certificates.eager_state
    monkeypatch.setattr(certificates, "eager_state", lambda *args: real(*args) * 1.01)
    with pytest.raises(ModelError, match="certificate 'logits': output logits"):
        certify(model, given, None, stored, None, "float32")


@pytest.mark.parametrize("family", ["cohere2", "granite"])
def test_models_that_scale_their_output_logits_are_certified(source, tmp_path, family):
    fetch(source | {"family": family}, "0", tmp_path / "0", tmp_path / "0.json")
    model, given = model_of(tmp_path / "0"), embeddings()
    for name in ("logits_scaling", "logit_scale"):
        for holder in (model, model.config):
            if hasattr(holder, name):
                setattr(holder, name, 8.0)
    certify(model, given, None, stored_by(model, given), None, "float32")


# parts


def test_allowed_by_loops():
    for window in (None, 1, 3, 9):
        expected = [[j <= i and i - j < (window or 99) for j in range(7)] for i in range(7)]
        assert allowed(7, window).tolist() == expected


def test_rebuilt_logits_by_loops():
    q, k = torch.randn(2, 6, 5, 4), torch.randn(2, 2, 5, 4)
    found = rebuilt_logits(q, k, 0.3)
    assert found.shape == (2, 6, 5, 5)
    for n, h, i, j in np.ndindex(2, 6, 5, 5):
        expected = 0.3 * float(q[n, h, i] @ k[n, h // 3, j])
        assert float(found[n, h, i, j]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_position_of_huge_features_does_not_hide_the_error_of_another():
    expected = torch.tensor([[[1e4, 0.0], [3.0, 4.0]]])
    found = expected + torch.tensor([[[0.0, 0.0], [0.0, 0.5]]])
    assert relative(found, expected) < 1e-4
    assert relative_by_position(found, expected) == pytest.approx(0.1)


def test_relative_is_of_the_largest_value():
    assert relative(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 5.0])) == pytest.approx(0.1)
    assert relative(torch.zeros(2), torch.zeros(2)) == 0
