"""A trained model in the plan: revisions, settings of each step alone, cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abspos.planning import costs, forecast, loads
from abspos.planning.at_hand import at_hand, load_at_hand
from abspos.planning.costs import Machine
from abspos.planning.layout import Layout
from abspos.planning.loads import Load
from abspos.planning.sizes import Sizes
from abspos.study.config import load_study

SMOLLM = Sizes(30, 9, 3, 64, 576, 1536, 49152, tied=True)
SMALL = {"layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "hidden_size": 16}


def layout(root: Path = Path(), number: int = 8, **source: Any) -> Layout:
    own = {"type": "trained", "from": "toy", "variant": "window", "steps": 200} | source
    more = {"type": "trained", "from": "slid", "variant": "standard", "steps": 5}
    more |= {key: own[key] for key in ("held_out",) if key in own}
    config = {
        "models": [
            {"name": "toy", "source": {"type": "random"} | SMALL},
            {"name": "slid", "source": own, "without": ["window"]},
            {"name": "more", "source": more, "without": ["window"]},
        ],
        "inputs": {"number": number, "length": 32},
        "bins": {"early": 8},
        "anchor": 15,
        "variants": [{"name": "standard"}, {"name": "window", "window": 8}],
    }
    return Layout(load_study(config), root)


def test_revisions_are_steps_and_tokens_follow():
    found = layout()
    assert found.revisions("slid") == ("step0", "step10", "step30", "step100", "step200")
    rows = [row for row in found.checkpoints() if row["model"] == "slid"]
    assert [row["tokens"] for row in rows] == [0, 2560, 7680, 25600, 51200]
    assert found.start("slid") == ("toy", "seed-0")
    assert found.start("more") == ("slid", "step200")
    assert "adaptation" in found.figures()
    assert "training" not in found.figures()  # which is of published checkpoints
    assert {row["model"] for row in found.checkpoints()} == {"toy", "slid", "more"}


def test_a_step_depends_on_nothing_that_only_later_steps_or_more_inputs_change():
    short, long = layout(), layout(steps=400, at=[0, 10, 30, 100, 200], number=16)
    assert long.revisions("slid") == (*short.revisions("slid"), "step400")
    for revision in short.revisions("slid"):
        assert short.source("slid", revision) == long.source("slid", revision)


@pytest.mark.parametrize(
    "change",
    [
        *({"batch": 4}, {"learning_rate": 1e-3}, {"warmup": 5}, {"seed": 1}, {"held_out": 200}),
        *({"prepend_bos": False}, {"variant": "standard"}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_other_setting_makes_each_step_anew(change):
    before, after = layout().source("slid", "step10"), layout(**change).source("slid", "step10")
    assert before != after


def test_steps_are_made_in_order():
    course = layout().courses["slid"]
    assert course.before("step0") == ()
    assert course.before("step100") == ("step30",)
    assert [course.updates(name) for name in course.trained] == [0, 10, 20, 70, 100]
    assert course.last == "step200"


def test_sizes_are_those_of_the_model_that_training_began_from(tmp_path):
    found = layout(tmp_path)
    for model in ("slid", "more"):
        revision = found.courses[model].last
        assert load_at_hand(found, model, revision, tmp_path).sizes.hidden == 16
    assert at_hand(found, "more", "step5", tmp_path) is None  # a random model has no files yet


def test_a_training_as_it_was_measured():
    """SmolLM2-135M, 8 texts of 128 tokens a step on two cores: 5.8 s a step and 6.6 GB."""
    load = Load(SMOLLM, 128, 128, threads=2, source="trained", texts=8, updates=100)
    assert costs.seconds("trained", load) / 100 == pytest.approx(5.8, rel=0.3)
    assert costs.memory("trained", load) == pytest.approx(6.6e9, rel=0.3)
    half = replace(load, dtype="bfloat16")  # training is in float32, whatever models run in
    assert costs.seconds("trained", half) == costs.seconds("trained", load)


def test_the_plan_counts_training_and_its_chain(tmp_path, monkeypatch):
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    found = layout(tmp_path)
    plan = forecast.plan(found, tmp_path, Machine(), cores=64)
    rows = {row.rule: row for row in plan.rows}
    assert rows["trained"].jobs == 7
    assert rows["models"].jobs == 1
    assert rows["curves"].jobs == 1
    chain = forecast.longest_training(forecast.loads(found, tmp_path), Machine())
    assert chain > 200 * 0.3
    assert plan.wall > chain
    longer = forecast.plan(layout(tmp_path, steps=400), tmp_path, Machine(), cores=64)
    assert longer.wall > plan.wall + 0.8 * chain
    assert plan.final > 2 * 12 * SMOLLM.parameters
