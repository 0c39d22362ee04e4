"""The figure of training: a part per model, tokens on its axis, gaps where checkpoints lack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from abspos.figures import training
from abspos.report import checkpoints

STEPS = {"step0": 0, "step1": 2e6, "step1000": 2e9, "step2000": 4e9}


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """A model with three checkpoints and a gap, and one without training tokens."""
    rows = [
        {
            "model": "swept",
            "revision": name,
            "tokens": int(tokens),
            "gap": "no such revision" if name == "step1000" else None,
        }
        for name, tokens in STEPS.items()
    ] + [{"model": "packaged", "revision": "0123"}]
    interval = {"ci_low": 0.1, "ci_high": 0.5, "n_inputs": 16}
    runs = [
        {"model": row["model"], "revision": row["revision"], **interval}
        for row in rows
        if not row.get("gap")
    ]
    arm = {"variant": "standard", "condition": "bos"}
    return {
        "checkpoints": checkpoints.table(rows),
        "summary": pd.DataFrame(
            {
                **run,
                **arm,
                "bin": "early",
                "lens": lens,
                "component": component,
                "summary": "median",
                "energy": 0.3,
                "kind": kind,
            }
            for run in runs
            for lens in ("log", "probability")
            for component in ("mask", "residual", "row")
            for kind in ("full+sliding", "full", "sliding")
        ),
        "sink_share": pd.DataFrame(
            {**run, **arm, "sink_share": 0.3, "kind": "full+sliding"} for run in runs
        ),
        "swaps": pd.DataFrame(
            {
                **run,
                "replacement": "swap-token",
                "number": "energy reduction",
                "lens": lens,
                "summary": "median",
                "reading": "R",
                "estimate": 0.3,
            }
            for run in runs
            for lens in ("log", "probability")
        ),
    }


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_models_with_tokens_have_their_part(tables):
    figure = training.draw(tables, confidence=0.9)
    figure.canvas.draw()
    shown = texts(figure)
    assert "swept: 3 of 4 checkpoints, layers full+sliding together" in shown
    assert "packaged" not in shown
    assert "N = 16 inputs" in shown
    assert "90 %" in shown
    assert "training tokens" in shown
    assert len(figure.axes) == 4


def test_every_checkpoint_is_drawn_at_its_tokens_and_a_gap_is_marked(tables):
    for ax in training.draw(tables).axes:
        curves = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert curves
        for line in curves:
            np.testing.assert_allclose(line.get_xdata(), [0, 2e6, 4e9])
        gaps = [
            line
            for line in ax.lines
            if line.get_linestyle() == ":" and set(line.get_xdata()) == {2e9}
        ]
        assert len(gaps) == 1


@pytest.mark.parametrize("missing", ["swaps", "all"])
def test_what_a_study_lacks_is_said(tables, missing):
    empty = [missing] if missing != "all" else list(tables)
    given = {name: t.iloc[:0] if name in empty else t for name, t in tables.items()}
    figure = training.draw(given)
    figure.canvas.draw()
    wanted = {"swaps": "no swap-token arm", "all": "no model with two checkpoints"}
    assert f"{wanted[missing]} in this study" in texts(figure)
    assert sum(ax.axison for ax in figure.axes) == {"swaps": 3, "all": 0}[missing]


def several(tables, number=3):
    """The tables of several models along their training."""
    return {
        name: pd.concat(
            [t[t["model"] == "swept"].assign(model=f"swept-{i}") for i in range(number)]
        )
        for name, t in tables.items()
    }


def test_models_stand_beside_each_other_on_one_scale(tables):
    one, three = training.draw(tables), training.draw(several(tables))
    three.canvas.draw()
    assert three.get_figheight() < 1.6 * one.get_figheight()
    assert len(three.axes) == 4 * 3
    for row in range(4):
        assert len({ax.get_ylim() for ax in three.axes[3 * row : 3 * row + 3]}) == 1
    assert all(f"swept-{i}: 3 of 4 checkpoints" in texts(three) for i in range(3))


def test_a_model_with_one_checkpoint_is_left_out(tables):
    early = {
        name: t[t["revision"].isin(["step0", "0123"])].assign(model="young")
        for name, t in tables.items()
    }
    both = {name: pd.concat([t, early[name]]) for name, t in tables.items()}
    assert "young" not in texts(training.draw(both))


def test_a_model_without_bos_is_drawn_under_no_bos(tables):
    given = {
        name: t.assign(condition="no-bos") if "condition" in t else t for name, t in tables.items()
    }
    figure, usual = training.draw(given), training.draw(tables)
    assert [len(ax.lines) for ax in figure.axes] == [len(ax.lines) for ax in usual.axes]
    assert "condition bos (no-bos: swept)" in " ".join(texts(figure).split())
