"""Logits as they come from outside, checked, and the decomposition as a labelled dataset.

Source: docs/method.md, sections 1 and 8.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

if TYPE_CHECKING:
    from abspos.components.decomposition import Parts

LOGITS = ("input", "head", "query", "key")
#: Rows of attention in 16 bits sum to 1 within this.
SUM_TOLERANCE = 0.02
#: What a field means, and its lens and units.
FIELDS = {
    "relative": ("relative part of log attention", "log", "nats"),
    "mask": ("mask part of log attention", "log", "nats"),
    "residual": ("residual part of log attention", "log", "nats"),
    "attention": ("attention", "probability", "1"),
    "predicted": ("attention that the mask alone predicts", "probability", "1"),
}
COORDINATES = {
    "input": "input",
    "head": "head",
    "query": "query",
    "offset": "offset back to the key",
}


def as_tensor(logits: Any) -> Tensor:
    """Logits as a float tensor (input, head, query, key)."""
    if isinstance(logits, xr.DataArray):
        logits = logits.transpose(*LOGITS).values
    s = torch.as_tensor(logits).detach()
    s = s if s.dtype in (torch.float32, torch.float64) else s.float()
    if s.ndim != 4 or s.shape[-1] != s.shape[-2] or s.shape[-1] < 4:
        raise ValueError(
            f"logits: shape {tuple(s.shape)}; allowed is (input, head, query, key) with as many "
            "keys as queries, at least 4"
        )
    return s


def causal_logits(logits: Any, window: int | None, caller: int = 3) -> Tensor:
    """Checked logits (input, head, query, key), 0 where the key comes after the query.

    Beyond the window, where nothing reads them, what is not finite is 0 too. Warns of attention
    weights in their place, at the line that is ``caller`` calls away. Raises ValueError for a wrong
    shape, a window below 1 or logits that are not finite.
    """
    s = as_tensor(logits)
    require_window(window)
    causal = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).tril()
    seen = causal if window is None else causal.triu(1 - window)
    finite = torch.isfinite(s)
    if not bool(finite.where(seen, True).all()):
        raise ValueError("logits: NaN or infinity at or before a query; all must be finite")
    s = s.where(causal & finite, 0)
    if bool((s >= 0).all()) and bool(((s.sum(-1) - 1).abs() < SUM_TOLERANCE).all()):
        warnings.warn(
            "logits: none is negative and every row sums to 1, as after a softmax; give the scores "
            "before it (in TransformerLens hook_attn_scores, not hook_pattern)",
            UserWarning,
            stacklevel=caller,
        )
    return s


def require_window(window: int | None) -> None:
    """Raise ValueError for a window without keys."""
    if window is not None and window < 1:
        raise ValueError(f"window: value {window}; a window holds at least 1 key, or is None")


def labels_of(values: Any, inputs: int, heads: int) -> dict[Hashable, xr.DataArray]:
    """Coordinates of inputs and heads: those of a DataArray, or their numbers."""
    labels: dict[Hashable, xr.DataArray] = {
        name: xr.DataArray(np.arange(size), dims=name)
        for name, size in (("input", inputs), ("head", heads))
    }
    if isinstance(values, xr.DataArray):
        labels |= {n: c for n, c in values.coords.items() if set(c.dims) <= {*labels}}
    return labels


def as_dataset(parts: Parts, length: int, labels: Mapping[Hashable, xr.DataArray]) -> xr.Dataset:
    """Parts of (input, head, ...) as a labelled dataset with NaN where nothing is visible.

    Args:
        parts: a decomposition of all early queries.
        length: T.
        labels: coordinates of inputs and heads.
    """

    def fill(field: Tensor) -> np.ndarray:
        return field.masked_fill(~parts.valid, torch.nan).cpu().numpy()

    field = ("input", "head", "query", "offset")
    relative = parts.relative.masked_fill(~parts.valid[-1], torch.nan)
    dataset = xr.Dataset(
        {
            "relative": (("input", "head", "offset"), relative.cpu().numpy()),
            "mask": (("input", "head", "query"), parts.mask().cpu().numpy()),
            "residual": (field, fill(parts.residual)),
            "attention": (field, fill(parts.attention)),
            "predicted": (field, fill(parts.predicted)),
        },
        coords={**labels, **{name: np.arange(length // 2) for name in ("query", "offset")}},
        attrs={"T": length, "window": parts.window or length, "anchor": length // 2 - 1},
    )
    for name, (meaning, lens, units) in FIELDS.items():
        dataset[name].attrs = {"long_name": meaning, "lens": lens, "units": units}
    describe(dataset)
    return dataset


def describe(dataset: xr.Dataset) -> None:
    """Say what the coordinates mean, and in which units."""
    for name, meaning in COORDINATES.items():
        if name in dataset.coords:
            units = {"units": "positions"} if name in ("query", "offset") else {}
            dataset[name].attrs |= {"long_name": meaning, **units}
