"""Gram matrices of fields over inputs: all that energies and their errors need.

For a bin B of queries the inner product of two inputs' fields is the mean over its queries of
the mean (log lens) or sum (probability lens) over visible offsets. A field is flattened with the
square roots of these weights, so that a Gram matrix is one matrix product.
A field holds 0 where nothing is visible.
Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from abspos.components import Parts, row_and_sink

LENSES = ("log", "probability")


@dataclass(frozen=True)
class Bin:
    """A range of queries whose energies are reported together.

    Attributes:
        name: early, late or beyond-W.
        first: its first query.
        stop: the query after its last.
        keys: where given, attention is renormalised on this many nearest keys.
    """

    name: str
    first: int
    stop: int
    keys: int | None = None

    def rows(self, queries: Tensor) -> slice:
        """Where its queries stand among those explained (query), which are in order."""
        first, stop = torch.searchsorted(
            queries, torch.tensor([self.first, self.stop], device=queries.device)
        ).tolist()
        return slice(first, stop)


def bins(half: int, early: int, windows: Sequence[int]) -> list[Bin]:
    """The bins of a study: early, late, and for windows of its arms what lies beyond them.

    Query 0 has one key and is left out. Bins without queries are left out too.

    Args:
        half: T // 2.
        early: first query after the early bin.
        windows: keys of the windows that the study's variants have.
    """
    found = [Bin("early", 1, min(early, half)), Bin("late", early, half)]
    found += [Bin(f"beyond-{w}", w, half, w) for w in sorted(set(windows))]
    return [b for b in found if b.first < b.stop]


def profile_bins(half: int) -> list[Bin]:
    """Narrow bins for curves over the query position: about four per octave, from query 1."""
    edges, quarter = [1], 0
    while edges[-1] < half:
        quarter += 1
        # Octave by octave, so that powers of two are edges whatever the rounding.
        edge = int(2 ** (quarter // 4) * 2 ** (quarter % 4 / 4))
        if edge > edges[-1]:
            edges.append(min(edge, half))
    return [Bin(f"{a}-{b - 1}", a, b) for a, b in pairwise(edges)]


def masks(parts: Parts, anchor: int, rows: slice = slice(None)) -> dict[tuple[str, str], Tensor]:
    """The mask's fields of some queries at an anchor, one of those explained (see fields)."""
    at_anchor = parts.predicted[..., parts.place(anchor), None, :]
    moved = parts.predicted[:, :, rows] - at_anchor
    return {
        ("log", "mask"): parts.mask(anchor)[..., rows],
        ("probability", "mask"): moved.mul_(parts.valid[rows].to(moved.dtype)),
    }


def fields(parts: Parts, anchor: int | None = None) -> dict[tuple[str, str], Tensor]:
    """The fields of both lenses by (lens, component), unweighted; 0 where not visible.

    (input, head, query, offset), but the mask of the log lens, free of the offset,
    (input, head, query).

    Args:
        parts: a decomposition.
        anchor: a of mask_i = M_i - M_a; half - 1 unless given.
    """
    return {
        **masks(parts, int(parts.queries[-1]) if anchor is None else anchor),
        ("log", "residual"): parts.residual,
        ("probability", "residual"): parts.attention - parts.predicted,
    }


def renormalised(parts: Parts, keys: int) -> dict[tuple[str, str], Tensor]:
    """Residual fields of queries i >= keys on offsets d < keys, (..., query, offset < keys).

    What the model does is renormalised query by query; what the mask predicts is a reference
    query cut to the same number of keys, so position 0 is out of sight on both sides. Where the
    arm's own window is narrower than ``keys``, offsets end there.
    """
    seen = min(keys, int(parts.valid[-1].sum()))
    rows = slice(parts.place(keys), None)
    logit = (parts.relative + parts.denominator[..., -1:])[..., None, :seen]
    # R and log attention differ by the mean logit and a constant of the row.
    log_a = (parts.residual[..., rows, :seen] + logit).log_softmax(-1)
    log_m = logit - parts.denominator[..., keys - 1, None, None]
    predicted = parts.predicted[..., parts.place(keys - 1), None, :seen]
    return {
        ("log", "residual"): log_a - log_m,
        ("probability", "residual"): log_a.exp() - predicted,
    }


def weights(valid: Tensor, lens: str) -> Tensor:
    """Weight of each offset that a query sees (query): 1 over their number, or 1."""
    keys = valid.sum(-1).double()
    return 1 / keys if lens == "log" else torch.ones_like(keys)


