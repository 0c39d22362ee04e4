"""The document, the unit of resampling: codes of documents, and held-out halves.

Inputs of one document are drawn, deleted and flipped together, and never form a pair.
Source: docs/method.md, sections 2 and 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the config, which reads MIN_INPUTS, is read at every start
    import numpy as np
    from numpy.typing import ArrayLike

#: Below this many inputs every verdict is preliminary.
MIN_INPUTS = 128


def unit_codes(documents: ArrayLike | None, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit of each input, numbered by first appearance (N,), and the number of inputs per unit."""
    import numpy as np

    if documents is None:
        return np.arange(number), np.ones(number)
    labels = np.asarray(documents)
    if labels.shape != (number,):
        raise ValueError(f"documents: shape {labels.shape}, must be ({number},), a label per input")
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse], counts[order].astype(np.float64)


def holdout(
    number: int, seed: int = 0, documents: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of `number` inputs as boolean masks (number,): to select on, to measure on.

    Complementary, of equal size to within one unit; no document stands in both. Raises ValueError
    below 2 documents. Source: docs/method.md, section 3 (selection).
    """
    import numpy as np

    codes, sizes = unit_codes(documents, number)
    require_documents("holdout", len(sizes), 2)
    order = np.random.default_rng(seed).permutation(len(sizes))
    selecting = np.isin(codes, order[: len(sizes) // 2])
    return selecting, ~selecting


def require_documents(what: str, number: int, least: int) -> None:
    """Raise ValueError where there are fewer documents than it takes, naming what needs them."""
    if number < least:
        raise ValueError(f"{what}: {number} documents, needs at least {least}; give more inputs")
