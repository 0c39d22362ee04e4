"""Entries: where they lie, what they say of rules and seeds, that only whole ones are read."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos.audit import ledger
from abspos.stores import StoreError

RULES = """
rule one:  # first
    input:
        "a",
    script:
        "../scripts/one.py"


if True:

    for name in NAMES:

        rule:
            name:
                name
            script:
                "../scripts/two.py"


use rule one as one_again with:
    input:
        "b",


checkpoint three:
    script:
        "../scripts/three.py"
"""


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "workflow/rules").mkdir(parents=True)
    (tmp_path / "workflow/rules/a.smk").write_text(RULES)
    return tmp_path


def test_places():
    assert ledger.place("results/s/a/b.csv") == Path("results/s/ledger/a/b.csv.json")
    assert ledger.place("results/checkpoints/m/r") == Path("results/checkpoints/ledger/m/r.json")
    for outside in ("x.csv", "results/x.csv", "/results/s/x.csv", "results/s/../x/y.csv"):
        with pytest.raises(StoreError, match="not below results/<study>/"):
            ledger.place(outside)


@pytest.mark.parametrize(
    ("rule", "script", "first"),
    [
        ("one", None, "rule one:"),
        ("three", None, "checkpoint three:"),
        ("made_at_run_time", "workflow/scripts/two.py", "        rule:"),
        ("one_again", "workflow/scripts/one.py", "rule one:"),
    ],
)
def test_a_rule_is_found_by_name_or_by_its_script(project, rule, script, first):
    lines = ledger.code.normal(RULES, docstrings=True)
    (block,) = [block for _, block in ledger.rules(lines) if block[0] == first]
    found = ledger.rule_file(rule, script, project)
    assert found is not None
    assert found["path"] == "workflow/rules/a.smk"
    assert found["code"] == ledger.rule_file(rule, script, project)["code"]
    assert not any("checkpoint" in line for line in block[1:])


def test_an_edit_of_one_rule_is_no_edit_of_another(project):
    before = {name: ledger.rule_file(name, None, project)["code"] for name in ("one", "three")}
    path = project / "workflow/rules/a.smk"
    path.write_text(RULES.replace('"a",', '"c",').replace("# first", "# the first"))
    after = {name: ledger.rule_file(name, None, project)["code"] for name in ("one", "three")}
    assert before["three"] == after["three"]
    assert before["one"] != after["one"]


def test_unknown_rules_are_none(project):
    assert ledger.rule_file("no", None, project) is None
    assert ledger.rule_file("no", "workflow/scripts/no.py", project) is None


def test_seeds_are_found_wherever_they_are():
    nested = {"seed": 1, "models": [{"source": {"seed": 2}}, {"x": 3}], "noise_seed": 4}
    assert ledger.seeds(nested) == {"seed": 1, "models[0].source.seed": 2, "noise_seed": 4}


def test_a_folder_without_a_manifest_is_digested_file_by_file(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a").write_text("a")
    one = ledger.describe(tmp_path / "f")
    (tmp_path / "f/a").write_text("b")
    two = ledger.describe(tmp_path / "f")
    assert one["kind"] == two["kind"] == "folder"
    assert one["digest"] != two["digest"]
    with pytest.raises(StoreError, match="missing"):
        ledger.describe(tmp_path / "g")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(PurePosixPath("a")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
def test_any_entry_is_one_text(entry):
    text = ledger.render(ledger.plain(entry))
    assert ledger.render(ledger.json.loads(text)) == text
