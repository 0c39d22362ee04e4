"""What figures declare of themselves: literals, read without importing the module."""

from __future__ import annotations

import subprocess
import sys

import pytest

from abspos.figures import FIGURES, OTHERS
from abspos.figures.facts import FOLDER, SECTIONS, Facts, facts, sections

DECLARED = '''import nowhere_to_be_found

@style.figure(
    tables=("sinks",), category="Heads", label="Odd: one", caption="a " "b"{more},
)
def draw(data):
    """Nothing."""
'''


def test_facts_are_read_without_an_import(tmp_path):
    (tmp_path / "odd.py").write_text(DECLARED.format(more=""))
    assert facts("odd", tmp_path) == Facts(("sinks",), "Heads", "Odd: one", "a b", ())


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def draw(data): ...\n", "no @style.figure"),
        (DECLARED.format(more=", colour=1"), "colour"),
        (DECLARED.format(more=", stores=tuple(ARMS)"), "malformed"),
        ("@style.figure(tables=())\ndef draw(data): ...\n", "missing"),
    ],
)
def test_a_module_that_declares_something_else_is_named(tmp_path, source, problem):
    (tmp_path / "odd.py").write_text(source)
    with pytest.raises(ValueError, match=rf"^figure odd: .*{problem}.*; declare tables, category"):
        facts("odd", tmp_path)


def test_every_module_of_a_figure_is_listed_once():
    modules = {p.stem for p in FOLDER.glob("*.py") if "\n@style.figure(" in p.read_text()}
    assert sorted(FIGURES + OTHERS) == sorted(modules)
    labels = [facts(name).label for name in modules]
    assert len(set(labels)) == len(labels)


def test_planning_draws_nothing():
    """An import of matplotlib or seaborn would slow down every command."""
    code = "import sys, abspos.planning.layout, abspos.figures.facts; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "seaborn"}.intersection(done.stdout.split())


def test_the_menu_keeps_the_order_of_the_argument_when_it_is_sorted_as_text():
    every = FIGURES + OTHERS
    menu = sections(every)
    assert set(menu) == set(every)
    assert {name[2:] for name, _ in menu.values()} == set(SECTIONS)
    in_order = sorted(every, key=lambda figure: SECTIONS.index(facts(figure).category))
    assert sorted(every, key=menu.__getitem__) == in_order


def test_a_section_without_figures_has_no_number():
    menu = sections(["head_maps", "claims_forest"])
    assert [section for section, _ in menu.values()] == ["1 Heads", "2 Claims"]
