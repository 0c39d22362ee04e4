"""What is kept of a block, against inner products of a decomposition in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from abspos.components import grams
from abspos.components.blocks import block_bands, block_parts
from abspos.components.reduction import Plan, block_summary, stands_for
from abspos.statistics.packing import unpack
from abspos.study import grid

EXACT = {"rtol": 1e-9, "atol": 1e-10}
HALF, HEADS, DOCUMENTS = 80, 2, [0, 1, 1, 2, 3]


def plan_of(early=32, windows=(), anchor=HALF - 1, queries=range(HALF), keep_fields=True):
    return Plan(
        torch.tensor(list(queries)),
        grams.bins(HALF, early, windows),
        anchor,
        early,
        2 * HALF,
        torch.tensor(DOCUMENTS),
        "cpu",
        keep_fields,
    )


def block(plan, window=None, seed=0, reference=None):
    """Queries, keys, and the summary of their block."""
    made = torch.Generator().manual_seed(seed)
    shape = (len(DOCUMENTS), HEADS, 2 * HALF, 6)
    q, k = (torch.randn(shape, generator=made, dtype=torch.float64) for _ in range(2))
    bands, to_first = block_bands(q, k, 0.5, window, None, plan.queries, plan.bands)
    assert len(bands) == 3
    return q, k, block_summary(bands, to_first, plan, reference)


CASES = pytest.mark.parametrize(
    ("early", "window", "anchor"),
    [(32, None, HALF - 1), (20, None, 63), (50, 25, HALF - 1), (50, None, 40), (32, 32, 70)],
)


@CASES
def test_grams_are_those_of_one_piece(early, window, anchor):
    """Whether an edge of the early bin is one of a band, lies within one, or beyond several."""
    plan = plan_of(early, [25, 32], anchor)
    q, k, found = block(plan, window)
    parts, _ = block_parts(q, k, 0.5, window)
    for which in plan.bins:
        flat = grams.flat_fields(parts, which, anchor)
        names = {name for name in found if name.startswith(f"gram/{which.name}/")}
        assert names == {f"gram/{which.name}/{lens}/{component}" for lens, component in flat}
        for (lens, component), x in flat.items():
            name = f"gram/{which.name}/{lens}/{component}"
            own = unpack(found[name].numpy())
            np.testing.assert_allclose(own, grams.gram(x), err_msg=name, **EXACT)


@CASES
def test_profiles_are_row_sums_over_other_documents(early, window, anchor):
    plan = plan_of(early, [25, 32], anchor)
    q, k, found = block(plan, window)
    parts, _ = block_parts(q, k, 0.5, window)
    others = (torch.tensor(DOCUMENTS)[:, None] != torch.tensor(DOCUMENTS)).double()
    covered = []
    for which in grams.profile_bins(HALF):
        covered += range(which.first, which.stop)
        for lens in grams.LENSES:
            for component in ("mask", "residual", "row", "sink", "pattern"):
                if (lens, component) == ("log", "pattern"):
                    continue  # the rest of R
                x = grams.flat_fields(parts, which, HALF - 1)[lens, component]
                own = found[f"profile/{which.name}/{lens}/{component}"]
                np.testing.assert_allclose(own, (grams.gram(x) * others).sum(-1), **EXACT)
    assert covered == list(range(1, HALF))


@pytest.mark.parametrize("window", [None, 25])
def test_early_fields_have_the_grams_as_products(window):
    plan = plan_of(50)
    *_, found = block(plan, window)
    for lens in grams.LENSES:
        x = found[f"early/{lens}"]
        assert x.shape == (HEADS, len(DOCUMENTS), 50 * 51 // 2 - 1)
        own = unpack(found[f"gram/early/{lens}/residual"].numpy())
        np.testing.assert_allclose(grams.gram(x), own, **EXACT)
        row, sink = (unpack(found[f"gram/early/{lens}/{p}"].numpy()) for p in ("row", "sink"))
        x = found[f"early/{lens}/sink"]
        assert x.shape == (HEADS, len(DOCUMENTS), 2 * 49)
        np.testing.assert_allclose(grams.gram(x), row + sink, **EXACT)
    own = unpack(found["gram/early/probability/pattern"].numpy())
    np.testing.assert_allclose(grams.gram(found["early/probability/pattern"]), own, **EXACT)


def test_fields_of_inputs_are_kept_only_on_request():
    *_, found = block(plan_of(keep_fields=False))
    assert not [name for name in found if name.startswith("early/")]


def test_early_fields_meet_those_of_a_reference_whether_they_are_kept_or_not():
    other = {lens: torch.randn(HEADS, 3, 32 * 33 // 2 - 1).double() for lens in grams.LENSES}
    *_, kept = block(plan_of())
    *_, found = block(plan_of(keep_fields=False), reference=other)
    assert not [name for name in found if name.startswith("early/")]
    for lens in grams.LENSES:
        wanted = kept[f"early/{lens}"] @ other[lens].mT
        np.testing.assert_allclose(found[f"cross/{lens}"], wanted, **EXACT)


def test_sink_excess_is_of_early_queries_that_see_position_0():
    for window, queries in ((None, range(1, 32)), (25, range(1, 25))):
        q, k, found = block(plan_of(), window)
        parts, _ = block_parts(q, k, 0.5, window)
        excess = (parts.attention - parts.predicted).diagonal(dim1=-2, dim2=-1)
        wanted = excess[..., list(queries)].mean(-1).T
        np.testing.assert_allclose(found["sink_excess"], wanted, **EXACT)


def test_mean_fields_are_shown_in_the_order_of_queries(monkeypatch):
    monkeypatch.setattr(grid, "MOST", 40)
    queries = grid.explained(2 * HALF, 32, {33})
    plan = plan_of(queries=queries)
    q, k, found = block(plan)
    parts, _ = block_parts(q, k, 0.5, None, None, plan.queries)
    places = grid.shown(queries)
    assert plan.shown.tolist() == [queries[i] for i in places]
    for name in ("residual", "attention", "predicted"):
        wanted = getattr(parts, name)[:, :, places].mean(0)
        np.testing.assert_allclose(found[name], wanted, err_msg=name, **EXACT)


@pytest.mark.parametrize("queries", [range(HALF), [*range(64), 66, 79]])
@pytest.mark.parametrize("early", [32, 20, 50])
def test_pieces_tile_the_queries_from_1_on(queries, early):
    plan = plan_of(early, queries=queries)
    taken = []
    for band, pieces in zip(plan.bands, plan.pieces, strict=True):
        for rows, bins in pieces:
            own = list(queries)[band][rows]
            assert [b.first <= i < b.stop for b in bins for i in own] == [True] * 2 * len(own)
            taken += own
    assert taken == list(queries)[1:]
    for share, bins in zip(plan.shares, (plan.plain, plan.narrow), strict=True):
        gaps = torch.ones(HALF) if plan.gaps is None else plan.gaps
        numbers = [
            gaps[band][piece.rows].sum()
            for band, pieces in zip(plan.bands, plan.pieces, strict=True)
            for piece in pieces
        ]
        np.testing.assert_allclose(share @ torch.stack(numbers).double(), np.ones(len(bins)))


def test_queries_stand_for_those_before_them():
    share = stands_for(torch.tensor([0, 1, 3]), 8)
    np.testing.assert_allclose(share * 8, [1, 1, 2, 1, 1, 1, 1])


@pytest.mark.parametrize("window", [None, 100])
def test_energies_on_a_grid_are_those_of_all_queries(window):
    """T = 1200, logits that change smoothly with the query: what the grid leaves out is small.

    Without weights the dense early part makes late energies twice too large.
    """
    length, half = 1200, 600
    position = torch.arange(length, dtype=torch.float64)
    slow = torch.exp(-position / 150)
    # Two inputs, one head: a drift that fades with the query, a sink, and keys like each other.
    q = torch.stack([torch.stack([slow, torch.ones_like(slow)], -1)] * 2)[:, None]
    near = torch.cos(position / 40)
    k = torch.stack([torch.stack([near * a, 2.0 * (position == 0)], -1) for a in (1, 1.5)])[:, None]
    grids = []
    for queries in (range(half), grid.explained(length, 32, {63, 99, 100})):
        plan = Plan(
            torch.tensor(list(queries)),
            grams.bins(half, 32, [100]),
            63,
            32,
            length,
            torch.arange(2),
            "cpu",
        )
        bands, to_first = block_bands(q, k, 1.0, window, None, plan.queries, plan.bands)
        grids.append(block_summary(bands, to_first, plan))
    whole, taken = grids
    names = [n for n in whole if n.startswith("gram/")]
    assert {n.split("/")[1] for n in names} == {"early", "late", "beyond-100"}
    for name in names:
        scale = whole[name].abs().max()
        tolerance = 1e-9 if "/early/" in name else 0.01
        torch.testing.assert_close(taken[name], whole[name], rtol=0, atol=float(scale * tolerance))
