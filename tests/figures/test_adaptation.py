"""The figure of adaptation: a line per trained model at its steps, in every panel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from abspos.figures import adaptation
from abspos.report import checkpoints

STEPS = (0, 10, 100)
MODELS = ("control", "slid")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Two trained models of three steps, and the one that they start from."""
    runs: list[dict[str, Any]] = [{"model": "start", "revision": "0123"}]
    runs += [{"model": m, "revision": f"step{s}", "tokens": 64 * s} for m in MODELS for s in STEPS]
    shared = {"variant": "standard", "condition": "bos"}
    shared |= {"ci_low": 0.1, "ci_high": 0.5, "n_inputs": 16}
    of_run = [{key: run[key] for key in ("model", "revision")} | shared for run in runs]
    energies = [
        run
        | {"bin": "early", "summary": "median", "kind": kind, "lens": lens}
        | {"component": component, "energy": 0.3}
        for run in of_run
        for lens in ("log", "probability")
        for component in ("mask", "residual", "pattern", "row")
        for kind in (("full+sliding", "full") if run["model"] == "slid" else ("full",))
    ]
    losses = [
        {"model": m, "step": s, "tokens": 64 * s, "loss": 3.0, "held_out_loss": h}
        for m in MODELS
        for s, h in ((0, 4.0), (1, None), (10, 3.5), (100, 3.0))
    ]
    return {
        "checkpoints": checkpoints.table(runs),
        "summary": pd.DataFrame(energies),
        "sink_share": pd.DataFrame([r | {"sink_share": 0.3, "kind": "full"} for r in of_run]),
        "training": pd.DataFrame(losses),
    }


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(("low", "high"), [(0.12, 0.19), (0.31, 0.35), (2.0, 9.0), (0.7, 1.2)])
def test_an_axis_shorter_than_a_decade_has_numbers(tables, low, high):
    summary = tables["summary"]
    energy = np.where(summary["revision"] == "step0", low, high)
    tables["summary"] = summary.assign(energy=energy, ci_low=energy, ci_high=energy)
    figure = adaptation.draw(tables)
    figure.canvas.draw()
    for ax in figure.axes[:4]:
        first, last = ax.get_ylim()
        ticks = zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
        shown = [label.get_text() for tick, label in ticks if first <= tick <= last]
        assert len(list(filter(None, shown))) >= 2


def test_each_trained_model_is_a_line_at_its_steps_in_each_panel(tables):
    figure = adaptation.draw(tables, confidence=0.9)
    figure.canvas.draw()
    assert len(figure.axes) == 6
    for ax in figure.axes:
        curves = [line for line in ax.lines if len(line.get_xdata()) == len(STEPS)]
        assert len(curves) == len(MODELS)
        for line in curves:
            np.testing.assert_allclose(line.get_xdata(), STEPS)
    shown = texts(figure)
    assert all(name in shown for name in (*MODELS, "N = 16 inputs", "90 %", "training step"))
    assert "start" not in shown.split()


def test_a_study_without_trained_models_says_so(tables):
    figure = adaptation.draw(tables | {"training": tables["training"].iloc[:0]})
    assert "no model was trained here" in texts(figure)


def test_arms_that_are_missing_leave_panels_empty(tables):
    figure = adaptation.draw(tables | {n: tables[n].iloc[:0] for n in ("summary", "sink_share")})
    figure.canvas.draw()
    assert len(figure.axes) == 6
