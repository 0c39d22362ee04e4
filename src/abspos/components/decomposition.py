"""The decomposition: relative part, causal mask, residual stream.

One attention head, logits s[i, j], T positions, half = T // 2. *Early queries* i < half are
explained by what *reference queries* q >= half do when they are cut down to the k(i) =
min(i + 1, W) nearest keys, which is all that an early query has:

    log p_i(d | q) = s[q, q-d] - log sum_{d' < k(i)} exp s[q, q-d']
    M_i(d) = mean_q log p_i(d | q)        what the mask alone predicts
    G_i(d) = log a[i, i-d]                what the model does
    G_i(d) = relative(d) + mask_i + R_i(d)

Source: docs/method.md, section 1. All functions work on torch tensors of any float dtype whose
leading axes are free; the offset d counts keys back from the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from abspos.components.labelled import as_dataset, causal_logits, labels_of


@dataclass(frozen=True)
class Parts:
    """Fields of the decomposition for some early queries, with half = T // 2.

    Offsets run as far as any of these queries has keys, or further. Outside ``offset <
    min(query + 1, window)`` every field holds 0; ``valid`` says where.

    Attributes:
        queries: numbers of the early queries that are explained (query), in order.
        window: W, or None.
        relative: M_{half-1}(d), (..., d < half).
        denominator: mean over reference queries of log Z_i, (..., i < half).
        residual: R_i(d), (..., query, offset).
        attention: a[i, i-d], (..., query, offset).
        predicted: mean over reference queries of p_i(d), (..., query, offset).
        before: the same of the query before, p_{i-1}(d): on the ordinary keys, without position 0.
        valid: (query, offset) bool.
    """

    queries: Int[Tensor, " query"]
    window: int | None
    relative: Float[Tensor, "*heads half"]
    denominator: Float[Tensor, "*heads half"]
    residual: Float[Tensor, "*heads query offset"]
    attention: Float[Tensor, "*heads query offset"]
    predicted: Float[Tensor, "*heads query offset"]
    before: Float[Tensor, "*heads query offset"]
    valid: Bool[Tensor, "query offset"]

    @property
    def keys(self) -> Int[Tensor, " query"]:
        """How many keys each query sees (query): min(i + 1, W)."""
        return (self.queries + 1).clamp_max(self.window or self.denominator.shape[-1])

    @property
    def ordinary(self) -> Bool[Tensor, "query offset"]:
        """Which visible keys are not position 0, (query, offset) bool."""
        return without_first(self.valid, self.queries)

    def mask(self, anchor: int | None = None) -> Float[Tensor, "*heads query"]:
        """mask_i = M_i - M_anchor, (..., query); the anchor is half - 1 unless given."""
        last = self.denominator.shape[-1] - 1 if anchor is None else anchor
        return self.denominator[..., last, None] - self.denominator[..., self.queries]

    def place(self, query: int) -> int:
        """Where a query stands among those explained; it must be one of them."""
        return int(torch.searchsorted(self.queries, query))

    def at_first(
        self, field: Float[Tensor, "*heads query offset"]
    ) -> Float[Tensor, "*heads query"]:
        """A field (..., query, offset) at position 0 of every query, (..., query)."""
        return field.gather(-1, self.queries.expand(field.shape[:-1])[..., None])[..., 0]


def by_offset(
    rows: Float[Tensor, "*heads query key"], first: int, offsets: int
) -> Float[Tensor, "*heads query offset"]:
    """Rows of logits (..., query, key) of queries first, first+1, ... by offset (..., query, d).

    What stands at offsets that reach before position 0 is arbitrary.
    """
    return backwards_by_offset(rows.flip(-1), first, offsets)


def backwards_by_offset(
    rows: Float[Tensor, "*heads query key"], first: int, offsets: int, step: int = 1
) -> Float[Tensor, "*heads query offset"]:
    """Logits by offset, as a view of rows whose keys run backwards.

    Args:
        rows: (..., query, key), contiguous; queries first, first + step, ..., keys from the last
            to 0, as many as reach from 0 to the last query or further.
        first: the first query.
        offsets: how many, at most as many as the last query has keys.
        step: from one query to the next.

    Returns:
        (..., query, offset); arbitrary at offsets that reach before position 0.
    """
    rows = rows.contiguous()
    keys = rows.shape[-1]
    # One row down, the key at offset 0 stands step places further to the left.
    return rows.as_strided(
        (*rows.shape[:-1], offsets),
        (*rows.stride()[:-2], keys - step, 1),
        rows.storage_offset() + keys - 1 - first,
    )


def visible(
    half: int,
    window: int | None,
    device: torch.device | str = "cpu",
    queries: Int[Tensor, " query"] | None = None,
) -> Bool[Tensor, "query half"]:
    """Which offsets each early query has: (query, offset) bool, d < min(i + 1, W)."""
    d = torch.arange(half, device=device)
    last = (d if queries is None else queries).clamp_max((window or half) - 1)
    return d[None, :] <= last[:, None]


def without_first(
    valid: Bool[Tensor, "query offset"], queries: Int[Tensor, " query"]
) -> Bool[Tensor, "query offset"]:
    """Visible keys of queries, less position 0."""
    return valid & (torch.arange(valid.shape[-1], device=valid.device) < queries[:, None])


def hiding(seen: Bool[Tensor, "query offset"], dtype: torch.dtype) -> Float[Tensor, "query offset"]:
    """Mask to add to logits: 0 for visible keys, a large negative number for hidden ones."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -1e30)


