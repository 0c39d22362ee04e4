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
from functools import reduce
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abspos.components.decomposition import Parts
from abspos.components.lenses import LENSES
from abspos.components.residual_parts import pattern, row_and_sink

#: Fields (input, head, query, offset), or vectors (head, input, element), by lens and component.
Fields = Mapping[tuple[str, str], Tensor]
Vectors = dict[tuple[str, str], Tensor]


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


def predicted_at(bands: Sequence[Parts], query: int) -> Float[Tensor, "input head offset"]:
    """P of one explained query, (input, head, offset), 0 from its last key on."""
    own = next(parts for parts in bands if query <= int(parts.queries[-1]))
    return own.predicted[:, :, own.place(query)]


def fitted(row: Float[Tensor, "*axes wide"], offsets: int) -> Float[Tensor, "*axes offset"]:
    """A row (..., offset) cut, or filled with zeros, to so many offsets."""
    return torch.nn.functional.pad(row, (0, offsets - row.shape[-1]))


def masks(parts: Parts, anchor: int, at_anchor: Tensor, rows: slice = slice(None)) -> Fields:
    """The mask's fields of some queries (see fields).

    Args:
        parts: a decomposition of some early queries.
        anchor: a of mask_i = M_i - M_a.
        at_anchor: P_a (input, head, offset), 0 from its last key on.
        rows: places of the queries.
    """
    valid = parts.valid[rows]
    moved = parts.predicted[:, :, rows] - fitted(at_anchor, valid.shape[-1])[:, :, None]
    return {
        ("log", "mask"): parts.mask(anchor)[..., rows],
        ("probability", "mask"): moved.mul_(valid.to(moved.dtype)),
    }


def fields(parts: Parts, anchor: int | None = None, at_anchor: Tensor | None = None) -> Fields:
    """The fields of both lenses by (lens, component), unweighted; 0 where not visible.

    (input, head, query, offset), but (input, head, query) where a field is free of the offset: the
    mask of the log lens, and the row and the sink part of R. The pattern of the log lens is R
    less those two, which split it orthogonally, and needs no field of its own.

    Args:
        parts: a decomposition.
        anchor: a of mask_i = M_i - M_a, one of these queries; the last of them unless given.
        at_anchor: P_a (input, head, offset), where the anchor is none of these queries.
    """
    if anchor is None:
        anchor = int(parts.queries[-1])
    if at_anchor is None:
        at_anchor = predicted_at([parts], anchor)
    return {
        **masks(parts, anchor, at_anchor),
        **residuals(parts),
    }


def residuals(parts: Parts) -> Fields:
    """The fields of R and of its parts (see fields)."""
    found = {
        ("log", "residual"): parts.residual,
        ("probability", "residual"): parts.attention - parts.predicted,
        ("probability", "pattern"): pattern(parts),
    }
    for lens in LENSES:
        row, sink = row_and_sink(found[lens, "residual"], parts.queries, parts.window)
        found |= {(lens, "row"): row, (lens, "sink"): sink}
    return found


def renormalised(parts: Parts, keys: int, cut: Tensor | None = None) -> Fields:
    """Residual fields of queries i >= keys on offsets d < keys, (..., query, offset < keys).

    What the model does is renormalised query by query; what the mask predicts is a reference
    query cut to the same number of keys, so position 0 is out of sight on both sides. Where the
    arm's own window is narrower than ``keys``, offsets end there. All keys are ordinary, so that R
    is the pattern, in the log lens after its row part, the mean over offsets.

    Args:
        parts: a decomposition.
        keys: of the window that is studied.
        cut: P of query keys - 1 (input, head, offset), where it is none of these queries.
    """
    seen = min(keys, parts.window or keys)
    rows = slice(parts.place(keys), None)
    logit = (parts.relative + parts.denominator[..., -1:])[..., None, :seen]
    # R and log attention differ by the mean logit and a constant of the row.
    log_a = (parts.residual[..., rows, :seen] + logit).log_softmax(-1)
    log_m = logit - parts.denominator[..., keys - 1, None, None]
    if cut is None:
        cut = predicted_at([parts], keys - 1)
    return {
        ("log", "residual"): log_a - log_m,
        ("log", "row"): (log_a - log_m).mean(-1),
        ("probability", "residual"): log_a.exp() - cut[..., None, :seen],
    }


