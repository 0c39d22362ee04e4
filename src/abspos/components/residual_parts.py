"""The parts of R, query by query: row, sink and pattern.

Source: docs/method.md, section 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from abspos.components.decomposition import Parts, hiding


def row_and_sink(
    residual: Float[Tensor, "*heads query offset"],
    queries: Int[Tensor, " query"] | None = None,
    window: int | None = None,
) -> tuple[Float[Tensor, "*heads query"], Float[Tensor, "*heads query"]]:
    """The row part and the sink part of R, both (..., query).

    row_i is the mean of R_i over the ordinary keys d < min(i, W): what the denominator takes from
    all of them alike. The sink part is R_i(i), at position 0 itself, and 0 where a window hides
    it. With the rest they split R orthogonally, query by query.

    Args:
        residual: (..., query, offset), 0 where not visible.
        queries: their numbers (query); all from 0 unless given.
        window: W, or None.
    """
    if queries is None:
        queries = torch.arange(residual.shape[-2], device=residual.device)
    sink = residual.gather(-1, queries.expand(residual.shape[:-1])[..., None])[..., 0]
    row = (residual.sum(-1) - sink) / queries.clamp(1, window)
    return row, sink


def pattern(parts: Parts) -> Float[Tensor, "*heads query offset"]:
    """Attention over ordinary keys, less that of references with the same keys.

    (..., query, offset). Both are renormalised on d < min(i, W), each row before any mean: no
    denominator is left that position 0 has a share in. 0 at position 0 and where nothing is
    visible.

    Args:
        parts: a decomposition.
    """
    offsets = parts.residual.shape[-1]
    # R and log attention differ by the mean logit and a constant of the row.
    logit = (parts.relative + parts.denominator[..., -1:])[..., None, :offsets]
    hidden = hiding(parts.ordinary, parts.residual.dtype)
    attention = (parts.residual + logit).add_(hidden).softmax(-1)
    return attention.mul_(parts.ordinary).sub_(parts.before)
