"""The table of energies holds early energies of whole arms, within a size."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd

from abspos.report.head_energies import as_json, early_energies


def energies() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": "m",
            "revision": "r",
            "variant": variant,
            "condition": "bos",
            "layer": layer,
            "head": head,
            "bin": which,
            "lens": lens,
            "component": component,
            "energy": rng.normal(),
            "ci_low": -1.0,
            "ci_high": np.nan,
            "p_adjusted": 0.5,
            "kind": "full",
        }
        for variant, which, lens, component, layer, head in product(
            ("standard", "ntk"),
            ("early", "late"),
            ("log", "probability"),
            ("mask", "residual"),
            range(3),
            range(2),
        )
    ]
    return pd.DataFrame(rows)


def test_every_early_energy_is_there_in_its_place() -> None:
    table = energies()
    text, held, arms = early_energies(table, most=10**6)
    assert (held, arms) == (2, 2)
    found = [
        (b["arm"], b["lens"], b["component"], i // b["heads"], i % b["heads"], value)
        for b in json.loads(text)
        for i, value in enumerate(b["energy"])
    ]
    early = table[table["bin"] == "early"]
    wanted = [
        (
            f"{r.variant}/{r.condition}",
            r.lens,
            r.component,
            r.layer,
            r.head,
            float(f"{r.energy:.3g}"),
        )
        for r in early.itertuples()
    ]
    assert found == wanted
    assert json.loads(text)[0]["high"] == [None] * 6
    assert json.loads(text)[0]["kinds"] == ["full"] * 3


def test_arms_that_do_not_fit_are_left_out_whole() -> None:
    whole = len(early_energies(energies(), most=10**6)[0])
    text, held, arms = early_energies(energies(), most=whole - 10)
    assert len(text) < whole
    assert (held, arms) == (1, 2)
    assert {block["arm"] for block in json.loads(text)} == {"standard/bos"}
    assert early_energies(energies(), most=10) == ("[]", 0, 2)


def test_a_study_without_energies_has_none() -> None:
    assert early_energies(None, most=10) == ("[]", 0, 0)
    assert early_energies(energies().iloc[:0], most=10) == ("[]", 0, 0)


def test_text_in_json_ends_no_script() -> None:
    text = as_json({"name": "</script><b>"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><b>"}
