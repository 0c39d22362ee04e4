"""Each control of position beside the effect that it guards: how far R moves from bos.

Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from abspos.claims.estimands import swap_slots
from abspos.claims.evidence import LENSES, Evidence, Row
from abspos.statistics.replicates import SUMMARIES, slot_interval
from abspos.study.conditions import TABLE

#: What each control says of the effect beside it.
CONTROLS = {row.name: row.says for row in TABLE if row.says}
#: Arms whose effect they guard: another token, a random one, at position 0.
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
]


def guards(evidence: Evidence) -> Iterator[Row]:
    """Change of early R against bos, under standard, of effects and controls (see swap_slots)."""
    there = [c for c in (*EFFECTS, *CONTROLS) if evidence.has("standard:bos", f"standard:{c}")]
    if not any(condition in CONTROLS for condition in there):
        return
    for condition in there:
        arm = f"standard:{condition}"
        about = {
            "condition": condition,
            "role": "control" if condition in CONTROLS else "effect",
            "says": CONTROLS.get(condition, ""),
            "n_inputs": evidence.facts[arm]["inputs"],
        }
        for lens in LENSES:
            bos, own = (evidence.slots(a, "early", lens) for a in ("standard:bos", arm))
            cross = evidence.slots(arm, "cross", lens)
            for summary in SUMMARIES:
                found = swap_slots(own, bos, cross, summary)
                for number in NUMBERS:
                    slots = np.asarray(found[number], dtype=np.float64)
                    one = slot_interval(slots, evidence.confidence, summary)
                    yield about | {
                        "number": number,
                        "lens": lens,
                        "summary": summary,
                        "estimate": float(one.estimate),
                        "ci_low": float(one.low),
                        "ci_high": float(one.high),
                    }
