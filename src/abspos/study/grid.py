"""Which queries a decomposition takes: all of short inputs, even grids of long ones.

Every reference query and every early one would let the cost grow with the cube of T, and what is
stored with its square. Source: docs/method.md, section 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

#: All queries are taken up to this many in each half, which is T = 384; of more, about as many.
MOST = 192
#: Queries whose mean fields are stored, about, where a grid is taken.
SHOWN = 32
#: Queries from 0 on that are always taken, or up to the end of the early bin if that is later.
DENSE = 64
#: Fields of fewer queries than this are not worth cutting shorter.
NARROWEST = 32


def references(length: int) -> range:
    """Reference queries of inputs of this many positions: every s-th, the last one among them."""
    half = length // 2
    step = math.ceil(half / MOST)
    number = (length - 1 - half) // step + 1
    return range(length - 1 - step * (number - 1), length, step)


def explained(length: int, early: int = 0, named: Iterable[int] = ()) -> list[int]:
    """Early queries that are explained, in order.

    Where not all are: every one below max(early, DENSE), of the others every s-th with the last
    among them, and those that are named.

    Args:
        length: T.
        early: first query after the early bin.
        named: further queries that are needed, such as the anchor.
    """
    half = length // 2
    if half <= MOST:
        return list(range(half))
    dense = min(max(early, DENSE), half)
    step = max(1, math.ceil((half - dense) / max(MOST - dense, MOST // 2)))
    sparse = range(half - 1, dense - 1, -step)
    return sorted({*range(dense), *sparse, *(i for i in named if i < half)})


def gaps(queries: Sequence[int], early: int) -> list[float]:
    """How many queries each explained one stands for in means over bins.

    Those nearer to it than to its neighbours, half of one that is as near to both; none across the
    end of the early bin. They sum to the number of queries in every bin whose edges are explained.

    Args:
        queries: explained queries, in order from 0 on.
        early: first query after the early bin.
    """
    middles = [early - 0.5 if a < early <= b else (a + b) / 2 for a, b in pairwise(queries)]
    return [b - a for a, b in pairwise([-0.5, *middles, queries[-1] + 0.5])]


def shown(queries: list[int]) -> list[int]:
    """Places among explained queries whose mean fields are stored: all, or about SHOWN of many."""
    step = 1 if queries[-1] < MOST else math.ceil(len(queries) / SHOWN)
    return list(range(len(queries) - 1, -1, -step))[::-1]


def bands(queries: Sequence[int]) -> list[slice]:
    """Explained queries in groups, as slices: below NARROWEST, and octave by octave from there.

    Fields of a band have no more offsets than its last query has keys. In one piece, two thirds
    of them would lie where a query sees nothing.
    """
    octaves = [max(query, NARROWEST - 1).bit_length() for query in queries]
    starts = [0, *(i for i in range(1, len(octaves)) if octaves[i] > octaves[i - 1])]
    return [slice(*edges) for edges in pairwise([*starts, len(queries)])]


def elements(queries: Sequence[int]) -> int:
    """Elements of a field of one head and input, in bands."""
    return sum(len(queries[band]) * (queries[band][-1] + 1) for band in bands(queries))
