"""Sink readers, the heads that attend to position 0, and other sets of heads.

Source: docs/method.md, sections 3 (selection), 4 and 5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abspos.arrays import open_dataset
from abspos.documents import require_documents

#: A head reads the sink where it gives position 0 more than this (Gu et al., arXiv 2410.10781).
SINK_THRESHOLD = 0.3


def choose(attention: np.ndarray, which: str) -> np.ndarray:
    """Heads of one set (layer, head) bool.

    Sink readers attend to position 0 with more than SINK_THRESHOLD; *others* are all heads that are
    no readers. *top* and *bottom* are the third of each layer's heads (rounded, at least one) that
    attend to it most and least; *lower*, *middle* and *upper* all heads of a third of the layers.

    Args:
        attention: mean attention to position 0 (layer, head), over inputs that are not measured.
        which: the set.
    """
    depth, heads = attention.shape
    if which in ("readers", "others"):
        return (attention > SINK_THRESHOLD) == (which == "readers")
    if which in ("top", "bottom"):
        sign = -1 if which == "top" else 1
        rank = np.argsort(np.argsort(sign * attention, axis=1, kind="stable"), axis=1)
        return rank < max(1, round(heads / 3))
    thirds = {"lower": 0, "middle": 1, "upper": 2}
    layers = which == "all" or 3 * np.arange(depth) // depth == thirds[which]
    return np.broadcast_to(np.reshape(layers, (-1, 1)), attention.shape).copy()


def heads_of(which: str, reference: Path, manifest: Path, measured: np.ndarray) -> np.ndarray:
    """Heads (layer, head) bool of one set, chosen under bos on inputs that are not measured.

    Args:
        which: the set.
        reference: the component store of bos, and its manifest.
        measured: numbers of the inputs that the heads are measured on; documents of these choose
            no head.

    Raises:
        ValueError: there are no other documents.
    """
    store = open_dataset(reference, manifest)
    documents = store["document"].values
    choosing = ~np.isin(documents, documents[measured])
    require_documents(f"choosing heads ({which})", len(np.unique(documents[choosing])), 1)
    return choose(store["a_1_64"].values[..., choosing].mean(-1), which)
