"""Every family: certified in both precisions, decomposed as its own eager weights say, labelled.

One table: a new family is a new line of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from abspos.activations.capture import NAME, forward, listening
from abspos.activations.certificates import certify, eager_state
from abspos.activations.layers import layers_of
from abspos.components.blocks import block_parts
from abspos.components.decomposition import decompose
from abspos.models.adapters import output_projection
from abspos.models.loading import apply_rope, largest_shift, load
from abspos.models.sources import ModelError, fetch, fetch_random

LENGTH, WINDOW, LOUD = 32, 6, 8.0


class Family(NamedTuple):
    """What a tiny model of a family has to look like, layer by layer."""

    name: str
    kinds: str = "full|full|full|full"
    config: Mapping[str, Any] = MappingProxyType({})
    softcap: float | None = None
    scale: float = 8**-0.5
    kv_heads: int = 2


SLIDES = {"sliding_window": WINDOW}
EXPERTS = {"num_local_experts": 2}
THETAS = {
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    }
}
WIDE = "|".join([f"sliding {LENGTH}"] * 4)
MIXED = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
#: Settings that change which weights there are.
UNLIKE = {"qk_layernorm", "num_local_experts"}
FAMILIES = [
    Family("llama"),
    Family("mistral", "sliding 6|sliding 6|sliding 6|sliding 6", SLIDES),
    Family("mistral", WIDE, {"sliding_window": LENGTH}),
    Family("qwen2"),
    Family(
        "qwen2",
        "full|full|sliding 6|sliding 6",
        SLIDES | {"use_sliding_window": True, "layer_types": MIXED[3:] * 2 + MIXED[:2]},
    ),
    Family("qwen3"),
    Family(
        "gemma2",
        "sliding 6|full|sliding 6|full",
        SLIDES | {"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 4},
        2.0,
        0.5,
    ),
    Family(
        "gemma2",
        f"sliding {LENGTH}|full|sliding {LENGTH}|full",
        SLIDES
        | {
            "attn_logit_softcapping": None,
            "sliding_window": LENGTH,
            "query_pre_attn_scalar": 4,
        },
        scale=0.5,
    ),
    Family(
        "gemma3_text",
        "sliding 6|sliding 6|sliding 6|full",
        SLIDES | THETAS | {"layer_types": MIXED, "query_pre_attn_scalar": 4},
        scale=0.5,
    ),
    Family("phi3", "sliding 6|sliding 6|sliding 6|sliding 6", SLIDES),
    Family(
        "phi3",
        config={
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    Family("gpt_neox", kv_heads=4),
    Family("olmo2"),
    Family("olmo3", "sliding 6|sliding 6|sliding 6|full", SLIDES | THETAS),
    Family("smollm3", "full|full|full|full, no RoPE"),
    Family("stablelm"),
    Family("stablelm", config={"qk_layernorm": True, "use_qkv_bias": True}),
    Family("cohere2", "sliding 6|sliding 6|sliding 6|full, no RoPE", SLIDES),
    Family("granite", config={"attention_multiplier": 0.25}, scale=0.25),
    Family("starcoder2", "sliding 6|sliding 6|sliding 6|sliding 6", SLIDES),
    Family("glm4"),
    Family("exaone4", "sliding 6|sliding 6|sliding 6|full, no RoPE", SLIDES),
    Family("phi"),
    Family("phimoe", "sliding 6|sliding 6|sliding 6|sliding 6", SLIDES | EXPERTS),
    Family("doge", "sliding 6|sliding 6|sliding 6|sliding 6", SLIDES),
    Family(
        "llama4_text",
        "full|full, no RoPE|full|full, no RoPE",
        EXPERTS
        | {"no_rope_layers": [1, 0, 1, 0], "floor_scale": 5, "attn_scale": 0.5}
        | {"attention_chunk_size": LENGTH, "intermediate_size_mlp": 64},
    ),
]


def unbased(kind):
    """A kind without the base of its RoPE, which is each family's own."""
    return re.sub(r", theta [0-9.e]+$", "", kind)


def built(family: Family, source, folder):
    """A checkpoint of the family, its config as the table says, loud enough to have shape."""
    fetch_random(source | {"family": family.name, "layers": 4}, "0", folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(family.config)))
    if UNLIKE & set(family.config):  # has weights of its own, which are drawn anew
        (folder / "new").touch()
        return
    tensors = load_file(folder / "model.safetensors")
    loud = {n: t * LOUD if t.ndim == 2 and "embed" not in n else t for n, t in tensors.items()}
    save_file(loud, folder / "model.safetensors", metadata={"format": "pt"})


