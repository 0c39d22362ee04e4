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
    """Fields of the decomposition, with half = T // 2 queries and offsets.

    Outside ``offset < min(query + 1, window)`` every field holds 0; ``valid`` says where.

    Attributes:
        relative: M_{half-1}(d), (..., offset).
        denominator: mean over reference queries of log Z_i, (..., query).
        residual: R_i(d), (..., query, offset).
        log_attention: log a[i, i-d], (..., query, offset).
        attention: a[i, i-d], (..., query, offset).
        predicted: mean over reference queries of p_i(d), (..., query, offset).
        valid: (query, offset) bool.
    """

    relative: Tensor
    denominator: Tensor
    residual: Tensor
    log_attention: Tensor
    attention: Tensor
    predicted: Tensor
    valid: Tensor

    def mask(self, anchor: int | None = None) -> Tensor:
        """mask_i = M_i - M_anchor, (..., query); the anchor is half - 1 unless given."""
        last = self.denominator.shape[-1] - 1 if anchor is None else anchor
        return self.denominator[..., last, None] - self.denominator


def rebuilt_logits(
    query: Tensor, key: Tensor, scale: float, softcap: float | None = None
) -> Tensor:
    """Logits (input, head, query, key) of q and k after RoPE; K/V heads serve groups of heads.

    Args:
        query: (input, head, position, feature).
        key: (input, kv_head, position, feature).
        scale: of the logits.
        softcap: where given, logits s become softcap * tanh(s / softcap), as Gemma 2 has them.
    """
    inputs, heads, length, size = query.shape
    # The heads of a group lie one below the other, so that no K/V head is copied.
    grouped = query.reshape(inputs, key.shape[1], -1, size) * scale
    logits = (grouped @ key.mT).reshape(inputs, heads, length, length)
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def by_offset(rows: Tensor, first: int, offsets: int) -> Tensor:
    """Rows of logits (..., query, key) of queries first, first+1, ... by offset (..., query, d).

    Offsets that reach before position 0 repeat key 0; the caller masks them.
    """
    queries = torch.arange(rows.shape[-2], device=rows.device)[:, None] + first
    keys = (queries - torch.arange(offsets, device=rows.device)).clamp_min(0)
    return rows.gather(-1, keys.expand(*rows.shape[:-1], offsets))


def visible(half: int, window: int | None, device: torch.device | str = "cpu") -> Tensor:
    """Which offsets an early query has: (query, offset) bool, d < min(i + 1, W)."""
    d = torch.arange(half, device=device)
    last = d.clamp_max((window or half) - 1)
    return d[None, :] <= last[:, None]


def split(early: Tensor, reference: Tensor, window: int | None) -> Parts:
    """Decompose logits that are given by offset.

    Args:
        early: s[i, i-d] of queries i < half, (..., half, half); arbitrary where not visible.
        reference: s[q, q-d] of reference queries, (..., any number, half).
        window: W, or None for full causal attention.
    """
    half = early.shape[-1]
    valid = visible(half, window, early.device)
    log_z = log_denominators(reference)
    if window is not None:
        log_z = log_z[..., torch.arange(half, device=early.device).clamp_max(window - 1)]
    denominator = log_z.mean(-2)
    mean_logit = reference.mean(-2)
    log_attention = early.masked_fill(~valid, -torch.inf).log_softmax(-1)
    log_predicted = mean_logit[..., None, :] - denominator[..., None]
    residual = (log_attention - log_predicted).masked_fill(~valid, 0)
    return Parts(
        relative=(mean_logit - denominator[..., -1:]).masked_fill(~valid[-1], 0),
        denominator=denominator,
        residual=residual,
        log_attention=log_attention.masked_fill(~valid, 0),
        attention=log_attention.exp(),
        predicted=truncated_attention(reference, log_z).masked_fill(~valid, 0),
        valid=valid,
    )


def log_denominators(reference: Tensor) -> Tensor:
    """log of the sum of exp s[q, q-d'] over d' <= d, (..., q, offset), for every offset d.

    From one exponential of each row relative to its largest logit; where the nearest keys lie so
    far below it that they would vanish, by the slower cumulative log-sum-exp.
    """
    top = reference.amax(-1, keepdim=True)
    sums = (reference - top).exp_().cumsum(-1)
    # The first sum is the smallest; half the exponent range keeps all of its digits.
    if float(sums[..., 0].amin()) > torch.finfo(sums.dtype).tiny ** 0.5:
        return sums.log_().add_(top)
    return reference.logcumsumexp(-1)


def truncated_attention(reference: Tensor, log_z: Tensor) -> Tensor:
    """P_i(d), the mean over reference queries of exp(s[q, q-d] - log Z_i(q)).

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
    # Half the exponent range is left to the other factor, so that nothing visible underflows.
    if float(weights.amax()) < torch.finfo(weights.dtype).max ** 0.5:
        return weights.mT @ (reference - top).exp() / reference.shape[-2]
    rows = [(reference - log_z[..., i, None]).exp().mean(-2) for i in range(log_z.shape[-1])]
    return torch.stack(rows, -2)


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
