"""What a checkpoint at hand cannot be given is told before any job, one line a model."""

from __future__ import annotations

import json

import pytest

from abspos.activations.arms import tokens_for
from abspos.activations.interventions import InterventionError
from abspos.models import lock
from abspos.models.sources import byte_tokenizer
from abspos.planning.layout import Layout
from abspos.planning.misfits import misfits
from abspos.study.config import ConfigError, load_study

RANDOM = {"type": "random"}


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


@pytest.fixture
def checkpoint(tmp_path):
    byte_tokenizer(bos=False).save_pretrained(tmp_path / "m" / "seed-0")
    path = tmp_path / "m" / "seed-0" / "config.json"
    path.write_text(json.dumps({"max_position_embeddings": 64}))
    return path.parent


def test_a_checkpoint_without_bos_is_told_before_any_job(checkpoint, tmp_path):
    assert misfits(Layout(load_study(config())), tmp_path) == [
        "models[m]: its tokenizer has no BOS token, which bos needs; write `without: [bos]` beside "
        "its source to leave out such conditions"
    ]
    assert misfits(Layout(load_study(config(["bos"]))), tmp_path) == []


def test_a_local_folder_is_looked_into(checkpoint, tmp_path):
    source = {"type": "local", "path": str(checkpoint)}
    layout = Layout(load_study(config(source=source)))
    assert len(misfits(layout, tmp_path / "nothing")) == 1


def test_a_family_that_is_refused_is_told_before_any_job(checkpoint, tmp_path):
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "gpt_oss"}))
    (line,) = misfits(Layout(load_study(config(["bos"]))), tmp_path)
    assert line.startswith("models[m]: model_type 'gpt_oss': its softmax has a learned sink logit")
    assert "leave it out" in line


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


def test_inputs_longer_than_the_context_are_told_before_any_job(checkpoint, tmp_path):
    given = config(["bos"], inputs={"length": 66})
    (line,) = misfits(Layout(load_study(given)), tmp_path)
    assert line.startswith("inputs.length: value 66 — models[m] has a context of 64 positions")
    (checkpoint / "config.json").write_text("{")
    assert misfits(Layout(load_study(given)), tmp_path) == []


def test_a_condition_that_needs_bos_is_refused_before_weights_are_read(checkpoint):
    with pytest.raises(InterventionError, match=r"condition 'swap-noise': .* no BOS") as error:
        tokens_for(checkpoint, "swap-noise", [])
    assert "\n" not in str(error.value)
    assert tokens_for(checkpoint, "no-bos", ["a"])[0] is None
