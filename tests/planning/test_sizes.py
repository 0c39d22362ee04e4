"""Sizes of models: counted weights, configs, guesses from names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from abspos.planning import sizes as shapes
from abspos.planning.sizes import Sizes

SMOLLM = Sizes(30, 9, 3, 64, 576, 1536, 49152, tied=True)
GEMMA = Sizes(18, 4, 1, 256, 640, 2048, 262144, tied=True)


def test_counts_weights() -> None:
    assert SMOLLM.parameters == pytest.approx(134.5e6, rel=0.01)
    eight = Sizes(32, 32, 8, 128, 4096, 14336, 128256)
    assert eight.parameters == pytest.approx(8.03e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", 1.3e8, 2.5e8),
        ("EleutherAI/pythia-6.9b-deduped", 6.9e9, 9e9),
        ("meta-llama/Llama-3.2-1B", 1e9, 2e9),
        ("Qwen/Qwen2.5-0.5B", 5e8, 2e9),
        ("org/mystery", 7e9, 9e9),
        ("org/giant-405B", 7e10, 9e10),
    ],
)
def test_guesses_from_names(name: str, least: float, most: float) -> None:
    assert least <= shapes.guess(name).parameters <= most


@pytest.mark.parametrize(
    ("name", "sizes", "parameters"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", SMOLLM, 134_515_008),
        ("gemma-3-270m-q4_k_m.gguf.part00", GEMMA, 268_098_176),
    ],
)
def test_the_default_studys_models_are_planned_in_a_fresh_clone_as_they_are(
    name: str, sizes: Sizes, parameters: int
) -> None:
    guessed = shapes.guess(name)
    assert guessed == dataclasses.replace(sizes, guessed=True)
    assert guessed.parameters == pytest.approx(parameters, rel=1e-3), "all but norms"


def test_sizes_come_from_the_checkpoint_once_it_is_there(tmp_path: Path) -> None:
    source = {"type": "hub", "repo": "org/model-7b"}
    folder = tmp_path / "main"
    assert shapes.sizes(source, folder).guessed
    folder.mkdir()
    config = {
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert shapes.sizes(source, folder) == SMOLLM
    nested = tmp_path / "nested"
    nested.mkdir()
    (nested / "config.json").write_text(json.dumps({"vision": 1, "text_config": config}))
    assert shapes.sizes(source, nested) == SMOLLM
    local = {"type": "local", "path": str(folder)}
    assert shapes.sizes(local, tmp_path / "absent") == SMOLLM


def test_a_family_with_other_names_for_its_sizes_is_no_guess(tmp_path: Path) -> None:
    config = {"model_type": "dbrx", "d_model": 64, "n_heads": 4, "n_layers": 3, "vocab_size": 258}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = shapes.sizes({"type": "local", "path": str(tmp_path)}, None)
    assert (found.layers, found.heads, found.hidden, found.guessed) == (3, 4, 64, False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "llama9"}'])
def test_a_config_that_cannot_be_read_stops_no_plan(tmp_path, text):
    """What is wrong with it is told by its job, or by abspos.planning.misfits, in a line."""
    (tmp_path / "config.json").write_text(text)
    assert shapes.sizes({"type": "local", "path": str(tmp_path)}, tmp_path / "nothing").guessed
