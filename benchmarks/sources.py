"""What intervals over documents and over sources cover where sources differ.

    python -m benchmarks.sources [STUDIES]

Energies of 10 sources of 13 documents each. Every source has a field of its own, of so many times
the size of the common one (*between*); every document adds noise. Printed for each size: the share
in percent of 95 % intervals over documents and over sources that cover the energy over all sources,
and the mean width of the second over that of the first.
"""

from __future__ import annotations

import sys

import numpy as np

from abspos.statistics.energies import of_replicates, replicates
from abspos.statistics.packing import symmetric
from abspos.statistics.sources import source_replicates

SOURCES, DOCUMENTS, ELEMENTS, NOISE = 10, 13, 40, 2.0
SIZES = (0.0, 0.4, 0.8, 1.2)


def study(between: float, rng: np.random.Generator) -> np.ndarray:
    """What one simulated study gives: whether each interval covers (2), and their widths (2)."""
    common = rng.normal(size=ELEMENTS)
    fields = (
        common
        + between * rng.normal(size=(SOURCES, 1, ELEMENTS))
        + NOISE * rng.normal(size=(SOURCES, DOCUMENTS, ELEMENTS))
    ).reshape(-1, ELEMENTS)
    gram = fields @ fields.T / ELEMENTS
    # Pairs of one source share its field as well.
    truth = common @ common / ELEMENTS + between**2 * (DOCUMENTS - 1) / (len(fields) - 1)
    labels = np.repeat(np.arange(SOURCES), DOCUMENTS)
    found = [
        of_replicates(values, smooth=True)
        for values in (replicates(gram), source_replicates(symmetric(gram), labels))
    ]
    covers = [one.low <= truth <= one.high for one in found]
    return np.array([*covers, *(one.high - one.low for one in found)], dtype=float)


def main(studies: int) -> None:
    """Print one line for each size."""
    print(f"{studies} studies\nbetween  over documents  over sources  width")
    for between in SIZES:
        rng = np.random.default_rng([3, int(100 * between)])
        means = np.mean([study(between, rng) for _ in range(studies)], axis=0)
        documents, sources, *widths = means
        line = f"{100 * documents:14.1f} {100 * sources:13.1f} {widths[1] / widths[0]:6.2f}"
        print(f"{between:7.1f} {line}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
