"""The claim bos-swap: what replacing BOS removes of R.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import xarray as xr

from abspos.claims import estimands
from abspos.claims.evidence import BOS, Evidence, Row, measured, not_testable
from abspos.claims.verdicts import SWAP
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import SUMMARIES
from abspos.statistics.store import Arm

COLUMNS = [
    "model",
    "revision",
    "replacement",
    "token",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "n_inputs",
    "primary",
    "verdict",
]


def replacements(evidence: Evidence, variant: str = "standard") -> dict[str, list[str]]:
    """Replacements of BOS that were run: name -> its conditions; swap-token holds several."""
    conditions = evidence.conditions(variant)
    tokens = [c for c in conditions if c.startswith("swap-token-")]
    found = {"swap-token": tokens} if tokens else {}
    others = ("swap-mean", "swap-noise", "swap-random", "ablate-zero")
    return found | {c: [c] for c in others if c in conditions}


def swap_rows(evidence: Evidence, each: bool = False) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement; with ``each`` every listed token by itself.

    Besides a claim's columns: the replacement, its token, and the number without it.
    """
    if not evidence.has(BOS):
        return
    found = replacements(evidence)
    by_condition = {
        (condition, lens, summary): numbers_of(evidence, condition, lens, summary)
        for conditions in found.values()
        for condition in conditions
        for lens in LENSES
        for summary in SUMMARIES
    }
    for name, conditions in found.items():
        groups = [[c] for c in conditions] if each and len(conditions) > 1 else []
        for group in [conditions, *groups]:
            label = name if len(group) == len(conditions) else group[0]
            about = {"replacement": label, "token": token_of(evidence, group)}
            for lens, summary in product(LENSES, SUMMARIES):
                numbers = [by_condition[condition, lens, summary] for condition in group]
                for number in numbers[0]:
                    mean = sum(one[number] for one in numbers) / len(numbers)
                    first = (number, lens, summary) == ("energy reduction", "log", "median")
                    row = measured(
                        evidence,
                        [*(Arm("standard", condition) for condition in group), BOS],
                        f"{label}: {number}",
                        np.asarray(mean),
                        SWAP,
                        lens=lens,
                        summary=summary,
                        primary=first and label == "swap-token",
                        note="removes position 0, does not replace it"
                        if name == "ablate-zero"
                        else "",
                    )
                    yield row | about | {"bare_number": number}


def numbers_of(
    evidence: Evidence, condition: str, lens: str, summary: str
) -> dict[str, xr.DataArray]:
    """The four numbers of bos-swap (replicate) for one replacement."""
    arm = Arm("standard", condition)
    treated, reference = (evidence.energies(a, "early", lens) for a in (arm, BOS))
    cross = evidence.energies(arm, "cross", lens)
    return estimands.swap_replicates(treated, reference, cross, summary)


def token_of(evidence: Evidence, group: Sequence[str]) -> str:
    """Text of the listed token that one swap-token arm has, as JSON; empty for others."""
    if len(group) != 1 or not group[0].startswith("swap-token-"):
        return ""
    return json.dumps(evidence.swap_tokens[int(group[0].rsplit("-", 1)[1]) - 1])


def bos_swap(evidence: Evidence) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement."""
    rows = list(swap_rows(evidence))
    if not any(row["primary"] for row in rows):
        for lens in LENSES:
            yield not_testable("needs standard under bos and swap-token", lens, SWAP)
    yield from rows
