"""What a checkpoint at hand cannot be given is told before any job, one line a model."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
import xarray as xr
from gguf import GGUFWriter
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from abspos.activations.arms import tokens_for
from abspos.activations.interventions import InterventionError
from abspos.models import lock
from abspos.models.families import ROPE_TYPES, ModelError
from abspos.models.sources import byte_tokenizer, read_config
from abspos.planning import misfits as module
from abspos.planning.at_hand import at_hand
from abspos.planning.costs import Machine
from abspos.planning.forecast import plan
from abspos.planning.layout import Layout
from abspos.planning.misfits import misfits
from abspos.study.config import ConfigError, load_study

RANDOM = {"type": "random"}
PACKAGED = {
    "type": "packaged",
    "package": "p",
    "version": "1",
    "sha256": "0" * 64,
    "file": "p/model.gguf",
    "file_sha256": "1" * 64,
}


def config(without=(), source=None, **others):
    return {
        "models": [
            {"name": "m", "source": source or RANDOM, "without": list(without)},
            {"name": "other", "source": RANDOM},
        ],
        "inputs": {"length": 64},
        "bins": {"early": 8},
        "anchor": 16,
        "variants": [
            {
                "name": "standard",
                "conditions": [
                    "bos",
                    "no-bos",
                    "swap-token",
                    "swap-mean",
                    "swap-noise",
                    "control-shift",
                ],
            },
            {
                "name": "ntk",
                "rope": {"rope_type": "ntk", "factor": 8.0},
                "conditions": ["bos", "no-bos"],
            },
        ],
        "swap_tokens": ["a", "b"],
    } | others


def arms(without):
    return Layout(load_study(config(without))).arms("m")


def test_a_model_is_not_given_what_it_is_without():
    every = arms([])
    assert Layout(load_study(config(["ntk"]))).arms("other") == every
    assert arms(["ntk"]) == [a for a in every if a[0] != "ntk"]
    assert arms(["no-bos"]) == [a for a in every if a[1] != "no-bos"]
    assert arms(["ntk/bos"]) == [a for a in every if a != ("ntk", "bos")]
    assert arms(["swap-token"]) == [a for a in every if not a[1].startswith("swap-token")]
    assert arms(["swap-token-2"]) == [a for a in every if a[1] != "swap-token-2"]


def test_without_bos_goes_all_that_needs_it():
    layout = Layout(load_study(config(["bos"])))
    assert layout.arms("m") == [
        ("standard", "no-bos"),
        ("standard", "swap-token-1"),
        ("standard", "swap-token-2"),
        ("standard", "swap-mean"),
        ("ntk", "no-bos"),
    ]
    assert all(layout.reference("m", *arm) is None for arm in layout.arms("m"))
    assert layout.judgement()["without_bos"] == ["m"]


@pytest.mark.parametrize(
    ("without", "told"),
    [
        (
            ["nkt"],
            r"models\[m\]\.without\[#1\]: value 'nkt' — a variant, a condition, or "
            r"variant/condition of this study; did you mean 'ntk'\?",
        ),
        (["standard", "ntk"], r"models\[m\]\.without: .* no arm is left for this model"),
    ],
)
def test_mistakes_are_told(without, told):
    with pytest.raises(ConfigError, match=told) as error:
        load_study(config(without))
    assert len(error.value.mistakes) == 1


def test_a_tokenizer_that_is_made_without_bos_is_told():
    source = RANDOM | {"bos": False}
    with pytest.raises(ConfigError, match=r"models\[m\]\.source\.bos: .* without: \[bos\]"):
        load_study(config(source=source))
    load_study(config(["bos"], source=source))


SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "vocab_size": 258,
    "max_position_embeddings": 64,
}


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint without BOS, as the package of ``config(source=PACKAGED)`` was fetched to."""
    folder = tmp_path / "m" / ("1" * 12)
    byte_tokenizer(bos=False).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(SIZES))
    save_file({}, folder / "model.safetensors")
    return folder


def packaged(without=(), **others):
    return Layout(load_study(config(without, source=PACKAGED, **others)))


