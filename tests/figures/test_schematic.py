"""The schematic shows the identity of the decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from abspos.components.decomposition import decompose
from abspos.figures import style
from abspos.figures.schematic import (
    HEIGHT,
    PARTS,
    SHOWN,
    Fields,
    Head,
    draw_run,
    parts_of,
    scales_of,
)


@pytest.mark.parametrize(("length", "window"), [(16, None), (4 * SHOWN, None), (4 * SHOWN, 20)])
def test_the_three_parts_add_up_to_the_mean_log_attention_by_query_and_key(length, window):
    logits = torch.randn(3, 1, length, length, generator=torch.Generator().manual_seed(0))
    split = decompose(logits.double(), window=window).mean("input").isel(head=0).fillna(0)
    head = xr.Dataset(
        {
            "relative": split["relative"],
            "residual": split["residual"],
            "denominator": (("input", "cut"), -split["mask"].values[None]),
        }
    )
    fields = parts_of(head, window)
    number = min(length // 2, SHOWN)
    seen = torch.ones(length, length).tril().bool()
    seen &= torch.ones(length, length).triu(1 - (window or length)).bool()
    attention = logits.double().masked_fill(~seen, -torch.inf).log_softmax(-1).mean(0)[0]
    wanted = attention[:number, :number].numpy()
    shown = fields.parts["log attention"]
    visible = np.isfinite(wanted)
    assert shown.shape == (number, number)
    np.testing.assert_allclose(shown[visible], wanted[visible], atol=1e-9)
    assert np.isnan(shown[~visible]).all()
    assert (fields.parts["mask"][visible] >= -1e-9).all()


@pytest.mark.parametrize("queries", [np.arange(SHOWN), np.arange(0, SHOWN, 6)])
def test_the_name_of_one_run_stands_above_the_titles_of_its_panels(queries):
    parts = dict.fromkeys(PARTS, np.random.default_rng(0).normal(size=(len(queries), SHOWN)))
    head = Head("layer 0, head 0", Fields(queries, parts))
    scales = scales_of([head.fields])
    figure = style.of_one(
        ("gemma-3-270m", "a5fd3b62230a"),
        "heading",
        "note " * 40,
        HEIGHT,
        lambda part: draw_run(part, head, scales),
    )
    figure.draw_without_rendering()
    (part,) = figure.subfigs
    name = part._suptitle.get_window_extent()
    assert not any(name.overlaps(ax.title.get_window_extent()) for ax in part.axes)
