"""Models that are trained here in the config: their steps, and each mistake with its cure."""

from __future__ import annotations

from typing import Any

import pytest

from abspos.study.config import ConfigError, load_study
from abspos.study.fields import TrainedSource
from abspos.study.trained import log_spaced, origin, steps_of

NTK = {"rope_type": "ntk", "factor": 8.0}


def trained(name: str = "t", without: Any = (), **source: Any) -> dict[str, Any]:
    own = {"type": "trained", "from": "toy", "variant": "standard", "steps": 30} | source
    return {"name": name, "source": own, "without": list(without)}


def config(*models: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "models": [{"name": "toy", "source": {"type": "random"}}, *models],
        "inputs": {"number": 8, "length": 32},
        "bins": {"early": 8},
        "anchor": 15,
        "variants": [
            {"name": "standard", "conditions": ["bos", "no-bos"]},
            {"name": "ntk", "rope": NTK},
            {"name": "window", "window": 8},
            {"name": "untrained", "untrained": True},
        ],
    } | changes


def mistakes(*models: dict[str, Any], **changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_study(config(*models, **changes))
    return list(error.value.mistakes)


def steps(number: int, at: list[int] | None = None) -> tuple[int, ...]:
    given = {"type": "trained", "from": "a", "variant": "b", "steps": number, "at": at}
    return steps_of(TrainedSource.model_validate(given))


@pytest.mark.parametrize(
    ("number", "at", "expected"),
    [
        (1, None, (0, 1)),
        (10, None, (0, 10)),
        (11, None, (0, 10, 11)),
        (200, None, (0, 10, 30, 100, 200)),
        (300, None, (0, 10, 30, 100, 300)),
        (200, [100, 0, 10], (0, 10, 100, 200)),
        (200, [200], (200,)),
        (5, [], (5,)),
    ],
)
def test_steps_that_are_measured(number, at, expected):
    assert steps(number, at) == expected


def test_more_steps_keep_the_earlier_ones():
    assert {*log_spaced(1000)} <= {*log_spaced(5000)}


def test_a_study_of_trained_models_is_accepted():
    study = load_study(
        config(
            trained("a"),
            trained("b", variant="window", without=["window"]),
            trained("c", variant="untrained"),
            trained("d", **{"from": "b"}, variant="ntk", without=["ntk", "window"]),
        )
    )
    assert [origin(study, name).name for name in "abcd"] == ["toy"] * 4
    source = study.model("a").source
    assert source.model_dump()["from"] == source.base == "toy"


def test_every_mistake_is_told_at_once():
    found = mistakes(
        trained("a", **{"from": "toyy"}),
        trained("b", variant="windw"),
        trained("c", at=[0, 40, 0]),
        trained("d", held_out=7),
        trained("e", steps=0),
        trained("f", form="toy"),
    )
    assert found[:2] == [
        "models[e].source.steps: value 0 — a whole number, at least 1",
        "models[f].source.form: unknown key — one of type, from, variant, steps, at, batch, "
        "learning_rate, warmup, prepend_bos, seed, held_out; did you mean 'from'?",
    ]
    assert found[2:] == [
        "models[a].source.from: value 'toyy' — another model of this study: toy, b, c, d, e, f; "
        "did you mean 'toy'?",
        "models[b].source.variant: value 'windw' — a variant of this study: standard, ntk, window, "
        "untrained; did you mean 'window'?",
        "models[c].source.at[#2]: value 40 — at most steps (30); raise steps to train longer",
        "models[c].source.at[#3]: value 0 — once only",
        "models[d].source.held_out: value 7 — at least inputs.number (8): measured documents must "
        "not be trained on",
    ]


def test_where_no_other_model_is_there_the_cure_is_to_list_one():
    (line,) = mistakes(models=[trained("a", **{"from": "toy"})])
    assert line == (
        "models[a].source.from: value 'toy' — another model of this study: none is there; list "
        "the model to start from"
    )


def test_a_circle_is_refused_in_each_of_its_models():
    found = mistakes(
        trained("a", **{"from": "b"}), trained("b", **{"from": "a"}), trained("c", **{"from": "c"})
    )
    why = "a model that is not trained from this one:"
    assert found == [
        f"models[a].source.from: value 'b' — {why} a from b from a",
        f"models[b].source.from: value 'a' — {why} b from a from b",
        f"models[c].source.from: value 'c' — {why} c from c",
    ]


def test_a_model_behind_a_circle_and_one_behind_a_missing_model_add_no_mistake():
    circle = [trained("a", **{"from": "b"}), trained("b", **{"from": "a"})]
    assert len(mistakes(*circle, trained("c", **{"from": "a"}))) == 2
    gone = [trained("a", **{"from": "x"}), trained("b", **{"from": "a"})]
    assert len(mistakes(*gone)) == 1


def test_planted_logits_cannot_be_trained():
    found = mistakes(
        {"name": "s", "source": {"type": "synthetic"}, "without": ["ntk"]},
        trained("a", **{"from": "s"}),
    )
    assert found == [
        "models[a].source.from: value 's' — a model with weights: s is synthetic",
    ]


def test_bos_needs_a_token():
    toy = {"name": "toy", "source": {"type": "random", "bos": False}, "without": ["bos"]}
    models = [toy, trained("a", without=["bos"]), trained("b", **{"from": "a"}, without=["bos"])]
    why = "value True — false: the tokenizer of toy has no BOS token"
    given = config() | {
        "models": models,
        "variants": [{"name": "standard", "conditions": ["bos", "no-bos"]}],
    }
    with pytest.raises(ConfigError) as error:
        load_study(given)
    assert list(error.value.mistakes) == [
        f"models[{name}].source.prepend_bos: {why}" for name in "ab"
    ]
    for model in models[1:]:
        model["source"]["prepend_bos"] = False
    load_study(given)


@pytest.mark.parametrize("variant", ["ntk", "window"])
def test_the_same_change_is_not_made_twice(variant):
    found = mistakes(trained("a", variant=variant, without=["untrained"]))
    assert found == [
        f"models[a].without: value ['untrained'] — {variant!r} among them: not applicable on top "
        f"of {variant!r}, which the weights are trained with"
    ]


WIDER = {"name": "wider", "window": 9}
LINEAR = {"name": "linear", "rope": {"rope_type": "linear", "factor": 2.0}}


def with_variants(*models: dict[str, Any]) -> dict[str, Any]:
    variants = [*config()["variants"], WIDER, LINEAR]
    return config(*models, variants=variants)


@pytest.mark.parametrize(
    ("variant", "needed"),
    [("window", "window wider"), ("wider", "wider"), ("ntk", "ntk"), ("linear", "ntk linear")],
)
def test_what_cannot_be_applied_on_top_of_a_trained_architecture_is_left_out(variant, needed):
    """An extraction would refuse it, or change RoPE twice, after hours of training."""
    load_study(with_variants(trained("a", variant=variant, without=needed.split())))
    for one in needed.split():
        fewer = [v for v in needed.split() if v != one]
        with pytest.raises(ConfigError, match=f"{one!r} among them: not applicable"):
            load_study(with_variants(trained("a", variant=variant, without=fewer)))


@pytest.mark.parametrize(
    ("before", "after"),
    [("window", "window"), ("window", "wider"), ("ntk", "ntk"), ("linear", "ntk")],
)
def test_a_training_that_goes_on_does_not_change_the_same_again(before, after):
    every = ["ntk", "window", "wider", "linear"]
    models = [
        trained("a", variant=before, without=every),
        trained("b", **{"from": "a"}, without=every),
        trained("c", **{"from": "b"}, variant=after, without=every),
    ]
    with pytest.raises(ConfigError) as error:
        load_study(with_variants(*models))
    assert list(error.value.mistakes) == [
        f"models[c].source.variant: value {after!r} — another variant: it cannot be applied on top "
        f"of {before!r}, which the starting weights are trained with; a variant without rope and "
        "window keeps their architecture"
    ]
    load_study(with_variants(*models[:2]))


def test_what_the_starting_weights_are_trained_with_is_left_out_too():
    first = trained("a", variant="window", without=["window"])
    with pytest.raises(ConfigError, match=r"models\[b\].without: .*'window' among them"):
        load_study(config(first, trained("b", **{"from": "a"})))


def test_dynamic_rope_is_no_architecture_to_train():
    """It acts beyond the context alone, where the trained model's own standard is refused."""
    dynamic = {"name": "dynamic", "rope": {"rope_type": "dynamic", "factor": 2.0}}
    given = config(trained("a", variant="dynamic"), variants=[{"name": "standard"}, dynamic])
    with pytest.raises(ConfigError) as error:
        load_study(given)
    assert list(error.value.mistakes) == [
        "models[a].source.variant: value 'dynamic' — a variant without dynamic RoPE, which no "
        "checkpoint here has as its own"
    ]


def test_texts_of_a_held_out_loss_are_held_out_of_the_training_before_too():
    models = [trained("a", held_out=16), trained("b", **{"from": "a"}, held_out=20)]
    assert mistakes(*models) == [
        "models[b].source.held_out: value 20 — 16, as in a, which was trained on texts of this "
        "held-out loss otherwise"
    ]


def test_steps_may_be_measured_that_follow_from_the_last_one_alone():
    study = load_study(config(trained("a", at=[])))
    assert steps_of(study.model("a").source) == (30,)
