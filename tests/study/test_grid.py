"""Grids of queries: everything for short inputs, even and bounded for long ones."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from abspos.study import grid


@given(st.integers(4, 385))
def test_short_inputs_are_taken_whole(length):
    assert list(grid.references(length)) == list(range(length // 2, length))
    assert grid.explained(length, 32, {3}) == list(range(length // 2))
    assert grid.shown(grid.explained(length)) == list(range(length // 2))


@given(st.integers(386, 40_000), st.integers(2, 300), st.sets(st.integers(0, 500), max_size=4))
def test_long_inputs_are_taken_on_bounded_even_grids(length, early, named):
    half = length // 2
    late = grid.references(length)
    assert late[0] >= half
    assert late[-1] == length - 1
    assert late[0] - late.step < half, "the grid reaches as far down as it can"
    assert 96 <= len(late) <= grid.MOST + 1
    queries = grid.explained(length, early, named)
    dense = min(max(early, grid.DENSE), half)
    assert queries[:dense] == list(range(dense))
    assert queries[-1] == half - 1
    assert queries == sorted(set(queries))
    assert named & set(range(half)) <= set(queries)
    assert len(queries) <= max(grid.MOST, dense + grid.MOST // 2) + len(named)
    rest = [i for i in queries if i >= dense and i not in named]
    assert named or len({b - a for a, b in pairwise(rest)}) <= 1
    places = grid.shown(queries)
    assert places[-1] == len(queries) - 1
    assert len(places) <= grid.SHOWN


@given(st.integers(4, 5000), st.integers(2, 300), st.sets(st.integers(0, 500), max_size=4))
def test_bands_tile_the_queries_and_hold_little_that_is_not_seen(length, early, named):
    queries = grid.explained(length, early, named)
    bands = grid.bands(queries)
    assert [i for band in bands for i in queries[band]] == queries
    assert all(queries[band] for band in bands)
    for band in bands[1:]:
        first, last = queries[band][0], queries[band][-1]
        assert first >= grid.NARROWEST
        assert last < 2 * first, "no query sees less than half of its band's offsets"


@given(st.integers(4, 5000), st.integers(2, 300), st.sets(st.integers(0, 500), max_size=4))
def test_gaps_sum_to_the_queries_of_every_bin(length, early, named):
    half = length // 2
    queries = grid.explained(length, early, {*named, *(w - 1 for w in named if w)})
    gaps = grid.gaps(queries, early)
    assert min(gaps) > 0
    bins = [(1, min(early, half)), (early, half), *((w, half) for w in named if w)]
    for first, stop in bins:
        own = [gap for query, gap in zip(queries, gaps, strict=True) if first <= query < stop]
        assert sum(own) == max(0, stop - first)
    if len(queries) == half:
        assert set(gaps) == {1.0}
