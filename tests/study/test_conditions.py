"""Conditions: one row each, from which everything else about them follows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from abspos.study.conditions import (
    CONDITIONS,
    PAIRS,
    SUBSTITUTES,
    TABLE,
    arms_of,
    condition_of,
    is_arm,
    split,
    token_of,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arm", "condition", "number"),
    [
        ("bos", "bos", None),
        ("swap-token-1", "swap-token", 1),
        ("swap-token-12", "swap-token", 12),
        ("swap-mean-1", "swap-mean-1", None),
        ("swap-token-0", "swap-token-0", None),
        ("swap-token-01", "swap-token-01", None),
        ("swap-token-1\n", "swap-token-1\n", None),
        ("swap-token-\N{SUPERSCRIPT TWO}", "swap-token-\N{SUPERSCRIPT TWO}", None),
    ],
)
def test_the_condition_of_an_arm(arm, condition, number):
    assert split(arm) == (condition, number)


def test_arms_and_conditions_correspond():
    assert len(CONDITIONS) == len(TABLE)
    for row in TABLE:
        for number, arm in enumerate(arms_of(row.name, 12), 1):
            assert is_arm(arm)
            assert condition_of(arm) is row
            wanted = {None: None, "first": 1, "each": number}[row.token]
            assert token_of(arm, list(range(1, 13))) == wanted
    for name in ("swap-token", "swap-halved", "bos-1", ""):
        assert not is_arm(name)
    assert arms_of("swap-token", 0) == ()


def test_rows_agree_with_themselves():
    for row in TABLE:
        assert (row.role == "substitute") == (row.name in SUBSTITUTES)
        assert SUBSTITUTES.get(row.name) == row.substitute
        if row.substitute:
            assert (row.substitute.source == "token") == (row.token is not None)
            assert row.compared
        if row.crossed:
            assert row.role != "control", "an arm of the crossed design"
        assert not row.reads_early or row.token
        assert not row.compared or row.role != "reference", "bos is compared with nothing"
        assert row.compared or row.role in ("reference", "control", "pair")
        assert (row.role == "pair") == (row.name in PAIRS)


# a new condition


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the library with the condition of docs/extending.md, added as is said there."""
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"(?ms)^## A condition\n(.*?)^## ", text)
    (row,) = re.findall(r"(?ms)^row = (Definition\(.*?^\))$", section)
    (function,) = re.findall(r"(?ms)^def swap_halved.*?\n\n\n", section)
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    table = folder / "src/abspos/study/conditions.py"
    before, start, rest = table.read_text(encoding="utf-8").partition("TABLE = (\n")
    table.write_text(before + start + row + ",\n" + rest, encoding="utf-8")
    functions = folder / "src/abspos/activations/interventions.py"
    before, start, rest = functions.read_text(encoding="utf-8").partition("def intervention(")
    functions.write_text(before + function + start + rest, encoding="utf-8")
    return folder


def carried_out(folder: Path, code: str) -> str:
    """What a script prints that imports the copy."""
    done = subprocess.run(
        [sys.executable, "-c", STUDY + code],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


STUDY = """
from pathlib import Path
from abspos.study.config import ConfigError, load_study, reference, schema
from abspos.planning.layout import Layout

def study(without=(), bos=True, conditions=("bos", "no-bos", "swap-halved"), **others):
    source = {"type": "random", "bos": bos}
    return load_study({
        "models": [
            {"name": "m", "source": source, "without": list(without)},
            {"name": "other", "source": {"type": "random", "seed": 1}},
        ],
        "variants": [{"name": "standard", "conditions": list(conditions)}],
    } | others)

def mistakes(**given):
    try:
        study(**given)
    except ConfigError as error:
        return error.mistakes
"""


def test_a_new_condition_is_known_to_the_config(extended):
    carried_out(
        extended,
        """
assert "| `swap-halved` | the BOS embedding at half its length | BOS |" in reference()
assert '"swap-halved"' in schema()
(line,) = mistakes(conditions=["no-bos", "swap-halved"])
assert "with bos among them: swap-halved is compared with it" in line, line
(line,) = mistakes(conditions=["bos", {"name": "swap-halved", "inputs": 4}])
assert "at least 8" in line, line
""",
    )


def test_a_new_condition_that_needs_bos_is_not_for_a_model_without(extended):
    carried_out(
        extended,
        """
(line,) = mistakes(bos=False, conditions=["no-bos", "bos", "swap-halved"])
assert line.startswith("models[m].source.bos: value False — without: [bos]"), line
assert "swap-halved" in line, line
runs = study(bos=False, without=["bos"]).runs()
assert [run.condition for run in runs if run.model == "m"] == ["no-bos"]
assert len(runs) == 4
from abspos.planning.misfits import misfits_of
layout = Layout(study(without=["standard/bos"]), Path())
(line,) = misfits_of(layout, "m", {"tokenizer_config": {"bos_token": None}})
assert "which swap-halved needs" in line, line
""",
    )


def test_a_new_condition_is_planned_applied_and_judged(extended):
    carried_out(
        extended,
        """
layout = Layout(study(), Path())
assert layout.reference("m", "standard", "swap-halved") == "bos"
assert layout.is_reference("m", "standard", "bos")
given = layout.extraction("m", "standard", "swap-halved")
assert (given["token"], given["early"]) == (None, 0)

import torch
from types import SimpleNamespace
from abspos.activations.interventions import Batch, InterventionError, Setting, apply
setting = Setting(torch.ones(5, 3), bos=1, token=None, later=4, shift=64, seed=0)
batch = Batch(torch.zeros(2, 8, 3), range(2))
assert apply("swap-halved", batch, setting).embeddings[:, 0].eq(0.5).all()

from abspos.claims.swaps import replacements
evidence = SimpleNamespace(conditions=lambda variant: ["bos", "swap-halved", "swap-mean"])
assert replacements(evidence) == {"swap-halved": ["swap-halved"], "swap-mean": ["swap-mean"]}
""",
    )


def test_a_row_without_its_function_is_named(extended, tmp_path):
    shutil.copytree(extended / "src", tmp_path / "src")
    functions = tmp_path / "src/abspos/activations/interventions.py"
    text = functions.read_text(encoding="utf-8").replace("def swap_halved(", "def halved(")
    functions.write_text(text, encoding="utf-8")
    carried_out(
        tmp_path,
        """
try:
    import abspos.activations.interventions
except NotImplementedError as error:
    assert str(error) == (
        "condition 'swap-halved': abspos.activations.interventions has no function 'swap_halved'; "
        "write it"
    ), error
else:
    raise AssertionError("imported")
""",
    )
