"""The claim standard-between: standard RoPE lies between NTK scaling and a sliding window.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from abspos.claims.evidence import Evidence
from abspos.claims.rows import REPLICATES, Row, measured, not_testable
from abspos.claims.variants import changed, ntk_factors
from abspos.claims.verdicts import REDUCTION
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics.replicates import over_model, replicate_interval
from abspos.statistics.store import Arm


def standard_between(evidence: Evidence) -> Iterator[Row]:
    """Whether E(ntk) < E(standard) < E(window), early, of each reading, as shares of the middle."""
    standard = evidence.arm("standard")
    ntks = [name for name, factor in ntk_factors(evidence).items() if factor > 1]
    windows = changed(evidence, "window")
    if not (evidence.has(standard) and ntks and windows):
        for lens in LENSES:
            why = f"needs standard, an ntk variant and a window variant, under {evidence.base}"
            yield not_testable(why, lens, REDUCTION)
        return
    for ntk, window in product(ntks, windows):
        arms = [evidence.arm(ntk), evidence.arm(window), standard]
        for lens, reading in product(LENSES, READINGS):
            yield from ordered(evidence, arms, lens, reading.name)


def ordered(evidence: Evidence, arms: list[Arm], lens: str, reading: str) -> Iterator[Row]:
    """Both differences, and the smaller of them, which decides: each must be positive.

    The smaller is that with the lower end of its interval, so that the order holds exactly if its
    interval is clear.

    Args:
        evidence: of the model.
        arms: ntk, window, standard.
        lens: of the energies.
        reading: of R.
    """
    ntk, window, standard = arms
    energies = [evidence.reading(arm, "early", lens, reading) for arm in arms]
    for summary in evidence.summaries:
        about: dict[str, Any] = {"lens": lens, "summary": summary, "reading": reading}
        low, high, middle = (over_model(x, summary) for x in energies)
        middle = middle.where(middle > 0)
        sides = {
            "standard above ntk": ([ntk, standard], 1 - low / middle),
            "window above standard": ([window, standard], high / middle - 1),
        }
        for name, (pair, difference) in sides.items():
            number = f"{name}, share of its energy"
            yield measured(evidence, pair, number, difference, None, **about)
        both = np.array([np.asarray(side[1], dtype=np.float64) for side in sides.values()])
        smaller = which_is_smaller(both, evidence.confidence, summary)
        row = measured(
            evidence,
            arms,
            "smaller of both differences, share of standard's energy",
            both[smaller[0]],
            REDUCTION,
            primary=lens == "log" and summary == "median",
            reference=evidence.reference(standard, lens, summary, reading),
            **about,
        )
        # Without a source the other difference may be the smaller.
        yield row | {REPLICATES: both[smaller, np.arange(both.shape[1])]}


def which_is_smaller(numbers: np.ndarray, confidence: float, summary: str) -> np.ndarray:
    """Which number (replicate) has the lowest end of its interval, about each replicate in turn.

    Args:
        numbers: replicates of each (number, replicate).
        confidence: level of the intervals.
        summary: over heads.
    """
    found = replicate_interval(numbers, confidence, summary)
    return (numbers - (found.estimate - found.low)[:, None]).argmin(0)
