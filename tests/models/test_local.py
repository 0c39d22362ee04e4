"""Local sources for real: a GGUF file and a folder of one model, from the file to components.

The file is written here, as llama.cpp's converter writes it: its own names, rows of q and k
permuted for its own RoPE, a byte-level vocabulary with merges.
"""

from __future__ import annotations

import json
from contextlib import suppress

import gguf
import numpy as np
import pytest
import torch
import xarray as xr
from gguf import MODEL_ARCH, GGUFWriter, TokenType, get_tensor_name_map
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from abspos.arrays import open_dataset
from abspos.models.sources import fetch

TEXT = "the old man by the sea: Straße 7\n"


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes and one merge: what a file of a byte-level vocabulary has to say."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<bos>", "<eos>", *alphabet, "th"])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>")


@pytest.fixture(scope="module")
def given(checkpoint, tokenizer, tmp_path_factory):
    """A checkpoint folder: the loud tiny Llama, its vocabulary one token larger."""
    folder = tmp_path_factory.mktemp("given")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in the order of llama.cpp, which rotates neighbouring features together."""
    halves = rows.reshape(heads, 2, -1, rows.shape[-1])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(folder, tokenizer, path, kind: Kind) -> dict[str, np.ndarray]:
    """A checkpoint folder as a GGUF file; the weights that it holds, rounded as it rounds them."""
    config = AutoConfig.from_pretrained(folder)
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    special = TokenType.CONTROL, TokenType.NORMAL
    writer.add_token_types([special[not token.startswith("<")] for token in tokens])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    kept = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        rows = tensor.numpy()
        plain = kind if rows.ndim == 2 else Kind.F32
        kept[name] = gguf.dequantize(gguf.quantize(rows, plain), plain)
        for part, heads in (
            ("q_proj", config.num_attention_heads),
            ("k_proj", config.num_key_value_heads),
        ):
            rows = permuted(rows, heads) if part in name else rows
        inside = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(inside, gguf.quantize(rows, plain), raw_dtype=plain)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


@pytest.fixture(scope="module", params=[Kind.F32, Kind.Q8_0], ids=lambda kind: kind.name)
def pair(request, given, tokenizer, tmp_path_factory):
    """Checkpoints that were fetched from a folder and from a GGUF file of the same weights."""
    folder = tmp_path_factory.mktemp("local")
    path = folder / "tiny.gguf"
    weights = write_gguf(given, tokenizer, path, request.param)
    reference = folder / "given"
    AutoConfig.from_pretrained(given).save_pretrained(reference)
    tokenizer.save_pretrained(reference)
    tensors = {name: torch.tensor(rows) for name, rows in weights.items()}
    save_file(tensors, reference / "model.safetensors", metadata={"format": "pt"})
    made = []
    for name, source in (("folder", reference), ("gguf", path)):
        made.append(folder / name / "local")
        manifest = folder / name / "local.manifest.json"
        fetch({"type": "local", "path": str(source)}, "local", str(made[-1]), str(manifest))
    return tuple(made)


def test_the_logits_of_a_gguf_file_are_those_of_its_model(pair):
    tokens = [AutoTokenizer.from_pretrained(f)(TEXT, add_special_tokens=False) for f in pair]
    assert tokens[0]["input_ids"] == tokens[1]["input_ids"]
    ids = torch.tensor([tokens[0]["input_ids"]])
    assert 258 in ids, "the merge is used"
    with torch.no_grad():
        one, other = (AutoModelForCausalLM.from_pretrained(f)(ids).logits for f in pair)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert AutoTokenizer.from_pretrained(pair[1]).bos_token == "<bos>"


def test_both_are_extracted_and_decomposed_alike(pair, draw_into, run, decompose_into, tmp_path):
    found = []
    for checkpoint in pair:
        folder = tmp_path / checkpoint.parent.name
        folder.mkdir()
        inputs = draw_into(folder, checkpoint)
        activations = run(folder, checkpoint=checkpoint, windows=inputs)
        found.append(open_dataset(*decompose_into(folder, activations, inputs=inputs)))
    one, other = found
    assert np.abs(one["residual"]).max() > 0.1, "there is something to compare"
    for name in ("residual", "attention", "denominator", "gram/early/log/residual"):
        if name in one:
            xr.testing.assert_allclose(one[name], other[name], atol=1e-5)
    assert one.attrs["kind"] == other.attrs["kind"] == ["full, theta 1e4"] * 3


def test_code_beside_a_gguf_file_never_runs(given, tokenizer, tmp_path):
    path = tmp_path / "tiny.gguf"
    write_gguf(given, tokenizer, path, Kind.F32)
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nTok = None\n")
    said = {"auto_map": {"AutoTokenizer": ["code.Tok", None]}, "tokenizer_class": "Tok"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    with suppress(Exception):  # it may be refused, or its own tokenizer taken
        fetch({"type": "local", "path": str(path)}, "x", tmp_path / "x", tmp_path / "x.json")
    assert not (tmp_path / "ran").exists()
