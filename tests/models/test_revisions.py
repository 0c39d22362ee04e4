"""A model with many revisions: which are measured, from what, after how many tokens."""

from __future__ import annotations

import pytest

from abspos.models import gaps
from abspos.models.revisions import Sweep, tokens_of, unclear
from abspos.study.fields import HubSource

ONE, TWO = "1" * 40, "2" * 40
FILES = {
    "config.json": {"bytes": 2, "sha1": "a" * 40},
    "model.safetensors": {"bytes": 9},
    "modeling.py": {"bytes": 9},
}


def sweep(folder, revisions=("step0", "step7", "refs/pr/1"), **others) -> Sweep:
    source = HubSource(type="hub", repo="org/a", revisions=revisions, **others)
    pins = {
        "step0": {"commit": ONE, "files": FILES},
        "step7": {"gap": "no such revision"},
        "refs/pr/1": {"commit": TWO, "files": FILES},
    }
    return Sweep(source, {"model": {"org/a": pins}}, folder)


def test_gaps_are_left_out_and_told(tmp_path):
    found = sweep(tmp_path, tokens_per_step=10)
    assert found.measured == ("step0", "refs--pr--1")
    assert found.row("step7") == {
        "repo": "org/a",
        "commit": None,
        "tokens": 70,
        "gap": "no such revision",
    }
    assert found.row("step0") == {"repo": "org/a", "commit": ONE, "tokens": 0, "gap": None}


def test_a_broken_checkpoint_is_a_gap_of_its_commit_where_the_study_allows_it(tmp_path):
    gaps.note(tmp_path / "step0", ONE, "its sha256 is wrong")
    assert sweep(tmp_path).gap("step0") is None
    assert sweep(tmp_path, on_missing="gap").gap("step0") == "its sha256 is wrong"
    assert sweep(tmp_path, on_missing="gap").measured == ("refs--pr--1",)
    gaps.note(tmp_path / "step0", TWO, "another commit was broken")
    assert sweep(tmp_path, on_missing="gap").gap("step0") is None
    assert gaps.forget(tmp_path / "step0")
    assert not gaps.forget(tmp_path / "step0")


def test_a_checkpoint_depends_on_its_own_commit_and_files(tmp_path):
    found = sweep(tmp_path).checkpoint("refs--pr--1")
    assert found == {
        "type": "hub",
        "repo": "org/a",
        "commit": TWO,
        "files": {name: FILES[name] for name in ("config.json", "model.safetensors")},
    }
    others = sweep(tmp_path, on_missing="gap", tokens_per_step=9, revisions=("refs/pr/1",))
    assert others.checkpoint("refs--pr--1") == found
    trusted = sweep(tmp_path, allow_remote_code=True).checkpoint("step0")
    assert "modeling.py" in trusted["files"]


@pytest.mark.parametrize(
    ("revision", "tokens"),
    [
        ("step0", 0),
        ("step-240000", 2400000),
        ("stage1-step-40000", 400000),
        ("step1000-tokens4B", 10000),
        ("stage1-step7000-tokens30B", 70000),
        ("global_step40-v2", 400),
        ("iter_0000500", 5000),
        ("checkpoint-12", 120),
        ("intermediate-step-1431k-3T", 14310000),
        ("1000", 10000),
        # what a name does not tell
        ("stage2-step1000", None),
        ("tokens84B", None),
        ("step10-step20", None),
        ("step1.5k", None),
        ("step1000tokens4B", None),
        ("v2", None),
        ("step1,000", None),
        ("step_143_000", None),
        # phases after the first, by words: their steps may begin anew
        ("lc-4k-to-32k-step-4000", None),
        ("sft-step100", None),
        ("decay/step1000", None),
        ("step1000-anneal", None),
        ("epoch2-step1000", None),
        ("seed3/step1000", 10000),
        ("refs/pr/1", None),
        ("main", None),
        (ONE, None),
    ],
)
def test_tokens_follow_the_step_in_the_name(revision, tokens):
    assert tokens_of(revision, 10) == tokens
    assert tokens_of(revision, None) is None


def test_stated_tokens_come_before_the_name():
    assert tokens_of("stage2-step5", 10, {"stage2-step5": 7}) == 7
    assert tokens_of("main", None, {"main": 0}) == 0
    assert tokens_of("step5", 10, {"main": 7}) == 50


def test_stages_are_in_their_order(tmp_path):
    names = (
        "stage2-step1000",
        "stage1-step9000",
        "stage10-step1",
        "stage1-step800",
        "stage2-step2",
    )
    found = sweep(tmp_path, revisions=names)
    assert list(found.names.values()) == [
        "stage1-step800",
        "stage1-step9000",
        "stage2-step2",
        "stage2-step1000",
        "stage10-step1",
    ]
    unordered = (
        ("step9", "step1"),
        ("stage2-step1", "main", "stage1-step1"),
        ("stage1-step900", "stage2-step500", "lc-step100"),
    )
    for names in unordered:
        assert tuple(sweep(tmp_path, revisions=names).names.values()) == names


def test_tokens_that_do_not_follow_are_unclear():
    names = ("main", ONE, "refs/pr/1", "step7", "stage2-step5", "tokens84B", "v2")
    source = HubSource(type="hub", repo="org/a", revisions=names, tokens_per_step=9)
    assert unclear(source) == ["stage2-step5", "tokens84B", "v2"]
    stated = source.model_copy(update={"tokens": {"stage2-step5": 1, "tokens84B": 2, "v2": 3}})
    assert unclear(stated) == []
    assert unclear(source.model_copy(update={"tokens_per_step": None})) == []
