"""Synthetic models in the config: what is left in an arm, and what they cannot be given."""

from __future__ import annotations

from typing import Any

import pytest

from abspos.planning.layout import Layout
from abspos.planning.loads import load_of
from abspos.study.config import ConfigError, load_study
from abspos.study.fields import SyntheticSource

LEFT = {
    "ntk": 0.8,
    "swap-token": 0.5,
    "swap-token-2": 0.6,
    "ntk/swap-token": 0.1,
    "no-bos": 0.0,
}
NTK = {"name": "ntk", "rope": {"rope_type": "ntk", "factor": 8.0}}
LINEAR = {"name": "linear", "rope": {"rope_type": "linear", "factor": 8.0}}


def config(variants=(), conditions=(), without=(), **source: Any) -> dict[str, Any]:
    return {
        "models": [
            {"name": "m", "source": {"type": "synthetic"} | source, "without": list(without)},
        ],
        "inputs": {"length": 64},
        "bins": {"early": 8},
        "anchor": 16,
        "variants": [
            {"name": "standard", "conditions": ["bos", "no-bos", "swap-token", *conditions]},
            *variants,
        ],
        "swap_tokens": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("arm", "remains"),
    [
        ("standard/bos", 1.0),
        ("ntk/bos", 0.8),
        ("standard/swap-token-1", 0.5),
        ("standard/swap-token-2", 0.6),
        ("ntk/swap-token-2", 0.1),
        ("ntk/no-bos", 0.0),
        ("standard/swap-mean", 1.0),
    ],
)
def test_what_remains_in_an_arm(arm, remains):
    source = SyntheticSource(type="synthetic", left=LEFT)
    assert source.remains(*arm.split("/")) == pytest.approx(remains)


def test_another_share_makes_one_arm_anew_and_no_checkpoint():
    before, after = (
        Layout(load_study(config(left={"swap-token-1": share}))) for share in (0.5, 0.6)
    )
    changed = [
        arm
        for arm in before.arms("m")
        if before.extraction("m", *arm) != after.extraction("m", *arm)
    ]
    assert changed == [("standard", "swap-token-1")]
    assert before.source("m", "seed-0") == after.source("m", "seed-0")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sinks": [1.0]}, r"models\[m\].source.sinks: value \[1.0\] — as many as heads \(3\)"),
        (
            {"left": {"no-bso": 0.5}},
            r"models\[m\].source.left: value 'no-bso' — a variant, .* did you mean 'no-bos'\?",
        ),
        (
            {"left": {"ntk": -1}, "variants": [NTK]},
            r"models\[m\].source.left.ntk: value -1 — a number, at least 0",
        ),
        (
            {"left": {"control-noop": 0.5}, "conditions": ["control-noop"]},
            "value 'control-noop' — any arm but control-noop, which must be what bos is",
        ),
        (
            {"variants": [NTK]},
            r"models\[m\].source.type: value 'synthetic' — `left: {ntk: 0.8}` in it, .* inert",
        ),
        ({"variants": [LINEAR]}, r"`without: \[linear\]` beside the source: .* nothing is rotated"),
        (
            {"conditions": ["control-shift"]},
            r"`without: \[control-shift\]` beside the source: in planted logits "
            r"no logit depends on",
        ),
        ({"conditions": ["exchange-all"]}, r"`without: \[exchange-all\]` beside the source"),
        ({"tails": "heave"}, r"tails: value 'heave' — one of normal, heavy, few; did you mean"),
        ({"noise": -0.5}, r"noise: value -0.5 — a number, at least 0"),
    ],
)
def test_mistakes_are_told_in_one_line(given, told):
    with pytest.raises(ConfigError, match=told) as error:
        load_study(config(**given))
    assert len(error.value.mistakes) == 1


def test_what_it_cannot_be_given_can_be_left_out():
    conditions = ["control-shift", "control-noop"]
    study = load_study(
        config([NTK, LINEAR], conditions, ["control-shift", "linear"], left={"ntk": 1.0})
    )
    arms = {(run.variant, run.condition) for run in study.runs()}
    assert ("ntk", "bos") in arms
    assert not {variant for variant, _ in arms} & {"linear"}
    assert not {condition for _, condition in arms} & {"control-shift"}


def test_its_sizes_follow_from_the_inputs(tmp_path):
    load = load_of(load_study(config()), "m", tmp_path, 3)
    sizes = load.sizes
    assert (sizes.layers, sizes.heads, sizes.kv_heads) == (4, 3, 1)
    assert sizes.head_size == sizes.hidden == 64
    assert not sizes.guessed
