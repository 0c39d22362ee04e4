"""Sink readers, the heads that attend to position 0, and the sets of heads of an exchange.

Source: docs/method.md, sections 3 (selection), 4 and 5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abspos.arrays import open_dataset

#: A head reads the sink where it gives position 0 more than this (Gu et al., arXiv 2410.10781).
SINK_THRESHOLD = 0.3


def choose(attention: np.ndarray, which: str, seed: int) -> np.ndarray:
    """Heads of one set (layer, head) bool.

    Sink readers attend to position 0 with more than SINK_THRESHOLD. In each layer, as many sink
    readers as there are other heads, the strongest first, are matched with as many other heads,
    drawn at random.

    Args:
        attention: mean attention to position 0 (layer, head), over inputs that are not measured.
        which: readers, matched or all.
        seed: seed of the draw.
    """
    if which == "all":
        return np.ones(attention.shape, dtype=bool)
    draw = np.random.default_rng(seed)
    chosen = np.zeros(attention.shape, dtype=bool)
    for layer, by_head in enumerate(attention):
        reads = by_head > SINK_THRESHOLD
        readers = np.flatnonzero(reads)[np.argsort(-by_head[reads], kind="stable")]
        others = draw.permutation(np.flatnonzero(~reads))
        number = min(len(readers), len(others))
        chosen[layer, (readers if which == "readers" else others)[:number]] = True
    return chosen


def heads_of(
    which: str, reference: Path, manifest: Path, documents: np.ndarray, seed: int
) -> np.ndarray:
    """Heads (layer, head) bool of one set, chosen on one half of the inputs under bos.

    Args:
        which: readers, matched or all.
        reference: the component store of bos, and its manifest.
        documents: label of each input (input).
        seed: of the halves and of the matched heads.
    """
    from abspos.documents import holdout

    selecting, _ = holdout(len(documents), seed, documents)
    attention = open_dataset(reference, manifest)["a_1_64"].values[..., selecting].mean(-1)
    return choose(attention, which, seed)