def test_a_checkpoint_without_bos_is_told_before_any_job(checkpoint, tmp_path):
    assert misfits(packaged(), tmp_path) == [
        "models[m]: its tokenizer has no BOS token, which bos needs; write `without: [bos]` beside "
        "its source to leave out such conditions"
    ]
    assert misfits(packaged(["bos"]), tmp_path) == []


def test_a_local_folder_is_looked_into(checkpoint, tmp_path):
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(source=source)), tmp_path)
    assert len(misfits(layout, tmp_path / "nothing")) == 1


def test_a_family_that_is_refused_is_told_before_any_job(checkpoint, tmp_path):
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
    (line,) = misfits(packaged(["bos"]), tmp_path)
    assert line.startswith("models[m]: model_type 'gpt_oss': its softmax has a learned sink logit")
    assert "leave it out" in line


def test_a_checkpoint_of_another_source_says_nothing(checkpoint, tmp_path):
    """What other studies fetched under the names of this one: a random model has BOS, and the
    commit of the lock another config."""
    checkpoint.rename(checkpoint.with_name("seed-0"))
    assert misfits(Layout(load_study(config())), tmp_path) == []
    source = {"type": "hub", "repo": "org/a-7b", "revisions": ["seed-0"]}
    layout = Layout(load_study(config(source=source)), tmp_path)
    content = (tmp_path / "m" / "seed-0" / "config.json").read_bytes()
    path = lock.path_of(layout.study.study, tmp_path)
    for stated, lines in ((b"another", 0), (content, 1)):
        blob = b"blob %d\0" % len(stated) + stated
        facts = {"bytes": len(stated), "sha1": hashlib.sha1(blob).hexdigest()}
        pin = {"commit": "1" * 40, "files": {"config.json": facts}}
        lock.write({"model": {"org/a-7b": {"seed-0": pin}}}, path)
        layout = Layout(layout.study, tmp_path)
        assert len(misfits(layout, tmp_path)) == lines
        assert (at_hand(layout, "m", "seed-0", tmp_path) is None) == (lines == 0)
        found = plan(layout, tmp_path, Machine(), 1, 0)
        assert ("m" in found.guessed) == (lines == 0), "and its size is a guess"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("max_position_embeddings", "512", "max_position_embeddings '512' is not a whole number"),
        ("max_position_embeddings", None, "max_position_embeddings None is not a whole number"),
        ("num_hidden_layers", [2, 2], r"num_hidden_layers \[2, 2\] is not a whole number"),
        ("num_hidden_layers", 10**400, r"num_hidden_layers 10+\.\.\. is .* and below 2\^31"),
        ("hidden_size", -8, "hidden_size -8 is not a whole number"),
        ("vocab_size", True, "vocab_size True is not a whole number"),
        ("model_type", ["llama"], r"model_type \['llama'\] is not a string"),
    ],
)
def test_odd_values_of_a_config_are_told_before_any_job(checkpoint, tmp_path, key, value, told):
    (checkpoint / "config.json").write_text(json.dumps(SIZES | {key: value}))
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    (line,) = misfits(layout, tmp_path)
    assert re.match(rf"models\[m\]: .*config\.json: {told}", line)
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100000, "<html>", "null", '{"a": 1}'])
def test_a_config_that_is_none_is_told_before_any_job(checkpoint, tmp_path, text):
    (checkpoint / "config.json").write_text(text)
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    (line,) = misfits(layout, tmp_path)
    assert line.startswith("models[m]: ")
    assert "config.json" in line
    assert "\n" not in line


def test_tokens_that_do_not_follow_from_a_name_are_told_before_any_job(tmp_path):
    source = {"type": "hub", "repo": "org/a", "revisions": ["stage2-step5"], "tokens_per_step": 9}
    (line,) = misfits(Layout(load_study(config(["bos"], source=source)), tmp_path), tmp_path)
    assert line == (
        "models[m].source.tokens_per_step: the training tokens of 'stage2-step5' do not follow "
        "from its name; state them, tokens: {stage2-step5: NUMBER}"
    )
    source["tokens"] = {"stage2-step5": 10}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    assert misfits(layout, tmp_path) == []
    assert layout.checkpoints()[0]["tokens"] == 10


def test_a_path_that_holds_no_model_is_told_before_any_job(tmp_path):
    source = {"type": "local", "path": "absent"}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    (line,) = misfits(layout, tmp_path)
    assert line.startswith(f"models[m]: {tmp_path}/absent: no such folder")


