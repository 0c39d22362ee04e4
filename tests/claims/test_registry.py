"""One record makes a claim: its rows, its statement, its verdicts under other choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from abspos.arrays import open_dataset
from abspos.claims import choices, registry, sensitivity
from abspos.claims.evidence import BOS, Evidence
from abspos.claims.judgement import claim_table
from abspos.claims.registry import Claim
from abspos.claims.rows import Row, measured
from abspos.claims.verdicts import POSITIVE
from abspos.components.lenses import LENSES
from abspos.statistics.arm_tables import ArmTables
from abspos.statistics.replicates import over_model


def mask_is_there(evidence: Evidence) -> Iterator[Row]:
    """Energy of the mask under bos, in the median head."""
    for lens in LENSES:
        energies = evidence.energies(BOS, "early", lens, "mask")
        yield measured(
            evidence,
            [BOS],
            "mask energy",
            over_model(energies, "median"),
            POSITIVE,
            lens=lens,
            summary="median",
            primary=lens == "log",
        )


def made_up(**changes: Any) -> Claim:
    given = {
        "name": "made-up",
        "statement": "the mask is there",
        "kind": "measured",
        "rows": mask_is_there,
        "choices": {"inputs": registry.ALL_NUMBERS, "anchor": ("mask energy",)},
        "from_energies": True,
    }
    return Claim(**(given | changes))


def test_a_claim_gets_rows_a_statement_and_verdicts_under_other_choices(components, monkeypatch):
    """The record alone does it: no other list names the claim."""
    monkeypatch.setattr(registry, "CLAIMS", (*registry.CLAIMS, made_up()))
    monkeypatch.setattr(choices, "ANCHORS", (7,))
    store = open_dataset(*components["bos"]).load()
    keys = {"model": "m", "revision": "r", **BOS._asdict()}
    arm = ArmTables(store, keys, 0.95, 100, 0).for_claims()
    evidence = Evidence({BOS: arm}, [], {"standard": {}}, 0.95, 0)
    assert registry.statements()["made-up"] == "the mask is there"
    table = claim_table(evidence).assign(model="m", revision="r")
    assert list(table[table["claim"] == "made-up"]["lens"]) == list(LENSES)
    rows = [
        row
        for choice in choices.choices_of(store, ["a"] * 16, 0)
        for row in choices.judged(
            evidence, choice, choices.on_inputs(choice, {BOS: store}), None, {}
        )
    ]
    alternatives = pd.DataFrame(rows).assign(model="m", revision="r")
    found = sensitivity.verdict_changes(table, alternatives, {})
    own = found[found["claim"] == "made-up"]
    assert set(zip(own["choice"], own["lens"], strict=True)) == {
        ("anchor 7", "log"),  # the anchor moves the mask of the log lens alone
        *((half, lens) for half in ("half 1", "half 2") for lens in LENSES),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statement": " "}, "claim 'made-up': statement is empty"),
        ({"choices": {}}, "claim 'made-up': choices is empty; .*'early bin'.*no_choices"),
        ({"choices": {"weather": ()}}, "claim 'made-up': choice 'weather' is not one of"),
    ],
)
def test_a_record_that_lacks_something_is_refused(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        made_up(**changes)
    assert "\n" not in str(error.value)


def test_a_claim_may_say_why_no_choice_changes_it():
    assert made_up(choices={}, no_choices="its inputs are fixed").choices == {}
    assert made_up(choices={}, kind="theorem").choices == {}


def test_names_are_one_each():
    names = [claim.name for claim in registry.CLAIMS]
    assert len(set(names)) == len(names)
