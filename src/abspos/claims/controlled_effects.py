"""Effects beside the controls of position: how far each moves each reading of R from bos.

Controls that must do nothing, and whether they did, are in abspos.statistics.controls.

Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from abspos.claims.estimands import swap_replicates
from abspos.claims.evidence import BOS, Evidence
from abspos.claims.rows import Row, of_reading
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics.replicates import SUMMARIES, replicate_interval
from abspos.statistics.store import Arm, first
from abspos.study.conditions import BESIDE_EFFECTS

#: Conditions whose effect they control: another token, a random one, at position 0.
EFFECTS = ("swap-token-1", "swap-random", "swap-noise")
NUMBERS = ("difference share", "energy reduction")
COLUMNS = [
    "model",
    "revision",
    "condition",
    "role",
    "says",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "n_inputs",
    "reading",
    "kind",
    "fixed",
]


def controlled_effects(evidence: Evidence) -> Iterator[Row]:
    """Change of each early reading against bos, under standard, of effects and their controls.

    Of a reading that has next to no energy under bos there is no row: nothing is a share of it.
    """
    every = (*EFFECTS, *BESIDE_EFFECTS) if evidence.has(BOS) else ()
    there = [condition for condition in every if compared_in(evidence, condition)]
    if not any(condition in BESIDE_EFFECTS for condition in there):
        return
    for condition in there:
        arm = Arm("standard", condition)
        about = {
            "condition": condition,
            "role": "control" if condition in BESIDE_EFFECTS else "effect",
            "says": BESIDE_EFFECTS.get(condition, ""),
            "n_inputs": evidence.facts[arm]["inputs"],
        }
        for lens, reading in product(LENSES, READINGS):
            bos = evidence.reading(BOS, compared_in(evidence, condition), lens, reading.name)
            own = evidence.reading(arm, "early", lens, reading.name)
            cross = evidence.crossed(arm, lens, reading.name)
            for summary in SUMMARIES:
                whole = evidence.reference(BOS, lens, summary, reading.name)
                if whole.negligible(evidence.confidence, summary):
                    continue
                found = swap_replicates(own, bos, cross, summary)
                for number in NUMBERS:
                    replicates = np.asarray(found[number], dtype=np.float64)
                    one = replicate_interval(replicates, evidence.confidence, summary)
                    yield about | {
                        "number": number,
                        "lens": lens,
                        "summary": summary,
                        "estimate": float(one.estimate),
                        "ci_low": float(one.low),
                        "ci_high": float(one.high),
                        **of_reading(evidence, reading.name),
                    }


def compared_in(evidence: Evidence, condition: str) -> str:
    """The bin of bos on the inputs of a condition under standard; empty if it was not run, or if
    it is an effect that was run on some of the inputs."""
    arm = Arm("standard", condition)
    if evidence.has(arm):
        return "early"
    if arm not in evidence.arms or condition not in BESIDE_EFFECTS:
        return ""
    some = first(evidence.arms[arm].inputs)
    return some if some in evidence.arms[BOS].bins else ""