def test_what_a_gguf_file_cannot_mean_is_told_before_any_job(tmp_path):
    w = GGUFWriter(tmp_path / "model.gguf", "llama")
    w.add_context_length(512)
    w.add_block_count(10**9)
    w.add_embedding_length(8)
    w.add_feed_forward_length(8)
    w.add_head_count(2)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_tensor("token_embd.weight", np.zeros((4, 8), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    source = {"type": "local", "path": "model.gguf"}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    (line,) = misfits(layout, tmp_path)
    assert line.startswith(
        f"models[m]: {tmp_path}/model.gguf: states llama.block_count 1000000000, but its tensors "
        "are of 0 blocks"
    )


def test_what_the_lock_says_is_enough(tmp_path):
    """Nothing is here yet: a model of the hub is told before it is fetched."""
    source = {"type": "hub", "repo": "org/a", "revisions": ["main"]}
    layout = Layout(load_study(config(source=source)), tmp_path)
    pin = {"commit": "1" * 40, "files": {"config.json": {"bytes": 2, "sha1": "a" * 40}}}
    said = {
        "config": {"model_type": "llama", "max_position_embeddings": 32},
        "tokenizer_config": {"bos_token": None},
    }
    path = lock.path_of(layout.study.study, tmp_path)
    for kept, lines in ((pin, 0), (pin | {"says": said}, 2)):
        lock.write({"model": {"org/a": {"main": kept}}}, path)
        layout = Layout(layout.study, tmp_path)
        assert len(misfits(layout, tmp_path)) == lines


def test_what_cannot_be_trained_is_told_before_the_model_it_starts_from_is_fetched(tmp_path):
    said = {"config": {"model_type": "gpt_neox"}, "tokenizer_config": {"bos_token": None}}
    pin = {"commit": "1" * 40, "files": {"config.json": {"bytes": 2, "sha1": "a" * 40}}}
    window = {"name": "window", "window": 8, "conditions": ["no-bos"]}
    without = ["bos", "window"]
    trained = {"type": "trained", "from": "m", "variant": "window", "steps": 5}
    models = [
        {"name": "m", "without": without, "source": {"type": "hub", "repo": "org/a"}},
        {"name": "slid", "without": without, "source": trained},
    ]
    study = config(models=models)
    study |= {"variants": [*study["variants"], window]}
    layout = Layout(load_study(study), tmp_path)
    path = lock.path_of(layout.study.study, tmp_path)
    lock.write({"model": {"org/a": {"main": pin | {"says": said}}}}, path)
    assert misfits(layout, tmp_path) == [
        "models[slid].source.prepend_bos: value True — false, since its tokenizer has no BOS token",
        "models[slid].source.variant: window 8: a model_type 'gpt_neox' cannot be trained with a "
        "window in every layer, since its config cannot state one; train one of gemma2, llama, "
        "mistral, phi3, qwen2, qwen3, starcoder2, without biases",
    ]


def test_inputs_longer_than_the_context_are_told_before_any_job(checkpoint, tmp_path):
    (line,) = misfits(packaged(["bos"], inputs={"length": 66}), tmp_path)
    assert line.startswith("inputs.length: value 66 — models[m] has a context of 64 positions")


def test_a_condition_that_needs_bos_is_refused_before_weights_are_read(checkpoint):
    drawn = xr.Dataset(attrs={"bos": None})
    with pytest.raises(InterventionError, match=r"condition 'swap-noise': .* no BOS") as error:
        tokens_for(checkpoint, drawn, "swap-noise", None)
    assert "\n" not in str(error.value)
    assert tokens_for(checkpoint, drawn, "no-bos", None)[0] is None


@pytest.fixture
def words(tmp_path):
    """A checkpoint whose tokenizer knows a few words."""
    vocabulary = {word: n for n, word in enumerate(["UNK", "<s>", "a", "b"])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="UNK"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "m" / ("1" * 12)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>").save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(SIZES))
    save_file({}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("a b", "swap_tokens: 'a b' is 2 tokens for this tokenizer; list single tokens"),
        ("king", "swap_tokens: 'king' is unknown to this tokenizer; list another token"),
        (
            "<s>",
            "swap_tokens: '<s>' is this tokenizer's BOS, so that the arm is inert; list another "
            "token",
        ),
    ],
)
def test_what_cannot_be_swapped_in_is_told_before_any_job(words, tmp_path, token, told):
    assert misfits(packaged(swap_tokens=["a", token]), tmp_path) == [f"models[m]: {told}"]
    source = {"type": "local", "path": str(words)}
    layout = Layout(load_study(config(source=source, swap_tokens=["a", token])))
    assert misfits(layout, tmp_path / "nothing") == [f"models[m]: {told}"]


def test_a_token_that_no_arm_of_a_model_reads_is_not_looked_at(words, tmp_path):
    given = config(["swap-token"], swap_tokens=["a", "king"])
    assert misfits(Layout(load_study(given)), tmp_path) == []


def test_a_fit_token_costs_no_import_of_a_library(words, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "tokenizer_of", lambda folder: pytest.fail("seconds at each start"))
    assert misfits(Layout(load_study(config(swap_tokens=["a", "b"]))), tmp_path) == []


def test_a_tokenizer_with_code_is_left_to_its_jobs(words, tmp_path):
    (words / "own.py").touch()
    assert misfits(packaged(swap_tokens=["a", "king"]), tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", "\ud800", '{"model": {}}'])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_tokenizer_is_told_before_any_job(words, tmp_path, name, text):
    """Of a config without a word in it nothing is wrong but what is missing."""
    (words / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    source = {"type": "local", "path": str(words)}
    told = misfits(Layout(load_study(config(["bos"], source=source))), tmp_path / "nothing")
    if name == "tokenizer.json" or text not in ("{}", '{"model": {}}'):
        (line,) = told
        assert line.startswith(f"models[m]: {words}: its tokenizer cannot be loaded (")
        assert "\n" not in line
    else:
        assert told == []


WEIGHTS = {"a": np.ones((2, 3), np.float32), "b": np.zeros(5, np.float32)}


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda data: data[:-1], "{n1} bytes, its header states {n}; get it again"),
        (lambda data: data + b"x", "{n2} bytes, its header states {n}; get it again"),
        (lambda data: data[:20], "no header of safetensors in 20 bytes"),
        (lambda data: b"", "no header of safetensors in 0 bytes"),
        (lambda data: b"<html>no such file</html>", "no header of safetensors in 25 bytes"),
        (lambda data: data[:8] + b"[" * (len(data) - 8), "no header of safetensors in {n} bytes"),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_weights_that_are_not_whole_are_told_before_any_job(
    checkpoint, tmp_path, alter, told, indexed
):
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    file = checkpoint / "model.safetensors"
    save_file(WEIGHTS, file)
    if indexed:
        file = file.rename(checkpoint / "part-1.safetensors")
        index = {"weight_map": dict.fromkeys(WEIGHTS, file.name)}
        (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert misfits(layout, tmp_path) == []
    data = file.read_bytes()
    file.write_bytes(alter(data))
    (line,) = misfits(layout, tmp_path)
    said = told.format(n=len(data), n1=len(data) - 1, n2=len(data) + 1)
    assert line.startswith(f"models[m]: {file}: {said}")


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (
            {"rope_scaling": {"type": "ntk-aware", "factor": 2}},
            "rope_scaling.rope_type 'ntk-aware'",
        ),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, r"rope_parameters.rope_type \['yarn'\]"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "x"}}},
            "rope_parameters.full_attention.rope_type 'x'",
        ),
        ({"rope_scaling": "linear"}, "rope_scaling 'linear' is no mapping"),
    ],
)
def test_a_rope_type_that_nobody_computes_is_told_before_any_job(
    checkpoint, tmp_path, stated, told
):
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(["bos"], source=source)), tmp_path)
    (checkpoint / "config.json").write_text(json.dumps(SIZES | stated))
    (line,) = misfits(layout, tmp_path)
    assert re.match(rf"models\[m\]: .*config\.json: {told}", line)
    with pytest.raises(ModelError, match=told):
        read_config(checkpoint)


def test_the_rope_types_are_those_of_transformers():
    assert {*ROPE_INIT_FUNCTIONS} == {*ROPE_TYPES} - {"default", "su", "mrope"}
