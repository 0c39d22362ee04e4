"""Gram matrices of fields over inputs: all that energies and their errors need.

For a bin B of queries the inner product of two inputs' fields is the mean over its queries of
the mean (log lens) or sum (probability lens) over visible offsets. A field is flattened with the
square roots of these weights, so that a Gram matrix is one matrix product.
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
        name: early, late or beyond.
        first: its first query.
        stop: the query after its last.
        keys: where given, attention is renormalised on this many nearest keys.
    """

    name: str
    first: int
    stop: int
    keys: int | None = None


def bins(half: int, early: int, windows: Sequence[int]) -> list[Bin]:
    """The bins of a study: early, late, and for windows of its arms what lies beyond them.

    Query 0 has one key and is left out. Bins without queries are left out too.

    Args:
        half: T // 2.
        early: first query after the early bin.
        windows: keys of the windows that the study's variants have.
    """
    several = len(set(windows)) > 1
    found = [Bin("early", 1, min(early, half)), Bin("late", early, half)]
    found += [Bin(f"beyond-{w}" if several else "beyond", w, half, w) for w in sorted(set(windows))]
    return [b for b in found if b.first < b.stop]


def profile_bins(half: int) -> list[Bin]:
    """Narrow bins for curves over the query position: about four per octave, from query 1."""
    edges, edge = [1], 1.0
    while edges[-1] < half:
        edge = max(edge * 2**0.25, edge)
        if int(edge) > edges[-1]:
            edges.append(min(int(edge), half))
    return [Bin(f"{a}-{b - 1}", a, b) for a, b in pairwise(edges)]


def fields(parts: Parts, anchor: int | None = None) -> dict[tuple[str, str], Tensor]:
    """The fields (..., query, offset) of both lenses by (lens, component), unweighted.

    Args:
        parts: a decomposition.
        anchor: a of mask_i = M_i - M_a; half - 1 unless given.
    """
    anchor = parts.valid.shape[0] - 1 if anchor is None else anchor
    mask = parts.mask(anchor)[..., None].expand_as(parts.residual)
    predicted = parts.predicted
    return {
        ("log", "mask"): mask,
        ("log", "residual"): parts.residual,
        ("probability", "mask"): predicted - predicted[..., anchor, None, :],
        ("probability", "residual"): parts.attention - predicted,
    }


def renormalised(parts: Parts, keys: int) -> dict[tuple[str, str], Tensor]:
    """Residual fields of queries i >= keys on offsets d < keys, (..., query, offset < keys).

    What the model does is renormalised query by query; what the mask predicts is a reference
    query cut to the same number of keys, so position 0 is out of sight on both sides. Where the
    arm's own window is narrower than ``keys``, offsets end there.
    """
    seen = min(keys, int(parts.valid[-1].sum()))
    log_a = parts.log_attention[..., keys:, :seen].log_softmax(-1)
    log_m = (parts.relative + parts.denominator[..., -1:])[..., None, :seen]
    log_m = log_m - parts.denominator[..., keys - 1, None, None]
    predicted = parts.predicted[..., keys - 1, None, :seen]
    return {
        ("log", "residual"): log_a - log_m,
        ("probability", "residual"): log_a.exp() - predicted,
    }


def weights(valid: Tensor, lens: str) -> Tensor:
    """Weight of each (query, offset) before the mean over queries: mean or sum over offsets."""
    seen = valid.double()
    return seen / seen.sum(-1, keepdim=True) if lens == "log" else seen


def flatten(field: Tensor, weight: Tensor, which: Bin) -> Tensor:
    """One bin of a field as vectors whose dot product is the bin's inner product.

    Args:
        field: (input, head, query, offset) or, summed over offsets already, (input, head, query).
        weight: (query, offset) or (query).
        which: the bin.

    Returns:
        (head, input, element).
    """
    rows = slice(which.first, which.stop)
    w = weight[rows]
    x = field[:, :, rows] * (w / (which.stop - which.first)).sqrt().to(field.dtype)
    x = x[:, :, w > 0] if w.ndim == 1 else x[..., w > 0]
    return x.transpose(0, 1)


def gram(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Gram matrices (head, input, input) of flattened fields (head, input, element)."""
    return x @ (x if y is None else y).mT


def flat_fields(parts: Parts, which: Bin, anchor: int) -> Mapping[tuple[str, str], Tensor]:
    """Flattened fields (head, input, element) of one bin by (lens, component).

    The early bin also has the mask at the study's anchor where that is another than half - 1, and,
    where position 0 is in sight of all of its queries, the row and sink parts of R; the rest is R
    less those, and by orthogonality so is its Gram matrix.
    """
    if which.keys is not None:
        inside = Bin(which.name, which.first - which.keys, which.stop - which.keys)
        return {
            key: flatten(field, weights(torch.ones_like(field[0, 0]), key[0]), inside)
            for key, field in renormalised(parts, which.keys).items()
        }
    found = {}
    early = which.name == "early"
    anchored = fields(parts, anchor)
    for (lens, component), field in fields(parts).items():
        weight = weights(parts.valid, lens)
        found[lens, component] = flatten(field, weight, which)
        if early and component == "mask" and anchor != parts.valid.shape[0] - 1:
            found[lens, "anchored"] = flatten(anchored[lens, "mask"], weight, which)
        if early and component == "residual" and bool(parts.valid.diagonal()[: which.stop].all()):
            row, sink = row_and_sink(field)
            last = weight.diagonal()
            found[lens, "row"] = flatten(row, weight.sum(-1) - last, which)
            found[lens, "sink"] = flatten(sink, last, which)
    return found


def profile(
    field: Tensor, valid: Tensor, lens: str, narrow: Sequence[Bin], documents: Tensor
) -> Tensor:
    """Row sums over other documents of the Gram matrices of narrow bins of queries.

    They are all that energies and jackknives of a curve need, and cost no matrix.

    Args:
        field: (input, head, query, offset).
        valid: (query, offset).
        lens: log or probability.
        narrow: the bins.
        documents: number of each input's document (input).

    Returns:
        (query_bin, head, input): sum over inputs m of other documents of <X^n, X^m>.
    """
    weight = weights(valid, lens).to(field.dtype)
    names, which = documents.unique(return_inverse=True)
    if len(names) == len(documents):
        own = field
    else:
        own = field.new_zeros(len(names), *field.shape[1:]).index_add_(0, which, field)[which]
    by_query = (field * (field.sum(0) - own) * weight).sum(-1)
    return torch.stack([by_query[..., b.first : b.stop].mean(-1).T for b in narrow])


def pack(gram: Tensor) -> Tensor:
    """Symmetric (..., N, N) as its upper triangle with diagonal (..., N (N + 1) / 2)."""
    rows, columns = torch.triu_indices(*gram.shape[-2:], device=gram.device)
    return gram[..., rows, columns]
