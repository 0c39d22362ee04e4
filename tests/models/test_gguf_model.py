"""What a GGUF file states about attention is what the model made of it has, or it is refused.

Files are written here as llama.cpp's converter writes them, beside a folder of the same weights,
whose logits are the measure: the family's own code makes them from the config alone.
"""

from __future__ import annotations

import math
from contextlib import suppress

import gguf
import numpy as np
import pytest
import torch
from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map
from transformers import AutoConfig, AutoModelForCausalLM

from abspos.models.families import ModelError
from abspos.models.gguf_file import Head, head
from abspos.models.gguf_model import as_stated, convert_gguf
from abspos.models.sources import byte_tokenizer, fetch

LAYERS, HEADS, KV_HEADS, HIDDEN, SIZE, CONTEXT, LENGTH = 2, 4, 2, 64, 16, 512, 160
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def model_of(family, rope=None, **settings):
    """A tiny model whose queries and keys are loud, so that attention is far from uniform."""
    tokens = byte_tokenizer()
    config = AutoConfig.for_model(
        family,
        **{
            "vocab_size": len(tokens) + 1,
            "hidden_size": HIDDEN,
            "intermediate_size": 128,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
            **({"rope_parameters": {"rope_theta": 10000.0, **rope}} if rope else {}),
            **settings,
        },
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weights.add_(0.1 * torch.randn_like(weights))
            elif "q_proj" in name or "k_proj" in name or "qkv" in name:
                weights.mul_(8)
    return model


def permuted(rows, heads):
    """Rows of q or k in the order in which llama.cpp keeps those of Llama."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(
    model,
    path,
    architecture,
    metadata=(),
    tensors=(),
    base=10000.0,
    norm=0.0,
    eps="rms",
    changed=(),
):
    """A model as a GGUF file with further metadata, by keys without the architecture.

    ``changed`` goes over all of it; None leaves a key out.
    """
    config, tokens = model.config, byte_tokenizer()
    w = GGUFWriter(path, architecture)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(128)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    term = next(getattr(config, n) for n in dir(config) if n.endswith(("norm_eps", "_epsilon")))
    (w.add_layer_norm_rms_eps if eps == "rms" else w.add_layer_norm_eps)(term)
    if base:
        w.add_rope_freq_base(base)
    w.add_vocab_size(config.vocab_size)
    for key, value in {**dict(metadata), **dict(changed)}.items():
        whole = f"{architecture}.{key}"
        w.kv_data[0].pop(whole, None)
        if value is None:
            continue
        if isinstance(value, list):
            w.add_array(whole, value)
        else:
            kinds = {bool: w.add_bool, int: w.add_uint32, float: w.add_float32, str: w.add_string}
            kinds[type(value)](whole, value)
    names = [*sorted(tokens.get_vocab(), key=tokens.get_vocab().get), "th"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(names)
    w.add_token_types([3 if name in ("<bos>", "<eos>") else 1 for name in names])
    w.add_token_scores([0.0] * len(names))
    w.add_token_merges(["t h"])
    w.add_bos_token_id(0)
    w.add_eos_token_id(1)
    w.add_pad_token_id(1)
    kind = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    inside = get_tensor_name_map(kind, LAYERS)
    for name, weights in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        rows = weights.numpy()
        if kind == MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
            rows = permuted(rows, HEADS if "q_proj" in name else KV_HEADS)
        if name.endswith("norm.weight"):
            rows = rows + np.float32(norm)
        own = inside.get_name(name, try_suffixes=(".weight", ".bias"))
        w.add_tensor(own, np.ascontiguousarray(rows))
    for name, values in dict(tensors).items():
        w.add_tensor(name, np.array(values, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(folder):
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    ids = torch.randint(2, 250, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids).logits


def fetched(path, folder):
    folder.mkdir(exist_ok=True)
    fetch({"type": "local", "path": str(path)}, "x", folder / "x", folder / "x.json")
    return folder / "x"


def llama3_factors():
    """Factors as the converter of Llama 3.1 writes them."""
    found = []
    for frequency in 1.0 / 10000.0 ** (np.arange(0, SIZE, 2) / SIZE):
        turns = LLAMA3["original_max_position_embeddings"] * frequency / (2 * math.pi)
        smooth = min(1.0, max(0.0, (turns - 1.0) / (4.0 - 1.0)))
        found.append(1 / ((1 - smooth) / 8.0 + smooth))
    return found


LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
LINEAR_ROPE = {"rope_type": "linear", "factor": 4.0}
YARN = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 128,
}
YARN_ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
WHOLE = {"rope.dimension_count": SIZE}
KEYS = {"attention.key_length": SIZE, "attention.value_length": SIZE}
UNEQUAL = {"short_factor": [1.0 + i / 9 for i in range(8)], "long_factor": [2.0] * 8}
GEMMA = {"head_dim": SIZE, "query_pre_attn_scalar": SIZE, "sliding_window": 32}
GEMMA_KEYS = KEYS | {"attention.sliding_window": 32}

#: By name: family, its settings, architecture, metadata and how else the file is written.
CASES = {
    "llama": ("llama", {}, "llama", WHOLE, {}),
    "linear": ("llama", {"rope": LINEAR_ROPE}, "llama", WHOLE | LINEAR, {}),
    "linear, the older key": (
        "llama",
        {"rope": LINEAR_ROPE},
        "llama",
        WHOLE | {"rope.scale_linear": 4.0},
        {},
    ),
    "none with a factor": (
        "llama",
        {},
        "llama",
        WHOLE | {"rope.scaling.type": "none", "rope.scaling.factor": 4.0},
        {},
    ),
    "yarn": ("llama", {"rope": YARN_ROPE}, "llama", WHOLE | YARN, {}),
    "yarn, its betas": (
        "qwen2",
        {"rope": YARN_ROPE | {"beta_fast": 16.0, "beta_slow": 2.0}},
        "qwen2",
        YARN | {"rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0},
        {},
    ),
    "llama3": (
        "llama",
        {"rope": LLAMA3},
        "llama",
        WHOLE,
        {"tensors": {"rope_freqs.weight": llama3_factors()}},
    ),
    "a window of Mistral": (
        "mistral",
        {"sliding_window": 32, "head_dim": SIZE},
        "llama",
        WHOLE | {"attention.sliding_window": 32},
        {},
    ),
    "a window as wide as the context": (
        "llama",
        {},
        "llama",
        WHOLE | {"attention.sliding_window": CONTEXT},
        {},
    ),
    "biases": ("llama", {"attention_bias": True}, "llama", WHOLE, {}),
    "heads of another size": (
        "qwen3",
        {"head_dim": 32, "rope": {"rope_theta": 5e4, "rope_type": "default"}},
        "qwen3",
        {"attention.key_length": 32, "attention.value_length": 32},
        {"base": 5e4},
    ),
    "phi3": (
        "phi3",
        {"sliding_window": 32, "rope": {"partial_rotary_factor": 0.5, "rope_type": "default"}},
        "phi3",
        {"attention.sliding_window": 32, "rope.dimension_count": SIZE // 2},
        {},
    ),
    "longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 128,
            "rope": {"rope_type": "longrope", "attention_factor": 1.25, **UNEQUAL},
        },
        "phi3",
        WHOLE
        | {
            "rope.scaling.attn_factor": 1.25,
            "attention.sliding_window": 0,
            "rope.scaling.original_context_length": 128,
        },
        {
            "tensors": {
                "rope_factors_long.weight": UNEQUAL["long_factor"],
                "rope_factors_short.weight": UNEQUAL["short_factor"],
            }
        },
    ),
    "stablelm": (
        "stablelm",
        {"rope": {"rope_theta": 5e4, "partial_rotary_factor": 0.5, "rope_type": "default"}},
        "stablelm",
        {"rope.dimension_count": SIZE // 2, "use_parallel_residual": False},
        {"base": 5e4, "eps": "layer"},
    ),
    "starcoder2": (
        "starcoder2",
        {"rope": {"rope_theta": 5e4, "rope_type": "default"}, "sliding_window": 32},
        "starcoder2",
        {"attention.sliding_window": 32},
        {"base": 5e4, "eps": "layer"},
    ),
    "nemotron": (
        "nemotron",
        {"rope": {"partial_rotary_factor": 0.25, "rope_type": "default"}, "norm_eps": 0.01},
        "nemotron",
        {"rope.dimension_count": SIZE // 4},
        {"norm": 1.0, "eps": "layer"},
    ),
    "gemma2": (
        "gemma2",
        GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
        "gemma2",
        GEMMA_KEYS
        | {
            "attention.scale": SIZE**-0.5,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
        },
        {"norm": 1.0},
    ),
    "gemma3": (
        "gemma3_text",
        GEMMA | {"layer_types": ["sliding_attention", "full_attention"]},
        "gemma3",
        GEMMA_KEYS
        | {"attention.scale": SIZE**-0.5, "attention.sliding_window_pattern": [True, False]},
        {"norm": 1.0, "base": 1e6},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_gives_the_logits_of_its_folder(case, tmp_path):
    family, settings, architecture, metadata, how = CASES[case]
    model = model_of(family, **settings)
    model.save_pretrained(tmp_path / "folder")
    byte_tokenizer().save_pretrained(tmp_path / "folder")
    write(model, tmp_path / "model.gguf", architecture, metadata, **how)
    one, other = (
        logits(fetched(tmp_path / name, tmp_path / f"from-{name}"))
        for name in ("folder", "model.gguf")
    )
    assert one.std() > 0.01, "there is something to compare"
    torch.testing.assert_close(other, one, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "metadata", "tensors", "named"),
    [
        ("llama", {"rope.scaling.alpha": 2.0}, {}, r"llama\.rope\.scaling\.alpha 2\.0"),
        ("llama", {"rope.dimension_sections": [4, 4]}, {}, r"rope\.dimension_sections \[4, 4\]"),
        ("llama", {"rope.scaling.type": "longrope"}, {}, r"rope\.scaling\.type 'longrope'"),
        ("llama", {"rope.scaling.type": "su"}, {}, r"rope\.scaling\.type 'su'"),
        ("llama", {"rope.scaling.attn_factor": 1.5}, {}, r"rope\.scaling\.attn_factor 1\.5"),
        ("llama", {"rope.freq_base_swa": 500.0}, {}, r"rope\.freq_base_swa 500"),
        ("llama", YARN | {"rope.scaling.yarn_log_multiplier": 0.1}, {}, "yarn_log_multiplier"),
        ("llama", YARN | {"rope.scaling.yarn_ext_factor": 0.5}, {}, "yarn_ext_factor"),
        ("llama", {"attention.max_alibi_bias": 8.0}, {}, r"attention\.max_alibi_bias 8\.0"),
        ("llama", {"attention.clamp_kqv": 8.0}, {}, r"attention\.clamp_kqv 8\.0"),
        ("llama", {"attention.causal": False}, {}, r"attention\.causal False"),
        ("llama", {"attention.scale": 0.5}, {}, r"attention\.scale 0\.5"),
        ("llama", {"attention.some_new_key": 3}, {}, r"attention\.some_new_key 3"),
        ("llama", {"attn_logit_softcapping": 30.0}, {}, r"attn_logit_softcapping 30\.0"),
        ("llama", {"logit_scale": 0.5}, {}, r"llama\.logit_scale 0\.5"),
        ("llama", {"attention.value_length": 8}, {}, r"attention\.value_length 8"),
        ("llama", {}, {"rope_freqs.weight": [2.0] * 3}, r"rope_freqs\.weight has 3 factors"),
        ("llama", {}, {"rope_factors_long.weight": [2.0] * 8}, "rope_factors_long"),
        ("llama", {}, {"blk.0.attn_sinks.weight": [0.0] * 4}, r"blk\.0\.attn_sinks\.weight"),
        ("llama", {}, {"blk.0.attn_q.bias": [0.0] * 64}, r"blk\.0\.attn_q\.bias"),
        ("qwen2", {"attention.sliding_window": 32}, {}, r"attention\.sliding_window 32"),
        ("qwen2", {"rope.dimension_count": 8}, {}, r"rope\.dimension_count 8"),
    ],
)
def test_what_has_no_place_is_refused_by_name(architecture, metadata, tensors, named, tmp_path):
    path = tmp_path / "model.gguf"
    write(model_of(architecture), path, architecture, WHOLE | metadata, tensors)
    with pytest.raises(ModelError, match=named) as error:
        fetched(path, tmp_path / "x")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path)), "the file, and no folder that is gone"
    assert list((tmp_path / "x").iterdir()) == []


#: Of a case above: keys that are left out (None) or other, and what the refusal names. The loader
#: took a default of the family, or the value without the rest, and gave other logits.
INCOMPLETE = {
    "no base": ("heads of another size", {"rope.freq_base": None}, r"state qwen3\.rope\.freq_base"),
    "no term": ("llama", {"attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon"),
    "two terms": ("stablelm", {"attention.layer_norm_rms_epsilon": 0.5}, "rms_epsilon"),
    "no heads": ("llama", {"attention.head_count": None}, r"llama\.attention\.head_count"),
    "no context": ("yarn", {"context_length": None}, r"llama\.context_length"),
    "no type": ("yarn", {"rope.scaling.type": None}, r"no llama\.rope\.scaling\.type"),
    "no factor": ("linear", {"rope.scaling.factor": None}, r"no llama\.rope\.scaling\.factor"),
    "no original context": (
        "yarn",
        {"rope.scaling.original_context_length": None},
        r"no llama\.rope\.scaling\.original_context_length",
    ),
    "no bound": ("gemma2", {"attn_logit_softcapping": None}, "attn_logit_softcapping"),
    "a bound of 0": ("gemma2", {"attn_logit_softcapping": 0.0}, r"attn_logit_softcapping 0\.0"),
    "a scale between": ("gemma2", {"attention.scale": 0.3}, r"attention\.scale 0\.3"),
    "no window": ("gemma3", {"attention.sliding_window": None}, "sliding_window"),
    "a window of 0": ("gemma3", {"attention.sliding_window": 0}, "sliding_window 0"),
    "a pattern too long": (
        "gemma3",
        {"attention.sliding_window_pattern": [True] * 3},
        r"sliding_window_pattern \[True, True, True\]",
    ),
    "no rotated features": ("stablelm", {"rope.dimension_count": None}, r"rope\.dimension_count"),
    "no attention factor": ("longrope", {"rope.scaling.attn_factor": None}, "attn_factor"),
    "a factor too many": (
        "longrope",
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        r"rope\.scaling\.factor 4\.0",
    ),
    "a type as a list": ("llama", {"rope.scaling.type": ["yarn"]}, r"rope\.scaling\.type a list"),
    "a neutral key as a list": ("llama", {"attention.causal": ["yes"]}, r"causal a list"),
    "a size beyond all": ("llama", {"context_length": 2**32 - 1}, r"llama\.context_length 42949"),
    "more rotated than there are": ("phi3", {"rope.dimension_count": 99}, "dimension_count 99"),
    "no window of StarCoder 2": (
        "starcoder2",
        {"attention.sliding_window": None},
        r"starcoder2\.attention\.sliding_window",
    ),
    "no pattern": ("gemma3", {"attention.sliding_window_pattern": None}, "window_pattern"),
    "a term as a number of layers": (
        "llama",
        {"attention.layer_norm_rms_epsilon": 2},
        "layer_norm_rms_epsilon 2",
    ),
    "an unknown list": ("llama", {"rope.new": ["yarn"]}, r"rope\.new a list"),
    "a base as text": ("llama", {"rope.freq_base": "10000.0"}, r"rope\.freq_base '10000\.0'"),
    "a layer more": ("llama", {"block_count": LAYERS + 1}, r"block_count 3"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_what_is_left_out_or_of_another_kind_is_refused_by_name(case, tmp_path):
    of, changed, named = INCOMPLETE[case]
    family, settings, architecture, metadata, how = CASES[of]
    path = tmp_path / "model.gguf"
    model = model_of(family, **settings)
    write(model, path, architecture, metadata, **how, changed=changed)
    with pytest.raises(ModelError, match=named) as error:
        fetched(path, tmp_path / "x")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("llama.attention.key_length", "llama.attention.head_count"),
        ("blk.0.attn_q.weight", "blk.0.attn_k.weight"),
    ],
)
def test_what_stands_twice_is_refused(name, other, tmp_path):
    path = tmp_path / "model.gguf"
    write(model_of("llama"), path, "llama", WHOLE | KEYS)
    path.write_bytes(path.read_bytes().replace(name.encode(), other.encode(), 1))
    with pytest.raises(ModelError, match=f"{other} stands in it twice"):
        head(path)


@pytest.mark.parametrize(
    ("key", "value"), [("general.architecture", 3), ("split.count", "2"), ("split.count", 2)]
)
def test_a_general_key_that_cannot_be_true_is_refused(key, value, tmp_path):
    path = tmp_path / "model.gguf"
    w = GGUFWriter(path, "llama")
    kind = gguf.GGUFValueType.get_type(value)
    w.kv_data[0][key] = gguf.gguf_writer.GGUFValue(value=value, type=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    with pytest.raises(ModelError, match=key) as error:
        head(path)
    assert "\n" not in str(error.value)


def test_a_scale_that_a_file_does_not_state_is_not_guessed(tmp_path):
    """Transformers takes that of the smaller models, llama.cpp another by the number of layers."""
    path = tmp_path / "model.gguf"
    stated = GEMMA_KEYS | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    write(model_of("gemma2", **GEMMA), path, "gemma2", stated, norm=1.0)
    with pytest.raises(ModelError, match=r"heads have size 16, it does not state .*scale"):
        fetched(path, tmp_path / "x")


def test_a_file_is_parsed_once(tmp_path, monkeypatch):
    """A large vocabulary takes half a minute and a gigabyte each time."""
    path, parsed, real = tmp_path / "model.gguf", [], gguf.GGUFReader
    write(model_of("llama"), path, "llama", LINEAR, {"rope_freqs.weight": [1.0] * 8})
    monkeypatch.setattr(gguf, "GGUFReader", lambda file: parsed.append(file) or real(file))
    (tmp_path / "x").mkdir()
    convert_gguf(path, tmp_path / "x")
    assert len(parsed) == 1


def test_the_head_of_a_file_is_the_readers(tmp_path):
    path = tmp_path / "model.gguf"
    metadata = WHOLE | LINEAR | {"flag": True, "numbers": [1, 2, 3]}
    write(model_of("llama"), path, "llama", metadata, {"rope_freqs.weight": [1.0] * 8})
    found, reader = head(path), gguf.GGUFReader(path)
    assert found.tensors == {t.name: tuple(map(int, t.shape[::-1])) for t in reader.tensors}
    for key, field in reader.fields.items():
        if key in found.metadata:
            value = field.contents()
            assert found.metadata[key] == value, key
        else:
            assert key.startswith("GGUF.") or found.lengths[key] == len(field.data)


@pytest.mark.parametrize("cut", [0, 3, 4, 12, 40, 300, 2000])
def test_a_file_that_is_cut_off_is_refused_in_a_line(cut, tmp_path):
    write(model_of("llama"), tmp_path / "whole.gguf", "llama", WHOLE)
    path = tmp_path / "model.gguf"
    path.write_bytes((tmp_path / "whole.gguf").read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"model\.gguf: cannot be read as a GGUF file") as error:
        head(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_are_altered_give_a_head_or_one_error(seed, tmp_path):
    write(model_of("llama"), tmp_path / "model.gguf", "llama", WHOLE)
    content = bytearray((tmp_path / "model.gguf").read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(4, 1200, 6):
        content[at] = random.integers(256)
    (tmp_path / "other.gguf").write_bytes(content)
    with suppress(ModelError):  # and no other error, nor much memory
        assert head(tmp_path / "other.gguf").architecture


def test_neutral_values_change_nothing():
    config = AutoConfig.for_model("llama", hidden_size=64, num_attention_heads=4)
    before = config.to_dict()
    stated = {
        "general.architecture": "llama",
        "llama.attention.causal": True,
        "llama.rope.scaling.finetuned": False,
        "llama.attention.max_alibi_bias": 0.0,
        "llama.attention.sliding_window": 0,
        "llama.attn_logit_softcapping": 0.0,
        "llama.rope.scaling.factor": 0.0,
        "llama.rope.scaling.attn_factor": 1.0,
        "llama.expert_weights_scale": 2.0,
    }
    as_stated(config, Head(stated), {})
    assert config.to_dict() == before
