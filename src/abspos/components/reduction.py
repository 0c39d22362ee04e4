"""Stored statistics of a block of heads, from the parts of its queries in bands.

Source: docs/method.md, sections 1, 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abspos.components import grams
from abspos.components.decomposition import Parts, visible
from abspos.study import grid

#: Sink metric of Gu et al. (arXiv 2410.10781) is defined at this length.
SINK_LENGTH = 64


class Piece(NamedTuple):
    """Explained queries of one band that lie in the same bins: their places, and the bins."""

    rows: slice
    bins: list[grams.Bin]


@dataclass(frozen=True)
class Plan:
    """The queries, bins and inputs that a reduction summarises.

    Attributes:
        queries: early queries that are explained.
        bins: of queries.
        anchor: a of mask_i = M_i - M_a.
        early: first query after the early bin.
        length: T.
        documents: number of each input's document (input).
        device: where blocks are computed.
        keep_fields: whether early fields of every input are kept.
        abreast: how many layers are worked on side by side.
    """

    queries: Tensor
    bins: Sequence[grams.Bin]
    anchor: int
    early: int
    length: int
    documents: Tensor
    device: str
    keep_fields: bool = False
    abreast: int = 1

    @cached_property
    def shown(self) -> Tensor:
        """Explained queries whose mean fields are stored."""
        return self.queries[grid.shown(self.queries.tolist())]

    @cached_property
    def bands(self) -> list[slice]:
        """Explained queries in bands (see grid.bands)."""
        return grid.bands(self.queries.tolist())

    @cached_property
    def shown_in_bands(self) -> list[list[int]]:
        """Places, in every band, of queries whose mean fields are stored."""
        shown = grid.shown(self.queries.tolist())
        return [[i - b.start for i in shown if b.start <= i < b.stop] for b in self.bands]

    @cached_property
    def others(self) -> Tensor:
        """Whether two inputs come from different documents (input, input) bool."""
        return self.documents[:, None] != self.documents

    @cached_property
    def gaps(self) -> Tensor | None:
        """How many queries each explained one stands for (query); None where all are taken."""
        queries = self.queries.tolist()
        if len(queries) == self.length // 2:
            return None
        return torch.tensor(
            grid.gaps(queries, self.early), dtype=torch.float64, device=self.queries.device
        )

    def gaps_of(self, rows: slice) -> Tensor | None:
        """The gaps of some explained queries."""
        return None if self.gaps is None else self.gaps[rows]

    def number(self, which: grams.Bin) -> float:
        """How many queries the explained queries of a bin stand for."""
        rows = which.rows(self.queries)
        own = self.gaps_of(rows)
        return rows.stop - rows.start if own is None else float(own.sum())

    @cached_property
    def plain(self) -> list[grams.Bin]:
        """Bins that tile the queries from 1 on."""
        return [which for which in self.bins if which.keys is None]

    @cached_property
    def narrow(self) -> list[grams.Bin]:
        """Narrow bins of the profile that have explained queries."""
        return [b for b in grams.profile_bins(self.length // 2) if self.number(b)]

    @cached_property
    def pieces(self) -> list[list[Piece]]:
        """Pieces of every band, for its queries from 1 on."""
        found = []
        for band in self.bands:
            homes = [self.homes(query) for query in self.queries[band].tolist()]
            places = [list(own) for _, own in groupby(range(len(homes)), homes.__getitem__)]
            pieces = [Piece(slice(own[0], own[-1] + 1), homes[own[0]]) for own in places]
            found.append([piece for piece in pieces if piece.bins])
        return found

    def homes(self, query: int) -> list[grams.Bin]:
        """The plain and the narrow bin of a query; none of query 0."""
        return [b for b in (*self.plain, *self.narrow) if b.first <= query < b.stop]

    @cached_property
    def shares(self) -> list[Tensor]:
        """Weights of the sum over each piece's queries in the means of plain and of narrow
        bins, two of (bin, piece)."""
        homes = [piece.bins for pieces in self.pieces for piece in pieces]
        return [
            torch.tensor(
                [[(b in home) / self.number(b) for home in homes] for b in bins],
                dtype=torch.float64,
            )
            for bins in (self.plain, self.narrow)
        ]


def block_summary(
    bands: Sequence[Parts],
    to_first: Tensor,
    plan: Plan,
    reference: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """All that is kept of a block of heads; leading axis head."""
    found = {
        **products(bands, plan),
        **mean_fields(bands, plan),
        **sinks(bands, to_first, plan),
    }
    early = early_fields(bands, plan) if plan.keep_fields or reference is not None else {}
    for name, other in (reference or {}).items():
        own = early[f"early/{name}"]
        found[f"cross/{name}"] = grams.gram(own, other.to(own))
    return found | (early if plan.keep_fields else {})


def products(bands: Sequence[Parts], plan: Plan) -> dict[str, Tensor]:
    """Packed Gram matrices of every bin, and their row sums in narrow bins."""
    half = plan.length // 2
    last = grams.predicted_at(bands, half - 1)
    known = [
        grams.weighted(own, grams.fields(own, half - 1, last), plan.gaps_of(band))
        for own, band in zip(bands, plan.bands, strict=True)
    ]
    out: dict[str, Tensor] = {}
    for lens, component in known[0]:
        by_piece = torch.stack(
            [
                grams.gram(grams.flatten(fields[lens, component], piece.rows))
                for fields, pieces in zip(known, plan.pieces, strict=True)
                for piece in pieces
            ]
        )
        of_bins, of_narrow = (share.to(by_piece) for share in plan.shares)
        row_sums = torch.tensordot(of_narrow, grams.with_others(by_piece, plan.others), 1)
        for which, own in zip(plan.narrow, row_sums, strict=True):
            out[f"profile/{which.name}/{lens}/{component}"] = own
        for which, own in zip(plan.plain, torch.tensordot(of_bins, by_piece, 1), strict=True):
            out[f"gram/{which.name}/{lens}/{component}"] = grams.pack(own)
    for which, key, vectors in further(bands, plan):
        whole = torch.stack([grams.gram(x) for x in vectors]).sum(0) / plan.number(which)
        out[f"gram/{which.name}/{'/'.join(key)}"] = grams.pack(whole)
    return out


def further(
    bands: Sequence[Parts], plan: Plan
) -> Iterator[tuple[grams.Bin, tuple[str, str], list[Tensor]]]:
    """Further vectors of some bins, by band: the early mask at the study's anchor, and R and its
    row part beyond windows."""
    for which in plan.bins:
        found: dict[tuple[str, str], list[Tensor]] = {}
        for parts in bands:
            for key, x in further_vectors(bands, parts, which, plan).items():
                found.setdefault(key, []).append(x)
        for key, vectors in found.items():
            yield which, key, vectors


def further_vectors(
    bands: Sequence[Parts], parts: Parts, which: grams.Bin, plan: Plan
) -> grams.Vectors:
    """Further vectors of one bin and one band."""
    rows = which.rows(parts.queries)
    if rows.start == rows.stop:
        return {}
    if which.keys is not None:
        cut = grams.predicted_at(bands, which.keys - 1)
        beyond = grams.renormalised(parts, which.keys, cut)
        if plan.gaps is not None:
            place = torch.searchsorted(plan.queries, parts.queries[rows])
            beyond = grams.spread(beyond, plan.gaps[place])
        return grams.beyond_vectors(beyond)
    if which.name == "early" and plan.anchor != plan.length // 2 - 1:
        at_anchor = grams.predicted_at(bands, plan.anchor)
        return grams.anchored_vectors(parts, rows, plan.anchor, at_anchor)
    return {}


def early_fields(bands: Sequence[Parts], plan: Plan) -> dict[str, Tensor]:
    """Fields of the early bin, (head, input, element), whose dot products are Gram matrices.

    ``early/<lens>`` is R, ``early/<lens>/sink`` its row and sink parts, and
    ``early/probability/pattern`` its pattern; in the log lens that is R less the row and sink
    parts. Also what a window hides, so that layers of different windows have as many elements.
    """
    early = next(which for which in plan.bins if which.name == "early")
    found: dict[str, list[Tensor]] = {}
    for parts in bands:
        rows = early.rows(parts.queries)
        seen = visible(early.stop, None, plan.device, parts.queries[rows])
        own = grams.weighted(parts, grams.residuals(parts))
        for lens in grams.LENSES:
            whole = grams.fitted(own[lens, "residual"][:, :, rows], early.stop)
            sides = torch.stack([own[lens, "row"], own[lens, "sink"]], -1)
            found.setdefault(lens, []).append(whole[..., seen].transpose(0, 1))
            found.setdefault(f"{lens}/sink", []).append(grams.flatten(sides, rows))
        ordinary = grams.fitted(own["probability", "pattern"][:, :, rows], early.stop)
        found.setdefault("probability/pattern", []).append(ordinary[..., seen].transpose(0, 1))
    share = plan.number(early) ** -0.5
    return {f"early/{name}": torch.cat(bands, -1) * share for name, bands in found.items()}


def mean_fields(bands: Sequence[Parts], plan: Plan) -> dict[str, Tensor]:
    """Means over inputs of the fields that are shown (head, query, offset), and of others."""
    half = plan.length // 2
    found = {
        name: torch.cat(
            [
                grams.fitted(getattr(parts, name)[:, :, places].mean(0), half)
                for parts, places in zip(bands, plan.shown_in_bands, strict=True)
            ],
            1,
        )
        for name in ("residual", "attention", "predicted")
    }
    return found | {
        "relative": bands[0].relative.mean(0),
        "denominator": bands[0].denominator.transpose(0, 1),
    }


def sinks(bands: Sequence[Parts], to_first: Tensor, plan: Plan) -> dict[str, Tensor]:
    """Attention of heads to position 0 (head, input)."""
    excess = torch.cat(
        [parts.at_first(parts.attention) - parts.at_first(parts.predicted) for parts in bands], -1
    )
    window = bands[0].window
    seeing = slice(1, min(plan.early, window or plan.early))
    return {
        "a_1": (to_first @ stands_for(plan.queries, plan.length).to(to_first)).T,
        f"a_1_{SINK_LENGTH}": to_first[..., :SINK_LENGTH].mean(-1).T,
        "to_first": to_first[..., 1 : plan.early].mean(-1).T,
        "sink_excess": excess[..., seeing].mean(-1).T,
    }


def stands_for(queries: Int[Tensor, " query"], length: int) -> Float[Tensor, " stood"]:
    """Share of all T queries that each explained and each reference query stands for: those since
    the one before it."""
    late = torch.tensor(grid.references(length), device=queries.device)
    taken = torch.cat([queries, late])
    return taken.diff(prepend=taken.new_full((1,), -1)).double() / length