def weighted(parts: Parts, found: Fields, gaps: Tensor | None = None) -> Fields:
    """Fields times the square roots of the weights of their offsets: 1 / keys (log), or 1.

    A dot product over some queries then is the sum of their inner products. The mask, where it is
    free of the offset, stands at all keys, whose mean it is; the row part at all ordinary ones.

    Args:
        parts: a decomposition.
        found: its fields.
        gaps: how many queries each of its queries stands for (query); one unless given.
    """
    root = parts.keys.double().rsqrt()
    ordinary = parts.queries.clamp(0, parts.window).double().sqrt()

    def times_weight(lens: str, component: str, field: Tensor) -> Tensor:
        free = field.ndim == 3
        factors = [ordinary] if free and component == "row" else []
        factors += [root] if lens == "log" and not (free and component == "mask") else []
        shape = (-1, *[1] * (field.ndim - 3))
        return reduce(lambda x, factor: x * factor.to(x).reshape(shape), factors, field)

    whole = {(lens, name): times_weight(lens, name, x) for (lens, name), x in found.items()}
    return whole if gaps is None else spread(whole, gaps)


def spread(found: Fields, gaps: Tensor) -> Fields:
    """Fields times the square roots of how many queries each of theirs stands for (query)."""
    return {key: x * gaps.sqrt().to(x).reshape(-1, *[1] * (x.ndim - 3)) for key, x in found.items()}


def flatten(
    field: Float[Tensor, "input head query *offset"], rows: slice = slice(None)
) -> Float[Tensor, "head input element"]:
    """Some queries of a field (input, head, query, ...) as vectors (head, input, element)."""
    return field[:, :, rows].flatten(2).transpose(0, 1)


def gram(
    x: Float[Tensor, "*axes input element"], y: Float[Tensor, "*axes other element"] | None = None
) -> Float[Tensor, "*axes input _"]:
    """Gram matrices (head, input, input) of flattened fields (head, input, element)."""
    return x @ (x if y is None else y).mT


def with_others(
    gram: Float[Tensor, "*axes input input"], others: Bool[Tensor, "input input"]
) -> Float[Tensor, "*axes input"]:
    """Row sums of Gram matrices over inputs of other documents (head, input).

    Args:
        gram: (head, input, input).
        others: whether two inputs come from different documents (input, input) bool.
    """
    return (gram * others).sum(-1)


def flat_fields(
    parts: Parts,
    which: Bin,
    anchor: int,
    known: Fields | None = None,
    gaps: Tensor | None = None,
) -> Vectors:
    """Flattened fields (head, input, element) of one bin by (lens, component), all in one band.

    Their dot products are means over the bin's queries: its inner product. The early bin also has
    the mask at the study's anchor where that is another than half - 1.

    Args:
        parts: a decomposition.
        which: the bin.
        anchor: a of mask_i = M_i - M_a.
        known: fields(parts), where they are made already.
        gaps: how many queries each explained one stands for (query); one unless given.
    """
    rows = which.rows(parts.queries)
    number = rows.stop - rows.start if gaps is None else float(gaps[rows].sum())
    if which.keys is not None:
        beyond = renormalised(parts, which.keys)
        found = beyond_vectors(beyond if gaps is None else spread(beyond, gaps[rows]))
    else:
        made = fields(parts) if known is None else known
        own = shorter(weighted(parts, made, gaps), which.stop)
        found = {key: flatten(field, rows) for key, field in own.items()}
        if which.name == "early" and anchor != int(parts.queries[-1]):
            found |= anchored_vectors(parts, rows, anchor, predicted_at([parts], anchor))
    return {key: x * number**-0.5 for key, x in found.items()}


def anchored_vectors(parts: Parts, rows: slice, anchor: int, at_anchor: Tensor) -> Vectors:
    """The mask of some queries at the study's anchor (see masks), as vectors."""
    found = masks(parts, anchor, at_anchor, rows)
    return {(lens, "anchored"): flatten(x) for (lens, _), x in found.items()}


def beyond_vectors(found: Fields) -> Vectors:
    """Renormalised fields as vectors; all of their offsets are visible, and a row is their mean."""
    return {
        (lens, component): flatten(x * x.shape[-1] ** -0.5 if lens == "log" and x.ndim == 4 else x)
        for (lens, component), x in found.items()
    }


def shorter(found: Fields, offsets: int) -> Fields:
    """Fields cut to so many offsets."""
    return {key: x[..., :offsets] if x.ndim == 4 else x for key, x in found.items()}


def pack(gram: Float[Tensor, "*axes input input"]) -> Float[Tensor, "*axes packed"]:
    """Symmetric (..., N, N) as its upper triangle with diagonal (..., N (N + 1) / 2)."""
    rows, columns = torch.triu_indices(*gram.shape[-2:], device=gram.device)
    return gram[..., rows, columns]
