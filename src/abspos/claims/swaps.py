"""The claim bos-swap: what replacing BOS removes of each reading of R.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import xarray as xr

from abspos.claims import estimands
from abspos.claims.evidence import BOS, Evidence, once
from abspos.claims.rows import Row, measured, not_testable
from abspos.claims.verdicts import SWAP
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS, Reading
from abspos.statistics.store import Arm
from abspos.study.conditions import CONDITIONS, TABLE, is_arm, split

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
    "reading",
    "kind",
    "fixed",
]
#: What the claim takes for granted of a model; its tokenizer need not put BOS there.
PREMISE = "premise: in training, BOS stood at position 0 by itself"


def replacements(evidence: Evidence, variant: str = "standard") -> dict[str, list[str]]:
    """Replacements of BOS that were run: name -> its arms; swap-token holds several."""
    arms = evidence.conditions(variant)
    by_name = {
        row.name: [arm for arm in arms if is_arm(arm) and split(arm)[0] == row.name]
        for row in TABLE
        if row.role == "replacement"
    }
    return {name: found for name, found in by_name.items() if found}


def swap_rows(evidence: Evidence, each: bool = False) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement; with ``each`` every listed token by itself.

    Besides a claim's columns: the replacement, its token, and the number without it.
    """
    if not evidence.has(BOS):
        return
    found = replacements(evidence)
    kinds = list(product(LENSES, READINGS, evidence.summaries))
    by_condition = {
        (condition, *kind): numbers_of(evidence, condition, *kind)
        for conditions in found.values()
        for condition in conditions
        for kind in kinds
    }
    for name, conditions in found.items():
        groups = [[c] for c in conditions] if each and len(conditions) > 1 else []
        for group in [conditions, *groups]:
            label = name if len(group) == len(conditions) else group[0]
            about = {"replacement": label, "token": token_of(evidence, group)}
            for lens, reading, summary in kinds:
                numbers = [by_condition[condition, lens, reading, summary] for condition in group]
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
                        reading=reading.name,
                        primary=first and label == "swap-token",
                        note="; ".join(filter(None, (CONDITIONS[name].note, PREMISE))),
                        reference=evidence.reference(BOS, lens, summary, reading.name),
                    )
                    yield row | about | {"bare_number": number}


@once
def numbers_of(
    evidence: Evidence, condition: str, lens: str, reading: Reading, summary: str
) -> dict[str, xr.DataArray]:
    """The four numbers of bos-swap (replicate) for one replacement and reading."""
    arm = Arm("standard", condition)
    treated, reference = (evidence.reading(a, "early", lens, reading.name) for a in (arm, BOS))
    cross = evidence.crossed(arm, lens, reading.name)
    return estimands.swap_replicates(treated, reference, cross, summary)


def token_of(evidence: Evidence, group: Sequence[str]) -> str:
    """Text of the listed token that one swap-token arm has, as JSON; empty for others."""
    number = split(group[0])[1] if len(group) == 1 else None
    return "" if number is None else json.dumps(evidence.swap_tokens[number - 1])


def bos_swap(evidence: Evidence) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement."""
    rows = list(swap_rows(evidence))
    if not any(row["primary"] for row in rows):
        for lens in LENSES:
            yield not_testable("needs standard under bos and swap-token", lens, SWAP)
    yield from rows