def ready(folder, dtype, variant=None):
    """The model under `abspos` attention, and embeddings of two inputs."""
    untrained = {"untrained": (folder / "new").exists()}
    model = load(folder, untrained | (variant or {}), LENGTH, dtype, "cpu", 0)
    model.set_attn_implementation(NAME)
    noise = torch.randn(2, LENGTH, 32, generator=torch.Generator().manual_seed(0))
    return model, noise.to(model.dtype)


@torch.no_grad()
def seen_by(model, given):
    seen = {}
    with listening(lambda found: seen.__setitem__(found.layer, found)):
        forward(model, given, None)
    return seen


def stored_of(seen):
    return {i: (s.query.float().numpy(), s.key.float().numpy()) for i, s in seen.items()}


def residuals(parts, which):
    return getattr(parts, which).masked_fill(~parts.valid, torch.nan).numpy()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f"{f.name}-{'-'.join(f.config)}"[:40])
def test_a_family_is_measured_as_it_is(family, source, tmp_path):
    built(family, source, tmp_path)
    for dtype in ("bfloat16", "float32"):
        model, given = ready(tmp_path, dtype)
        seen = seen_by(model, given)
        certify(model, given, None, stored_of(seen), None, dtype)
    layers = layers_of(model, given[0, 0], LENGTH)
    assert "|".join(unbased(layer.kind()) for layer in layers) == family.kinds
    assert {layer.softcap for layer in layers} == {family.softcap}
    assert [layer.scale for layer in layers] == pytest.approx([family.scale] * 4)
    assert {(layer.heads, layer.kv_heads, layer.size) for layer in layers} == {
        (4, family.kv_heads, 8)
    }
    # What heads write from position 0 goes through W_O, which certificates do not read.
    widths = {tuple(output_projection(model, layer).weight.shape) for layer in range(4)}
    assert widths == {(given.shape[-1], 4 * 8)}
    weights = {}
    with torch.no_grad():
        eager_state(
            model, given, None, None, lambda seen: weights.__setitem__(seen.layer, seen.weights)
        )
    for number, layer in enumerate(layers):
        window = layer.window(LENGTH)
        assert window == (WINDOW if f"sliding {WINDOW}" in layer.kind() else None)
        q, k = seen[number].query, seen[number].key
        parts, _ = block_parts(q, k, layer.scale, window, layer.softcap)
        # Any number for keys out of sight: the decomposition must not look at them.
        logits = weights[number].log().where(weights[number] > 0, 0.0)
        expected = decompose(logits, window)
        assert float(expected["residual"].std()) > 0.01, "the attention has some shape"
        for which in ("residual", "attention", "predicted"):
            xr.testing.assert_allclose(
                xr.DataArray(residuals(parts, which), dims=expected[which].dims),
                expected[which].drop_vars(expected[which].coords),
                rtol=0,
                atol=1e-5,
            )
        torch.testing.assert_close(
            parts.mask(), torch.as_tensor(expected["mask"].values), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", dict.fromkeys(family.name for family in FAMILIES))
def test_a_windowed_variant_makes_every_layer_slide(name, source, tmp_path):
    family = next(f for f in FAMILIES if f.name == name)
    built(family, source, tmp_path)
    variant = {"window": 4}
    model, given = ready(tmp_path, "float32", variant)
    certify(model, given, None, stored_of(seen_by(model, given)), 4, "float32")
    layers = layers_of(model, given[0, 0], LENGTH, 4)
    assert {layer.window(LENGTH, 4) for layer in layers} == {4}
    assert {unbased(layer.kind(4)) for layer in layers} <= {"sliding 4", "sliding 4, no RoPE"}


@pytest.mark.parametrize(
    ("name", "window", "inert"),
    [
        ("mistral", 6, True),
        ("mistral", 7, True),
        ("mistral", 5, False),
        ("gemma2", 6, False),
        ("gemma2", 7, True),
        ("llama", 7, False),
    ],
)
def test_a_window_that_the_model_has_already_is_refused(name, window, inert, source, tmp_path):
    built(next(f for f in FAMILIES if f.name == name), source, tmp_path)
    if not inert:
        load(tmp_path, {"window": window}, LENGTH, "float32", "cpu", 0)
        return
    with pytest.raises(ModelError, match=f"window {window}: inert, the model's own .* is 6 keys"):
        load(tmp_path, {"window": window}, LENGTH, "float32", "cpu", 0)


def test_ntk_changes_each_layer_type_by_itself(source, tmp_path):
    family = next(f for f in FAMILIES if f.name == "gemma3_text")
    built(family, source, tmp_path)
    rope = {"rope_type": "ntk", "factor": 8.0}
    model, given = ready(tmp_path, "float32", {"rope": rope})
    thetas = {k: p["rope_theta"] for k, p in model.config.rope_parameters.items()}
    factor = 8 ** (8 / 6)
    assert thetas == pytest.approx(
        {"sliding_attention": 1e4 * factor, "full_attention": 1e6 * factor}
    )
    certify(model, given, None, stored_of(seen_by(model, given)), None, "float32")
    kinds = [layer.kind() for layer in layers_of(model, given[0, 0], LENGTH)]
    assert kinds == ["sliding 6, theta 1.6e5"] * 3 + ["full, theta 1.6e7"]


def test_layers_that_differ_in_the_base_of_rope_alone_are_of_two_kinds(source, tmp_path):
    """Their windows hide nothing at this length."""
    wide = {"sliding_window": 512, "layer_types": MIXED, "query_pre_attn_scalar": 4}
    built(Family("gemma3_text", config=THETAS | wide), source, tmp_path)
    model, given = ready(tmp_path, "float32")
    layers = layers_of(model, given[0, 0], LENGTH)
    kinds = [layer.kind() for layer in layers]
    assert kinds == ["sliding 512, theta 1e4"] * 3 + ["full, theta 1e6"]
    assert [layer.window(LENGTH) for layer in layers] == [None] * 4


@pytest.mark.parametrize(("name", "rotary"), [("gpt_neox", 2), ("stablelm", 2), ("glm4", 4)])
def test_ntk_counts_rotary_dimensions_alone(name, rotary, source, tmp_path):
    built(Family(name), source | {"head_dim": 16, "hidden_size": 64}, tmp_path)
    model = load(tmp_path, {}, LENGTH, "float32", "cpu", 0)
    part = model.config.rope_parameters["partial_rotary_factor"]
    assert part * 16 == 2 * rotary
    apply_rope(model.config, {"rope_type": "ntk", "factor": 8.0})
    expected = 1e4 * 8 ** (2 * rotary / (2 * rotary - 2))
    assert model.config.rope_parameters["rope_theta"] == pytest.approx(expected)


def test_learned_sink_logits_are_refused_by_name(source, tmp_path):
    with pytest.raises(ModelError, match=r"model_type 'gpt_oss': .*learned sink logit") as error:
        fetch(source | {"family": "gpt_oss"}, "0", tmp_path / "0", tmp_path / "0.json")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "0").exists()