def flatten(field: Tensor, weight: Tensor, rows: slice) -> Tensor:
    """One bin of a field as vectors whose dot product is the bin's inner product.

    Args:
        field: (input, head, query, offset), 0 where not visible, or (input, head, query).
        weight: of each query (query).
        rows: the queries of the bin.

    Returns:
        (head, input, element).
    """
    root = (weight[rows] / (rows.stop - rows.start)).sqrt().to(field.dtype)
    x = field[:, :, rows] * (root[:, None] if field.ndim == 4 else root)
    return x.flatten(2).transpose(0, 1)


def gram(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Gram matrices (head, input, input) of flattened fields (head, input, element)."""
    return x @ (x if y is None else y).mT


def flat_fields(
    parts: Parts, which: Bin, anchor: int, known: Mapping[tuple[str, str], Tensor] | None = None
) -> Mapping[tuple[str, str], Tensor]:
    """Flattened fields (head, input, element) of one bin by (lens, component).

    The early bin also has the mask at the study's anchor where that is another than half - 1, and,
    where position 0 is in sight of all of its queries, the row and sink parts of R; the rest is R
    less those, and by orthogonality so is its Gram matrix.

    Args:
        parts: a decomposition.
        which: the bin.
        anchor: a of mask_i = M_i - M_a.
        known: fields(parts), where they are made already.
    """
    rows = which.rows(parts.queries)
    found: dict[tuple[str, str], Tensor] = {}
    if which.keys is not None:
        for (lens, component), field in renormalised(parts, which.keys).items():
            seen = torch.ones(field.shape[2:], dtype=torch.bool, device=field.device)
            found[lens, component] = flatten(field, weights(seen, lens), slice(0, len(seen)))
        return found
    keys = parts.valid.sum(-1)
    early = which.name == "early"
    in_sight = bool((keys == parts.queries + 1)[: rows.stop].all())
    for (lens, component), field in (fields(parts) if known is None else known).items():
        weight = weights(parts.valid, lens)
        # Free of the offset, it stands for all that a query sees.
        whole = weight if field.ndim == 4 else weight * keys
        found[lens, component] = flatten(field[..., : which.stop], whole, rows)
        if early and component == "residual" and in_sight:
            row, sink = row_and_sink(field[:, :, : which.stop, : which.stop])
            found[lens, "row"] = flatten(row, weight * (keys - 1), rows)
            found[lens, "sink"] = flatten(sink, weight, rows)
    if early and anchor != int(parts.queries[-1]):
        for (lens, _), field in masks(parts, anchor, slice(0, rows.stop)).items():
            whole = weights(parts.valid, lens) * (1 if field.ndim == 4 else keys)
            found[lens, "anchored"] = flatten(field[..., : which.stop], whole, rows)
    return found


def profile(
    field: Tensor, valid: Tensor, lens: str, narrow: Sequence[slice], documents: Tensor
) -> Tensor:
    """Row sums over other documents of the Gram matrices of narrow bins of queries.

    They are all that energies and jackknives of a curve need, and cost no matrix.

    Args:
        field: (input, head, query, offset), or without offset; 0 where not visible.
        valid: (query, offset).
        lens: log or probability.
        narrow: the queries of each bin.
        documents: number of each input's document (input).

    Returns:
        (query_bin, head, input): sum over inputs m of other documents of <X^n, X^m>.
    """
    names, which = documents.unique(return_inverse=True)
    if len(names) == len(documents):
        own = field
    else:
        own = field.new_zeros(len(names), *field.shape[1:]).index_add_(0, which, field)[which]
    products = (field.sum(0) - own).mul_(field)
    by_query = products.sum(-1) if field.ndim == 4 else products
    mean = field.new_zeros(len(narrow), field.shape[2])
    for number, rows in enumerate(narrow):
        mean[number, rows] = 1 / (rows.stop - rows.start)
    if lens == "log" and field.ndim == 4:
        mean /= valid.sum(-1)
    return (by_query @ mean.T).permute(2, 1, 0)


def pack(gram: Tensor) -> Tensor:
    """Symmetric (..., N, N) as its upper triangle with diagonal (..., N (N + 1) / 2)."""
    rows, columns = torch.triu_indices(*gram.shape[-2:], device=gram.device)
    return gram[..., rows, columns]
