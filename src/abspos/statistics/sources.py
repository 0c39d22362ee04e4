"""Energies when whole sources of text are left out: how far a number hangs on which were chosen.

Source: docs/method.md, section 3 (sources).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from abspos.documents import require_documents, unit_codes
from abspos.statistics.half_samples import in_first_half


def source_replicates(
    gram: Float[np.ndarray, "*axes input input"],
    sources: np.ndarray,
    documents: np.ndarray | None = None,
) -> Float[np.ndarray, "*axes replicate"]:
    """Energies of all inputs, without one source each, and of halves of the sources.

    As abspos.statistics.energies.replicates, with sources as units; pairs are those of different
    documents as before, of one source too, so that the first replicate is the same estimate.

    Args:
        gram: Gram matrices (..., N, N).
        sources: label of each input's source (N,).
        documents: label of each input's document (N,); None: each is one of its own.

    Returns:
        (..., 1 + S + 2 SPLITS); NaN where a half has fewer than 2 sources.

    Raises:
        ValueError: fewer than 3 sources.
    """
    number = gram.shape[-1]
    codes, sizes = unit_codes(sources, number)
    require_documents("source_replicates (units are sources)", len(sizes), 3)
    of_document, _ = unit_codes(documents, number)
    member = np.eye(len(sizes))[codes]
    pairs = (of_document[:, None] != of_document).astype(np.float64)
    first = in_first_half(len(sizes)).astype(np.float64)
    every = np.ones((1, len(sizes)))
    chosen = np.concatenate([every, every - np.eye(len(sizes)), first, 1 - first])

    def within(values: np.ndarray) -> np.ndarray:
        """Sums (..., replicate) of (..., N, N) over the chosen sources."""
        between = member.T @ values @ member
        return ((chosen @ between) * chosen).sum(axis=-1)

    counted = within(pairs)
    counted[chosen.sum(axis=-1) < 2] = np.nan
    return within(gram * pairs) / counted
