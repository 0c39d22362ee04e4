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
from abspos.statistics.store import Arm
from abspos.study.conditions import TABLE

#: What each control says of the effect beside it.
CONTROLS = {row.name: row.says for row in TABLE if row.says}
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
    """Change of each early reading against bos, under standard, of effects and their controls."""
    there = [c for c in (*EFFECTS, *CONTROLS) if evidence.has(BOS, Arm("standard", c))]
    if not any(condition in CONTROLS for condition in there):
        return
    for condition in there:
        arm = Arm("standard", condition)
        about = {
            "condition": condition,
            "role": "control" if condition in CONTROLS else "effect",
            "says": CONTROLS.get(condition, ""),
            "n_inputs": evidence.facts[arm]["inputs"],
        }
        for lens, reading in product(LENSES, READINGS):
            bos, own = (evidence.reading(a, "early", lens, reading.name) for a in (BOS, arm))
            cross = evidence.crossed(arm, lens, reading.name)
            for summary in SUMMARIES:
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
