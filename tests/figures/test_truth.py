"""The figure of the truth: a part per model, one scale on both axes, misses that show."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from abspos.figures import style, truth

MODELS = ("noise-1", "few")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Heads and models of two synthetic models; of the first one head misses its truth."""
    rng = np.random.default_rng(0)
    rows = []
    for model, lens, component in product(MODELS, style.LENSES, style.COMPONENTS):
        for layer, head in [*np.ndindex(2, 3), (None, None)]:
            summary = "median" if head is None else None
            value = float(10 ** rng.uniform(-4, 0)) if head != 0 or layer else 0.0
            missed = (model, lens, component, layer, head) == ("noise-1", "log", "mask", 1, 1)
            estimate = value * (9 if missed else 1.1)
            rows.append(
                {
                    "model": model,
                    "revision": "seed-0",
                    "variant": "standard",
                    "condition": "bos",
                    "bin": "early",
                    "lens": lens,
                    "component": component,
                    "layer": layer,
                    "head": head,
                    "summary": summary,
                    "truth": value,
                    "estimate": estimate,
                    "ci_low": estimate - 0.2 * value - 1e-3,
                    "ci_high": estimate + 0.2 * value + 1e-3,
                    "n_inputs": 128,
                    "covered": not missed,
                }
            )
    numbers = [
        {
            "claim": "bos-swap",
            "model": model,
            "revision": "seed-0",
            "lens": lens,
            "summary": "median",
            "truth": 0.4,
            "estimate": 0.42,
            "ci_low": 0.3,
            "ci_high": 0.5,
            "covered": True,
            "n_inputs": 128,
        }
        for model, lens in product(MODELS, style.LENSES)
    ]
    return {"truth": pd.DataFrame(rows), "numbers": pd.DataFrame(numbers)}


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_every_model_has_its_part_and_misses_are_counted(tables):
    figure = truth.draw(tables, confidence=0.9)
    figure.canvas.draw()
    shown = texts(figure)
    assert "noise-1 @ seed-0: heads, 71 of 72 hold it" in shown
    assert "few @ seed-0: heads, 72 of 72 hold it" in shown
    assert "N = 128 inputs" in shown
    assert "90 %" in shown
    assert shown.count("mask: 11 of 12 hold it") == 1
    assert shown.count("mask: 12 of 12 hold it") == 1
    assert shown.count("claims: 2 of 2 hold it") == 2


def test_models_share_the_axes(tables):
    alone = {name: t[t["model"] == "few"] for name, t in tables.items()}
    one, two = truth.draw(alone), truth.draw(tables)
    assert one.get_figheight() == two.get_figheight()
    assert len(one.axes) == len(two.axes) == 8
    assert "few @ seed-0" in texts(one)
    colors = {line.get_color() for line in two.axes[0].lines if line.get_marker() != "None"}
    assert len(colors) == 2


def test_both_axes_have_one_scale(tables):
    """What equals its truth stands on the diagonal, wherever the axes end."""
    for ax in truth.draw(tables).axes:
        assert ax.get_xscale() == ax.get_yscale()
        there = ax.transScale.transform([(1e-5, 1e-5), (0.0, 0.0), (0.3, 0.3)])
        np.testing.assert_allclose(there[:, 0], there[:, 1])


def test_arms_that_agree_in_all_count_once(tables):
    rows = tables["truth"]
    twice = pd.concat([rows, rows.assign(condition="control-noop")], ignore_index=True)
    shown = texts(truth.draw(tables | {"truth": twice}))
    assert shown.count("mask: 11 of 12 hold it") == 1


def test_a_table_without_rows_says_so(tables):
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    figure = truth.draw(empty)
    figure.canvas.draw()
    assert "no synthetic model" in texts(figure)


def test_numbers_that_are_not_finite_are_left_out(tables):
    gone = tables["numbers"].assign(covered=None, estimate=np.nan)
    shown = texts(truth.draw(tables | {"numbers": gone}))
    assert shown.count("no claim of this study") == 2
