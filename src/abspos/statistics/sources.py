"""Energies when whole sources of text are left out: how far a number hangs on which were chosen.

Source: docs/method.md, section 3 (sources).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from abspos.documents import require_documents, unit_codes
from abspos.statistics.half_samples import in_first_half
from abspos.statistics.unit_sums import between, membership, sums_by


def source_replicates(
    packed: Float[np.ndarray, "*axes pair"],
    sources: np.ndarray,
    documents: np.ndarray | None = None,
) -> Float[np.ndarray, "*axes replicate"]:
    """Energies of all inputs, without one source each, and of halves of the sources.

    As abspos.statistics.energies.packed_replicates, with sources as units; pairs are those of
    different documents as before, of one source too, so that the first replicate is the same
    estimate.

    Args:
        packed: Gram matrices (..., N(N+1)/2), see abspos.statistics.packing.
        sources: label of each input's source (N,).
        documents: label of each input's document (N,); None: each is one of its own.

    Returns:
        (..., 1 + S + 2 SPLITS); NaN where a half has fewer than 2 sources.

    Raises:
        ValueError: fewer than 3 sources.
    """
    number = len(sources)
    codes, sizes = unit_codes(sources, number)
    units = len(sizes)
    require_documents("source_replicates (units are sources)", units, 3)
    entry, one, other = between(unit_codes(documents, number)[0])
    members = membership(entry, codes[one] * units + codes[other], units**2, number)
    first = in_first_half(units).astype(np.float64)
    every = np.ones((1, units))
    chosen = np.concatenate([every, every - np.eye(units), first, 1 - first])

    def within(sums: np.ndarray) -> np.ndarray:
        """Sums (..., replicate) over the chosen sources of those by pair of sources."""
        by_pair = sums.reshape(*sums.shape[:-1], units, units)
        return ((chosen @ by_pair) * chosen).sum(axis=-1)

    counted = within(members.sum(axis=1))
    counted[chosen.sum(axis=-1) < 2] = np.nan
    return within(sums_by(members, packed)) / counted
