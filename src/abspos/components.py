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

import numpy as np
import torch
import xarray as xr
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """Fields of the decomposition, with half = T // 2 offsets.

    Outside ``offset < min(query + 1, window)`` every field holds 0; ``valid`` says where.

    Attributes:
        queries: numbers of the early queries that are explained (query), in order; half - 1 last.
        relative: M_{half-1}(d), (..., offset).
        denominator: mean over reference queries of log Z_i, (..., i < half).
        residual: R_i(d), (..., query, offset).
        attention: a[i, i-d], (..., query, offset).
        predicted: mean over reference queries of p_i(d), (..., query, offset).
        valid: (query, offset) bool.
    """

    queries: Tensor
    relative: Tensor
    denominator: Tensor
    residual: Tensor
    attention: Tensor
    predicted: Tensor
    valid: Tensor

    def mask(self, anchor: int | None = None) -> Tensor:
        """mask_i = M_i - M_anchor, (..., query); the anchor is half - 1 unless given."""
        last = self.denominator.shape[-1] - 1 if anchor is None else anchor
        return self.denominator[..., last, None] - self.denominator[..., self.queries]

    def place(self, query: int) -> int:
        """Where a query stands among those explained; it must be one of them."""
        return int(torch.searchsorted(self.queries, query))

    def at_first(self, field: Tensor) -> Tensor:
        """A field (..., query, offset) at position 0 of every query, (..., query)."""
        return field[..., torch.arange(len(self.queries), device=field.device), self.queries]


def rebuilt_logits(
    query: Tensor, key: Tensor, scale: float, softcap: float | None = None
) -> Tensor:
    """Logits (input, head, query, key) of q and k after RoPE; K/V heads serve groups of heads.

    Args:
        query: (input, head, position, feature), of any positions.
        key: (input, kv_head, position, feature), of any positions.
        scale: of the logits.
        softcap: where given, logits s become softcap * tanh(s / softcap), as Gemma 2 has them.
    """
    inputs, heads, length, size = query.shape
    # The heads of a group lie one below the other, so that no K/V head is copied.
    grouped = query.reshape(inputs, key.shape[1], -1, size) * scale
    logits = (grouped @ key.mT).reshape(inputs, heads, length, key.shape[2])
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def by_offset(rows: Tensor, first: int, offsets: int) -> Tensor:
    """Rows of logits (..., query, key) of queries first, first+1, ... by offset (..., query, d).

    What stands at offsets that reach before position 0 is arbitrary.
    """
    return backwards_by_offset(rows.flip(-1), first, offsets)