def split(
    early: Float[Tensor, "*heads query half"],
    reference: Float[Tensor, "*heads reference half"],
    window: int | None,
    queries: Int[Tensor, " query"] | None = None,
) -> Parts:
    """Decompose logits that are given by offset.

    Args:
        early: s[i, i-d] of explained queries, (..., query, half); finite but arbitrary where not
            visible.
        reference: s[q, q-d] of reference queries, (..., any number, half).
        window: W, or None for full causal attention.
        queries: numbers of the explained queries (query); all i < half unless given.
    """
    if queries is None:
        queries = torch.arange(reference.shape[-1], device=early.device)
    return explain(early, truncate(reference, window, queries), slice(None))


@dataclass(frozen=True)
class Truncated:
    """Attention of reference queries that are cut to the nearest keys of early ones.

    Attributes:
        queries: early queries (query), in order.
        window: W, or None.
        logits: s[q, q-d] of reference queries (..., q, offset).
        weights: their softmax over offsets.
        growth: what the softmax of a row grows by when it is cut down, 1 over the sum of weights
            up to the query's last key, over the number of rows (..., q, query).
        growth_before: the same up to the last key of the query before.
        whole: log of the sum over all offsets of exp s (..., q).
        mean_logit: mean over q of s[q, q-d] (..., offset).
        denominator: mean over q of the log of the sum of exp s[q, q-d'] over d' <= d, (..., d).
        far: heads (...) bool whose nearest keys lie so far below the largest logit that their
            weights would vanish.
    """

    queries: Int[Tensor, " query"]
    window: int | None
    logits: Float[Tensor, "*heads reference half"]
    weights: Float[Tensor, "*heads reference half"]
    growth: Float[Tensor, "*heads reference query"]
    growth_before: Float[Tensor, "*heads reference query"]
    whole: Float[Tensor, "*heads reference"]
    mean_logit: Float[Tensor, "*heads half"]
    denominator: Float[Tensor, "*heads half"]
    far: Bool[Tensor, "*heads"]

    def predicted(
        self, which: slice, offsets: int, before: bool = False
    ) -> Float[Tensor, "*heads query offset"]:
        """P_i(d) of some queries, (..., query, offset), meaningless where d is not visible.

        With ``before``, P_{i-1}(d): as many keys as the query before has.
        """
        growth = self.growth_before if before else self.growth
        found = growth[..., which].mT @ self.weights[..., :offsets]
        if bool(self.far.any()):
            logits, queries = self.logits[self.far], self.queries[which]
            last = last_offsets((queries - int(before)).clamp_min(0), self.window)
            log_z = logits.logcumsumexp(-1)[..., last]
            # Where an offset is not visible it may have overflowed; no attention exceeds 1.
            found[self.far] = truncated_attention(logits[..., :offsets], log_z).clamp_max_(1)
        return found


def last_offsets(queries: Int[Tensor, " query"], window: int | None) -> Int[Tensor, " query"]:
    """The last offset that each query sees."""
    return queries if window is None else queries.clamp_max(window - 1)


def truncate(
    reference: Float[Tensor, "*heads reference half"],
    window: int | None,
    queries: Int[Tensor, " query"],
) -> Truncated:
    """Cut reference queries down to the keys of early queries.

    From one softmax of each row and its sums from the left; where the nearest keys would vanish in
    it, by a slower way.

    Args:
        reference: s[q, q-d], (..., q, offset).
        window: W, or None.
        queries: early queries (query).
    """
    half = reference.shape[-1]
    weights = reference.softmax(-1)
    sums = weights.cumsum(-1)
    # The first sum is the smallest; half the exponent range keeps all of its digits. Each head of
    # each input by itself: its numbers do not depend on what stands beside it in a block.
    far = sums[..., 0].amin(-1) <= torch.finfo(sums.dtype).tiny ** 0.5
    whole = reference[..., 0] - weights[..., 0].log()
    growth, growth_before = (
        sums[..., last_offsets(taken, window)].mul_(reference.shape[-2]).reciprocal_()
        for taken in (queries, (queries - 1).clamp_min(0))
    )
    denominator = sums.log_().mean(-2) + whole.mean(-1, keepdim=True)
    if bool(far.any()):
        log_z = reference[far].logcumsumexp(-1)
        denominator[far], whole[far] = log_z.mean(-2), log_z[..., -1]
    every = torch.arange(half, device=reference.device)
    return Truncated(
        queries=queries,
        window=window,
        logits=reference,
        weights=weights,
        growth=growth,
        growth_before=growth_before,
        whole=whole,
        mean_logit=reference.mean(-2),
        denominator=denominator[..., last_offsets(every, window)],
        far=far,
    )


