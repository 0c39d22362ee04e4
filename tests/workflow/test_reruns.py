"""What a change reruns, by the jobs that ``snakemake -n`` plans; told in docs/reruns.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from typing import Any

import pytest

from abspos.figures import FIGURES as EVERY_FIGURE
from abspos.figures.facts import ONLY_WITH, facts

#: The tiny study has no arms for the others.
FIGURES = tuple(figure for figure in EVERY_FIGURE if figure not in ONLY_WITH)
ARMS = 7
STORES = {"activations": ARMS, "components": ARMS}
NUMBERS = {"statistics": 1, "tables": 1}


def figures(*tables: str) -> dict[str, int]:
    """Figures that read one of these tables; without one, all."""
    return {f: 1 for f in FIGURES if not tables or set(tables) & set(facts(f).tables)}


#: Tables that claims and their sensitivity write; the others are joined by the rule tables.
JUDGED_TABLES = ("claims", "swaps", "changes", "controlled_effects", "sensitivity")
JUDGED = {
    "claims": 1,
    "choices": 1,
    "sensitivity": 1,
    "front": 1,
    "page": 1,
    **figures(*JUDGED_TABLES),
}
COUNTED = {**NUMBERS, **JUDGED, **figures()}
EVERYTHING = {"models": 1, "inputs": 1, **STORES, **COUNTED}


def add(line: str):
    return lambda text: f"{text}\n{line}\n"


def comment_docstrings(text: str) -> str:
    """The same code: a comment on top, a blank line, another first docstring."""
    return text.replace('"""', '"""Edited. ', 1).replace("\n\n", "\n\n# A comment.\n\n", 1)


@pytest.fixture(params=["temporary", "kept"])
def project(request, finished, tmp_path) -> Any:
    """A fresh clone beside copied results, with activations temporary or kept."""
    name = "finished" if request.param == "temporary" else "kept"
    made = request.getfixturevalue(name).copy(tmp_path / "copy")
    yield made
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)


def gone(project, rules: dict[str, int]) -> dict[str, int]:
    """Planned jobs; temporary activations come with the components that read them."""
    if project.study.get("keep_activations"):
        return rules
    return {**({"activations": rules["components"]} if "components" in rules else {}), **rules}


# targets


SYNTHETIC = {
    "type": "synthetic",
    "layers": 2,
    "heads": [1.0, 2.0],
    "sinks": [1.5, 0.75],
    "left": {"ntk": 0.8},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"keep_activations": True},
        {"models": [{"name": "quiet", "source": SYNTHETIC}]},
    ],
)
def test_all_that_is_not_temporary_is_a_target(fresh, change) -> None:
    """So that what a failed job took with it is made again, though nothing waits for it."""
    fresh.configure(**change)
    text = fresh.plan().text
    made = {
        path
        for line in re.findall(r"^    output: (.*)$", text, re.MULTILINE)
        for path in line.split(", ")
    }
    (wanted,) = re.findall(r"^(?:local)?rule all:\n    input: (.*)$", text, re.MULTILINE)
    stores = {path for path in made if "/activations/" in path and path.endswith(".zarr")}
    assert len(stores) == ARMS
    assert made - set(wanted.split(", ")) == (set() if change.get("keep_activations") else stores)


# nothing


def test_a_fresh_clone_beside_results_elsewhere_does_nothing(project) -> None:
    assert project.plan().nothing


def test_without_its_records_snakemake_has_time_stamps_alone(project) -> None:
    """An edit of code or corpus goes unseen (abspos verify sees it), a newer input does not."""
    shutil.rmtree(project.root / ".snakemake")
    project.edit("src/abspos/claims/verdicts.py", add("EDITED = 1"))
    project.edit("resources/corpus/austen.jsonl", lambda text: text.replace("the", "teh", 1))
    assert project.plan().nothing
    manifest = next((project.root / "results/checkpoints").rglob("*.manifest.json"))
    os.utime(manifest)
    plan = project.plan()
    assert plan.rules == {rule: EVERYTHING[rule] for rule in EVERYTHING.keys() - {"models"}}
    assert plan.causes()["inputs"].startswith("Updated input files: results/checkpoints/")


def test_touching_and_comments_do_nothing(project, touch) -> None:
    touch(project.root)
    assert project.plan().nothing
    for folder in ("src", "workflow"):
        for path in (project.root / folder).rglob("*.py"):
            project.edit(path.relative_to(project.root).as_posix(), comment_docstrings)
    for path in (project.root / "workflow").rglob("*.smk"):
        project.edit(path.relative_to(project.root).as_posix(), add("# A comment."))
    for path in ("Snakefile", "config.yaml", "envs/cpu.yaml", "studies/tiny.yaml"):
        project.edit(path, add("# A comment."))
    assert project.plan().nothing
    hour = time.time() - 3600
    for path in project.results.rglob("*"):  # a clock that goes back
        os.utime(path, (hour, hour))
    assert project.plan().nothing


@pytest.mark.parametrize(
    "module",
    [
        *("study/config", "study/checks", "planning/layout", "planning/alike"),
        *("audit/job", "audit/ledger", "cli/__init__", "cli/options"),
    ],
)
def test_modules_that_compute_nothing_rerun_nothing(finished, tmp_path, module) -> None:
    project = finished.copy(tmp_path / "copy")
    project.edit(f"src/abspos/{module}.py", add("UNUSED = 1"))
    assert project.plan().nothing


# code


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/abspos/models/sources.py", EVERYTHING),
        ("src/abspos/inputs/windows.py", EVERYTHING.keys() - {"models"}),
        ("src/abspos/models/loading.py", {*STORES, *COUNTED}),
        ("src/abspos/activations/interventions.py", {*STORES, *COUNTED}),
        ("src/abspos/components/grams.py", {"components", *COUNTED}),
        ("src/abspos/statistics/replicates.py", COUNTED),
        ("src/abspos/claims/verdicts.py", JUDGED),
        ("src/abspos/report/front.py", {"front", "page"}),
        ("src/abspos/report/page_template.py", {"page"}),
        ("src/abspos/figures/style.py", {*figures(), "front", "page"}),
        ("src/abspos/figures/balance.py", {"balance", "page"}),
        (
            "workflow/scripts/tables.py",
            {"tables", "front", "page", *figures()} - figures(*JUDGED_TABLES).keys(),
        ),
    ],
)
def test_an_edit_reruns_the_stages_that_import_it_and_what_follows(project, path, expected) -> None:
    project.edit(path, add("EDITED = 1"))
    plan = project.plan()
    assert plan.rules == gone(project, {rule: EVERYTHING[rule] for rule in expected})
    named = [rule for rule, reason in plan.causes().items() if path in reason]
    assert named
    for rule, reason in plan.causes().items():
        if rule in named:  # the file that was edited and no other
            before, now = reason.split("before: ")[1].split(" now: ")
            assert before.count(".py:") == now.count(".py:") == 1
        else:
            assert rule == "activations"
            assert reason.startswith("Missing output files")


def test_an_edit_that_is_taken_back_reruns_nothing(project) -> None:
    path = project.root / "src/abspos/components/grams.py"
    before = path.read_text()
    project.edit("src/abspos/components/grams.py", add("EDITED = 1"))
    path.write_text(before)
    assert project.plan().nothing


# config


@pytest.mark.parametrize(
    ("change", "expected", "cause"),
    [
        ({"seed": 1}, EVERYTHING.keys() - {"models"}, "'seed': 1"),
        ({"anchor": 20}, {"components", *COUNTED}, "'anchor': 20"),
        (
            {"statistics": {"confidence": 0.9, "sign_flips": 200}},
            COUNTED,
            "'confidence': 0.9",
        ),
        ({"figures": {"formats": ["svg", "png"]}}, {*figures(), "front", "page"}, "balance.png"),
        ({"threads": 2}, {"front", "page"}, "'threads': 2"),
    ],
)
def test_a_changed_key_reruns_what_reads_it(project, change, expected, cause) -> None:
    project.configure(**change)
    plan = project.plan()
    assert plan.rules == gone(project, {rule: EVERYTHING[rule] for rule in expected})
    assert any(cause in reason for reason in plan.causes().values())


def test_other_swap_tokens_rerun_their_arms(project) -> None:
    project.configure(swap_tokens=["k"])
    plan = project.plan()
    assert plan.arms("activations") == ["standard/swap-token-1"]
    assert plan.arms("components") == ["standard/swap-token-1"]
    assert plan.rules == {"activations": 1, "components": 1, **COUNTED}


def test_one_more_swap_token_extracts_one_more_arm(project) -> None:
    project.configure(swap_tokens=[*project.study["swap_tokens"], "k"])
    plan = project.plan()
    assert plan.arms("activations") == plan.arms("components") == ["standard/swap-token-2"]
    assert plan.rules == {"activations": 1, "components": 1, **COUNTED}


def test_a_new_arm_plans_its_own_jobs_and_the_aggregates(project) -> None:
    variants = json.loads(json.dumps(project.study["variants"]))
    variants[1]["conditions"].append("no-bos")
    project.configure(variants=variants)
    plan = project.plan()
    assert plan.arms("activations") == plan.arms("components") == ["ntk/no-bos"]
    assert plan.rules == {"activations": 1, "components": 1, **COUNTED}


def test_an_arm_that_is_left_out_reruns_the_aggregates(project) -> None:
    variants = json.loads(json.dumps(project.study["variants"]))
    variants[0]["conditions"].pop()
    project.configure(variants=variants)
    assert project.plan().rules == COUNTED


def test_a_new_checkpoint_plans_its_own_jobs_and_the_aggregates(project) -> None:
    other = {"name": "other", "source": {"type": "random", "family": "llama", "seed": 1}}
    project.configure(models=[*project.study["models"], other])
    plan = project.plan()
    own = [job for job in plan.jobs if job.wildcards]
    assert {job.wildcards["model"] for job in own} == {"other"}
    assert plan.rules == {"checkpoints": 1, **EVERYTHING}


def test_an_edited_corpus_reruns_inputs_and_what_follows(project) -> None:
    path = project.root / "resources/corpus/austen.jsonl"
    path.write_text(path.read_text() + json.dumps({"id": "new", "text": "x" * 999}) + "\n")
    plan = project.plan()
    assert plan.rules == {rule: EVERYTHING[rule] for rule in EVERYTHING.keys() - {"models"}}
    assert "resources/corpus/austen.jsonl" in plan.causes()["inputs"]


# activations


def test_activations_that_need_not_be_kept_any_more_rerun_nothing(kept, tmp_path) -> None:
    project = kept.copy(tmp_path / "copy")
    project.configure(keep_activations=False)
    assert project.plan().rules == {"front": 1, "page": 1}


def test_activations_to_be_kept_are_made_again_if_they_are_gone(finished, tmp_path) -> None:
    project = finished.copy(tmp_path / "copy")
    project.configure(keep_activations=True)
    assert project.plan().rules == {**STORES, **COUNTED}


def test_an_edit_reruns_once_even_after_the_clock_was_set_back(finished, tmp_path) -> None:
    project = finished.copy(tmp_path / "copy")
    year = time.time() + 365 * 24 * 3600
    for path in project.results.rglob("*"):
        os.utime(path, (year, year))
    project.edit("src/abspos/figures/balance.py", add("EDITED = 1"))
    assert project.plan().rules == {"balance": 1, "page": 1}
    project.run()
    assert project.plan().nothing