def backwards_by_offset(rows: Tensor, first: int, offsets: int, step: int = 1) -> Tensor:
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
    half: int, window: int | None, device: torch.device | str = "cpu",
    queries: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Which offsets each early query has: (query, offset) bool, d < min(i + 1, W)."""
    d = torch.arange(half, device=device)
    last = (d if queries is None else queries).clamp_max((window or half) - 1)
    return d[None, :] <= last[:, None]


def hiding(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to logits so that those not seen get no attention: 0 or a large negative."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -1e30)


def split(
    early: Tensor, reference: Tensor, window: int | None, queries: Tensor | None = None
) -> Parts:
    """Decompose logits that are given by offset.

    Args:
        early: s[i, i-d] of explained queries, (..., query, half); finite but arbitrary where not
            visible.
        reference: s[q, q-d] of reference queries, (..., any number, half).
        window: W, or None for full causal attention.
        queries: numbers of the explained queries (query); all i < half unless given.
    """
    half = reference.shape[-1]
    if queries is None:
        queries = torch.arange(half, device=early.device)
    valid = visible(half, window, early.device, queries)
    last = (window or half) - 1
    denominator, predicted = truncated(reference, queries.clamp_max(last))
    denominator = denominator[..., torch.arange(half, device=early.device).clamp_max(last)]
    mean_logit = reference.mean(-2)
    relative = (mean_logit - denominator[..., -1:]).masked_fill(~valid[-1], 0)
    seen = valid.to(early.dtype)
    logits = early + hiding(valid, early.dtype)
    # Not the exponential of the logarithm, which is slow where hardly anything is left.
    attention, residual = logits.softmax(-1), logits.log_softmax(-1)
    residual -= mean_logit[..., None, :]
    residual += denominator[..., queries, None]
    return Parts(
        queries=queries,
        relative=relative,
        denominator=denominator,
        residual=residual.mul_(seen),
        attention=attention,
        # Not a product with 0: far below the largest logit it may have overflowed to infinity.
        predicted=predicted.masked_fill_(~valid, 0),
        valid=valid,
    )


def truncated(reference: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """What reference queries do when they are cut down to their nearest keys.

    From one softmax of each row, its sums from the left and one matrix product over queries; where
    the nearest keys lie so far below the largest logit that they would vanish, by a slower way.

    Args:
        reference: s[q, q-d], (..., q, offset).
        last: the last offset that each explained query has (query).

    Returns:
        the mean over q of the log of the sum of exp s[q, q-d'] over d' <= d, (..., offset), for
        every offset d; and P_i(d), (..., query, offset), meaningless where d > last.
    """
    weights = reference.softmax(-1)
    sums = weights.cumsum(-1)
    # The first sum is the smallest; half the exponent range keeps all of its digits. Each head of
    # each input by itself: its numbers do not depend on what stands beside it in a block.
    far = sums[..., 0].amin(-1) <= torch.finfo(sums.dtype).tiny ** 0.5
    whole = reference[..., 0] - weights[..., 0].log()
    every = len(last) == sums.shape[-1] and int(last[-1]) == len(last) - 1
    cut = (sums if every else sums[..., last]).reciprocal()
    predicted = (cut.mT @ weights).div_(reference.shape[-2])
    denominator = sums.log_().mean(-2) + whole.mean(-1, keepdim=True)
    if bool(far.any()):
        log_z = reference[far].logcumsumexp(-1)
        denominator[far] = log_z.mean(-2)
        predicted[far] = truncated_attention(reference[far], log_z[..., last])
    return denominator, predicted


def truncated_attention(reference: Tensor, log_z: Tensor) -> Tensor:
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
            float32 or float64, T even or odd and at least 4; keys after the query are ignored.
        window: sliding window W in keys (the query's own included), or None.

    Returns:
        ``relative`` (input, head, offset), ``mask`` (input, head, query), ``residual``,
        ``attention``, ``predicted`` (input, head, query, offset); natural logarithms for the
        first three; query and offset run to T // 2; NaN where offset >= min(query + 1, window).

    Raises:
        ValueError: wrong shape, window below 1, or logits that are not finite.

    Source: docs/method.md, section 1.
    """
    s = as_tensor(logits)
    half = s.shape[-1] // 2
    if window is not None and window < 1:
        raise ValueError(f"window: value {window}; a window holds at least 1 key, or is None")
    causal = torch.tril(torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device))
    if not bool(torch.isfinite(s).where(causal, True).all()):
        raise ValueError("logits: NaN or infinity at or before a query; all must be finite")
    s = s.where(causal, 0)
    early = by_offset(s[..., :half, :half], 0, half)
    reference = by_offset(s[..., half:, :], half, half)
    parts = split(early, reference, window)
    return as_dataset(parts)


def as_tensor(logits: Any) -> Tensor:
    """Logits as a float tensor (input, head, query, key)."""
    if isinstance(logits, xr.DataArray):
        logits = logits.transpose("input", "head", "query", "key").values
    s = torch.as_tensor(logits).detach()
    s = s if s.dtype in (torch.float32, torch.float64) else s.float()
    if s.ndim != 4 or s.shape[-1] != s.shape[-2] or s.shape[-1] < 4:
        raise ValueError(
            f"logits: shape {tuple(s.shape)}; allowed is (input, head, query, key) with as many "
            "keys as queries, at least 4"
        )
    return s


def as_dataset(parts: Parts) -> xr.Dataset:
    """Parts of (input, head, ...) as a labelled dataset with NaN where nothing is visible."""

    def fill(field: Tensor) -> np.ndarray:
        return field.masked_fill(~parts.valid, torch.nan).cpu().numpy()

    field = ("input", "head", "query", "offset")
    relative = parts.relative.masked_fill(~parts.valid[-1], torch.nan)
    return xr.Dataset(
        {
            "relative": (("input", "head", "offset"), relative.cpu().numpy()),
            "mask": (("input", "head", "query"), parts.mask().cpu().numpy()),
            "residual": (field, fill(parts.residual)),
            "attention": (field, fill(parts.attention)),
            "predicted": (field, fill(parts.predicted)),
        },
        coords={name: np.arange(parts.valid.shape[0]) for name in ("query", "offset")},
    )


def row_and_sink(residual: Tensor) -> tuple[Tensor, Tensor]:
    """The row part and the sink part of R under full causal attention, both (..., query).

    row_i is the mean of R_i over 0 <= d < i, the sink's share of the denominator; the sink part
    is R_i(i), at position 0 itself. With the rest they split R orthogonally, query by query.
    """
    half = residual.shape[-1]
    sink = residual.diagonal(dim1=-2, dim2=-1)
    others = torch.arange(half, device=residual.device)
    row = (residual.sum(-1) - sink) / others.clamp_min(1)
    return row, sink
