"""A config.json that states what its family has no place for is refused by name."""

from __future__ import annotations

import json
import shutil
from typing import get_args

import pytest
from transformers import AutoConfig

from abspos.models.carried import lost
from abspos.models.families import ModelError
from abspos.models.sources import fetch
from abspos.study.fields import Family

LONG = {"short_factor": [1.0] * 48, "long_factor": [2.0] * 48}
#: Published configs as they are written, what changes attention in them alone.
PUBLISHED = [
    {"model_type": "llama", "rope_theta": 1e5, "rope_scaling": None, "rope_interleaved": False},
    {
        "model_type": "llama",
        "rope_theta": 5e5,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
    },
    {
        "model_type": "qwen2",
        "rope_theta": 1e6,
        "sliding_window": 32768,
        "use_sliding_window": False,
        "max_window_layers": 24,
    },
    {"model_type": "gpt_neox", "rotary_pct": 0.25, "rotary_emb_base": 10000},
    {"model_type": "stablelm", "rope_theta": 10000, "partial_rotary_factor": 0.25},
    {"model_type": "mistral", "rope_theta": 10000.0, "sliding_window": 4096},
    {
        "model_type": "gemma3_text",
        "rope_theta": 1e6,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "attn_logit_softcapping": None,
    },
    {
        "model_type": "gemma2",
        "rope_theta": 1e4,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    {
        "model_type": "phi3",
        "rope_theta": 1e4,
        "sliding_window": 262144,
        "original_max_position_embeddings": 4096,
        "max_position_embeddings": 131072,
        "rope_scaling": {"type": "longrope", **LONG},
    },
    {
        "model_type": "qwen3",
        "rope_theta": 1e6,
        "max_window_layers": 36,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
    },
]


@pytest.mark.parametrize("stated", PUBLISHED, ids=lambda stated: stated["model_type"])
def test_published_configs_are_carried(stated, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(stated))
    assert list(lost(stated, AutoConfig.from_pretrained(tmp_path))) == []


@pytest.mark.parametrize("family", sorted({*get_args(Family)} - {"gpt_oss"}))
def test_configs_that_transformers_saves_are_carried(family, tmp_path):
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "config.json").read_text())
    assert list(lost(stated, AutoConfig.from_pretrained(tmp_path))) == []


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"sliding_window": 16}, "sliding_window 16 would have no effect"),
        ({"attn_logit_softcapping": 30.0}, r"attn_logit_softcapping 30\.0 would"),
        ({"rotary_dim": 4}, "rotary_dim 4 would"),
        ({"alibi": True}, "alibi True would"),
        ({"rope_ratio": 4}, "rope_ratio 4 would"),
        ({"attention_multiplier": 0.5}, r"attention_multiplier 0\.5 would"),
    ],
)
def test_what_a_family_does_not_know_is_refused(checkpoint, tmp_path, stated, told):
    given = shutil.copytree(checkpoint, tmp_path / "given")
    config = json.loads((given / "config.json").read_text()) | stated
    (given / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"given/config\.json: {told}") as error:
        fetch({"type": "local", "path": str(given)}, "x", tmp_path / "x", tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_a_scaling_that_is_dropped_is_lost():
    config = AutoConfig.for_model("llama")
    stated = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    assert [key for key, _ in lost(stated, config)] == [
        "rope_theta",
        "rope_scaling.rope_type",
        "rope_scaling.factor",
    ]
