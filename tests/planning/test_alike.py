"""Which models of a study were trained alike, and what their comparison reads."""

from __future__ import annotations

from typing import Any

from abspos.planning.alike import alike
from abspos.planning.layout import Layout
from abspos.study.config import load_study

SMALL = {"layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "hidden_size": 16}
APART = ["ntk", "window", "untrained"]


def found(*models: dict[str, Any], **study: Any) -> dict[str, Any]:
    """The comparison in a study of models that are trained on from `toy`."""
    given = [
        {"name": f"{m['variant']}-{m.get('seed', 0)}", "without": APART}
        | ({"reading": m.pop("reading")} if "reading" in m else {})
        | {"source": {"type": "trained", "from": "toy", "steps": 30} | m}
        for m in map(dict, models)
    ]
    config = {
        "models": [
            {"name": "toy", "source": {"type": "random"} | SMALL, "without": APART[:2]},
            *given,
        ],
        "inputs": {"number": 8, "length": 32},
        "bins": {"early": 8},
        "anchor": 15,
        "variants": [
            {"name": "standard"},
            {"name": "ntk", "rope": {"rope_type": "ntk", "factor": 8}},
            {"name": "window", "window": 8},
            {"name": "untrained", "untrained": True},
        ],
    }
    return alike(Layout(load_study(config | study)))


def test_models_that_differ_in_their_variant_alone_are_compared_at_each_step():
    settings = found(*({"variant": v} for v in ("standard", "ntk", "window")))
    assert [group["revision"] for group in settings["groups"]] == ["step0", "step10", "step30"]
    assert settings["models"] == [
        ["toy", "seed-0"],
        *([f"{v}-0", f"step{n}"] for v in ("standard", "ntk", "window") for n in (0, 10, 30)),
    ]
    last = settings["groups"][-1]
    assert last["start"] == ["toy", "seed-0"]
    assert last["runs"] == [{v: f"{v}-0" for v in ("standard", "ntk", "window")}]
    assert last["variants"] == ["standard", "ntk", "window"]
    assert last["untrained"] == ["untrained"]
    assert (last["base"], last["reading"]) == ("bos", "pattern")
    assert settings["variants"]["window"]["window"] == 8


def test_more_steps_of_one_are_no_other_course():
    settings = found({"variant": "standard"}, {"variant": "ntk", "steps": 100})
    assert [group["revision"] for group in settings["groups"]] == ["step0", "step10", "step30"]


def test_seeds_are_runs_of_one_comparison():
    models = [{"variant": v, "seed": s} for s in (0, 1) for v in ("standard", "window")]
    (*_, last) = found(*models)["groups"]
    assert last["runs"] == [
        {"standard": "standard-0", "window": "window-0"},
        {"standard": "standard-1", "window": "window-1"},
    ]
    # A variant that only one seed has is left out.
    (*_, last) = found(*models, {"variant": "ntk", "seed": 1})["groups"]
    assert last["variants"] == ["standard", "window"]


def test_without_a_control_or_with_other_settings_nothing_is_compared():
    assert found({"variant": "ntk"}, {"variant": "window"})["groups"] == []
    assert found({"variant": "standard"})["groups"] == []
    assert found({"variant": "standard"}, {"variant": "ntk", "learning_rate": 1e-3})["groups"] == []
    assert found({"variant": "standard"}, {"variant": "ntk"})["models"] != []
    assert found() == found() | {"models": [], "groups": []}


def test_the_reading_that_decides_is_the_controls():
    models = ({"variant": "window"}, {"variant": "standard", "reading": "R"})
    (*_, last) = found(*models)["groups"]
    assert last["reading"] == "R"