def explain(early: Float[Tensor, "*heads query offset"], cut: Truncated, which: slice) -> Parts:
    """Decompose some early queries.

    Args:
        early: their logits s[i, i-d], (..., query, offset), over as many offsets as any of them
            has; finite but arbitrary where not visible.
        cut: reference queries, cut down to the keys of these queries and others.
        which: where these queries stand among those.
    """
    queries, offsets = cut.queries[which], early.shape[-1]
    valid = visible(offsets, cut.window, early.device, queries)
    seen = valid.to(early.dtype)
    logits = early + hiding(valid, early.dtype)
    # Not the exponential of the logarithm, which is slow where hardly anything is left.
    attention, residual = logits.softmax(-1), logits.log_softmax(-1)
    residual -= cut.mean_logit[..., None, :offsets]
    residual += cut.denominator[..., queries, None]
    relative = cut.mean_logit - cut.denominator[..., -1:]
    if cut.window is not None:
        relative[..., cut.window :] = 0
    return Parts(
        queries=queries,
        window=cut.window,
        relative=relative,
        denominator=cut.denominator,
        residual=residual.mul_(seen),
        attention=attention,
        predicted=cut.predicted(which, offsets).mul_(seen),
        before=cut.predicted(which, offsets, before=True).mul_(without_first(valid, queries)),
        valid=valid,
    )


def truncated_attention(
    reference: Float[Tensor, "*heads reference offset"],
    log_z: Float[Tensor, "*heads reference query"],
) -> Float[Tensor, "*heads query offset"]:
    """P_i(d), the mean over reference queries of exp(s[q, q-d] - log Z_i(q)), whatever the logits.

    One matrix product over queries, exact as long as no truncated denominator is so far below
    the largest logit of its row that their ratio leaves the range; there, one query i at a time.

    Args:
        reference: s[q, q-d], (..., q, offset).
        log_z: log Z_i(q), (..., q, query).

    Returns:
        (..., query, offset); meaningless where the offset is not visible.
    """
    top = reference.amax(-1, keepdim=True)
    weights = (top - log_z).exp()
    found = weights.mT @ (reference - top).exp() / reference.shape[-2]
    # Half the exponent range is left to the other factor, so that nothing visible underflows.
    far = weights.amax((-2, -1)) >= torch.finfo(weights.dtype).max ** 0.5
    if bool(far.any()):
        s, z = reference[far], log_z[far]
        rows = [(s - z[..., i, None]).exp().mean(-2) for i in range(z.shape[-1])]
        found[far] = torch.stack(rows, -2)
    return found


def decompose(logits: Any, window: int | None = None) -> xr.Dataset:
    """Split post-scale pre-softmax logits into relative, mask and residual parts.

    Args:
        logits: NumPy array, torch tensor or DataArray (input, head, query, key), N x H x T x T,
            float32 or float64, T even or odd and at least 4. Keys after the query and beyond the
            window are ignored, -inf there too.
        window: sliding window W in keys (the query's own included), or None.

    Returns:
        ``relative`` (input, head, offset), ``mask`` (input, head, query), ``residual``,
        ``attention``, ``predicted`` (input, head, query, offset); natural logarithms for the
        first three; query and offset run to T // 2; NaN where offset >= min(query + 1, window).
        Each field's attributes name its ``lens`` and ``units``, those of the dataset ``T``,
        ``window`` (T without one) and ``anchor``. A DataArray keeps its labels of inputs and heads.

    Raises:
        ValueError: wrong shape, window below 1, or logits that are not finite.

    Warns:
        UserWarning: rows that sum to 1, as after a softmax.

    Source: docs/method.md, section 1.
    """
    s = causal_logits(logits, window)
    inputs, heads, length, _ = s.shape
    half = length // 2
    early = by_offset(s[..., :half, :half], 0, half)
    reference = by_offset(s[..., half:, :], half, half)
    parts = split(early, reference, window)
    return as_dataset(parts, length, labels_of(logits, inputs, heads))
