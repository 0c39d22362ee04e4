"""Sources as units: the same estimate, whole sources left out, and what the intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from abspos.statistics.energies import of_replicates, replicates
from abspos.statistics.half_samples import SPLITS, in_first_half
from abspos.statistics.packing import symmetric
from abspos.statistics.sources import source_replicates


def gram_of(fields):
    return fields @ fields.swapaxes(-1, -2) / fields.shape[-1]


def energy(gram, documents, kept):
    """By the definition: the mean over pairs of different documents among some inputs."""
    at = np.flatnonzero(kept)
    return np.mean([gram[n, m] for n in at for m in at if documents[n] != documents[m]])


def test_each_replicate_is_the_energy_of_its_sources_inputs():
    rng = np.random.default_rng(0)
    gram = gram_of(rng.normal(size=(13, 7)))
    sources = rng.permutation([0] * 4 + [1] * 3 + [2] * 2 + [3] * 3 + [4])
    documents = np.array([0, 0, 1, 1, *range(2, 11)])
    found = source_replicates(symmetric(gram), sources, documents)
    names = list(dict.fromkeys(sources))  # as they first appear
    assert found.shape == (1 + 5 + 2 * SPLITS,)
    assert found[0] == pytest.approx(replicates(gram, documents)[0])
    for place, name in enumerate(names):
        assert found[1 + place] == pytest.approx(energy(gram, documents, sources != name))
    for split, half in enumerate(in_first_half(5)):
        for part, shift in ((half, 0), (~half, SPLITS)):
            value = found[6 + shift + split]
            if part.sum() < 2:
                assert np.isnan(value)
            else:
                kept = np.isin(sources, np.array(names)[part])
                assert value == pytest.approx(energy(gram, documents, kept))


def test_fewer_than_three_sources_are_refused():
    with pytest.raises(ValueError, match="2 documents, needs at least 3"):
        source_replicates(symmetric(np.eye(4)), np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(("between", "documents"), [(0.0, (0.9, 0.99)), (1.2, (0.4, 0.75))])
def test_intervals_over_sources_cover_what_other_sources_would_give(between, documents):
    """Energies of 10 sources of 13 documents: with differences between sources, intervals over
    documents cover the mean over all sources far too seldom; those over sources do."""
    rng = np.random.default_rng(1)
    studies, sources, each, size = 300, 10, 13, 40
    mean = rng.normal(size=size)
    fields = (
        mean
        + between * rng.normal(size=(studies, sources, 1, size))
        + 2 * rng.normal(size=(studies, sources, each, size))
    ).reshape(studies, sources * each, size)
    gram, labels = gram_of(fields), np.repeat(np.arange(sources), each)
    pairs = sources * each - 1
    truth = mean @ mean / size + between**2 * (each - 1) / pairs  # pairs of one source have both

    def covered(values):
        found = of_replicates(values, smooth=True)
        return float(np.mean((found.low <= truth) & (truth <= found.high)))

    assert 0.9 < covered(source_replicates(symmetric(gram), labels)) < 0.99
    assert documents[0] < covered(replicates(gram)) < documents[1]