def test_chunked_attention_within_a_chunk_alone(source, tmp_path):
    """Llama 4: what its mask hides beyond a chunk is no window."""
    chunks = {"attention_chunk_size": 12, "intermediate_size_mlp": 64}
    built(Family("llama4_text", config=EXPERTS | chunks), source, tmp_path)
    model, given = ready(tmp_path, "float32")
    wanted = r"layer 0: its mask at inputs.length 32 is neither causal .*query 8 sees key 0"
    with pytest.raises(ModelError, match=wanted):
        layers_of(model, given[0, 0], LENGTH)


def test_numbers_that_a_mask_adds_to_logits_are_refused(source, tmp_path):
    """Doge: of every key, by its value; untrained they are the same for all keys."""
    built(Family("doge", config=SLIDES), source, tmp_path)
    model, given = ready(tmp_path, "float32")
    for layer in model.model.layers:
        layer.self_attn.A.data.fill_(0.5)
    with pytest.raises(ModelError, match="layer 0: its mask adds numbers to logits that differ"):
        certify(model, given, None, stored_of(seen_by(model, given)), None, "float32")


@pytest.mark.parametrize(("length", "original"), [(32, 16), (32, 40)])
def test_longrope_on_both_sides_of_its_original_context(source, tmp_path, length, original):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": original,
    }
    stated = {"rope_parameters": rope, "original_max_position_embeddings": original}
    built(Family("phi3", config=stated), source, tmp_path)
    model, given = ready(tmp_path, "float32")
    shift = largest_shift(model.config, length, 64)
    assert shift == (64 if length > original else original - length)
    plain = seen_by(model, given)
    certify(model, given, None, stored_of(plain), None, "float32")
    ids = torch.arange(length)[None]

    def logits(by):
        seen = {}
        with listening(lambda found: seen.__setitem__(found.layer, found)), torch.no_grad():
            forward(model, given, ids + by)
        return seen[0].query @ seen[0].key.repeat_interleave(2, 1).mT

    torch.testing.assert_close(logits(shift), logits(0), rtol=1e-3, atol=1e-2)
    if length <= original:  # one more, and all frequencies are others
        assert (logits(shift + 1) - logits(0)).abs().max() > 1


def test_a_shift_that_changes_rope_whatever_it_is(source, tmp_path):
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    built(
        Family("llama", config={"rope_parameters": rope, "max_position_embeddings": 32}),
        source,
        tmp_path,
    )
    config = load(tmp_path, {}, 32, "float32", "cpu", 0).config
    assert [largest_shift(config, length, 64) for length in (8, 31, 32, 33)] == [24, 1, 0, 0]
