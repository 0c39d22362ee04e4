"""The lock: what is pinned, what is a gap, what has moved, and which files a checkpoint needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abspos.models import lock
from abspos.models.gaps import Gap
from abspos.models.hub import HubError, Listing
from abspos.study.config import load_study

ONE, TWO = "1" * 40, "2" * 40
FILES = {
    "config.json": {"bytes": 2, "sha1": "a" * 40},
    "model.safetensors": {"bytes": 9, "sha256": "b" * 64},
}


def study(*revisions: str, **others):
    """A study of one repository."""
    source = {"type": "hub", "repo": "org/a", "revisions": list(revisions), **others}
    return load_study(
        {"models": [{"name": "m", "source": source}], "variants": [{"name": "standard"}]}
    )


class FakeHub(dict):
    """Answers by revision; counts what it is asked."""

    def __call__(self, name):
        self.asked = [*getattr(self, "asked", []), name[2]]
        answer = self.get(name[2], Gap(f"org/a at {name[2]}: no such revision"))
        if isinstance(answer, Exception):
            raise answer
        return answer


def pin(of, old, hub, anew=()):
    return lock.pin(of, old, hub, lambda revision: revision in anew)


def names_of(found: lock.Lock) -> list[str]:
    return list(found.get("model", {}).get("org/a", {}))


def test_each_name_is_pinned_once(tmp_path):
    hub = FakeHub(main=Listing(ONE, FILES))
    done = pin(study("main"), {}, hub)
    assert done.lines == [f"pinned: org/a at main: {ONE[:12]}"]
    assert done.lock == {"model": {"org/a": {"main": {"commit": ONE, "files": FILES}}}}
    hub["main"] = Listing(TWO, FILES)
    again = pin(study("main"), done.lock, hub)
    assert again.lock == done.lock
    assert not again.lines
    assert hub.asked == ["main"]


def test_a_moved_branch_is_told_and_pinned_anew_only_on_request():
    hub = FakeHub(main=Listing(ONE, FILES), other=Listing(ONE, FILES))
    of = study("main", "other")
    old = pin(of, {}, hub).lock
    hub["main"] = Listing(TWO, FILES)
    told = lock.moved(of, old, hub)
    assert told.lines == [f"moved: org/a at main: {ONE[:12]} -> {TWO[:12]}"]
    assert told.lock == old
    done = pin(of, old, hub, ["main"])
    assert done.lines == told.lines
    assert done.lock["model"]["org/a"]["main"]["commit"] == TWO
    assert done.lock["model"]["org/a"]["other"] == old["model"]["org/a"]["other"]
    del hub["main"]
    assert lock.moved(of, old, hub).lines == [
        f"gone: org/a at main: no such revision; its commit was {ONE[:12]}"
    ]


def test_a_missing_revision_is_a_gap_that_is_asked_for_each_time():
    hub = FakeHub(a=Listing(ONE, FILES))
    of = study("a", "b", on_missing="gap")
    done = pin(of, {}, hub)
    assert lock.gaps(done.lock) == ["gap: org/a at b: no such revision"]
    assert not done.failures
    assert not lock.unpinned(of, done.lock)
    hub["b"] = Listing(TWO, FILES)
    healed = pin(of, done.lock, hub)
    assert not lock.gaps(healed.lock)
    assert healed.lines == [f"pinned: org/a at b: {TWO[:12]}"]
    assert hub.asked.count("a") == 1


def test_without_gaps_a_missing_revision_is_a_failure():
    done = pin(study("a", "b"), {}, FakeHub(a=Listing(ONE, FILES)))
    assert names_of(done.lock) == ["a"]
    assert done.failures == [
        "org/a at b: no such revision; correct it, or set on_missing: gap to continue without it"
    ]


def test_a_gap_of_a_study_that_allows_none_any_more_is_not_pinned():
    gap = {"model": {"org/a": {"b": {"gap": "no such revision"}}}}
    assert not lock.unpinned(study("b", on_missing="gap"), gap)
    assert lock.unpinned(study("b"), gap) == [("model", "org/a", "b")]


def test_a_hub_out_of_reach_makes_no_gap_and_unpins_nothing():
    of = study("a", "b", on_missing="gap")
    hub = FakeHub(a=HubError("org/a at a: the network is down"), b=Listing(ONE, FILES))
    old = {"model": {"org/a": {"a": {"commit": TWO, "files": FILES}}}}
    done = pin(of, old, hub, ["a"])
    assert done.failures == ["org/a at a: the network is down"]
    assert done.lock["model"]["org/a"]["a"] == old["model"]["org/a"]["a"]
    assert names_of(done.lock) == ["a", "b"]
    assert lock.moved(of, old, hub).failures == done.failures


def test_what_the_study_does_not_name_is_dropped():
    old = pin(study("a", "b"), {}, FakeHub(a=Listing(ONE, FILES), b=Listing(TWO, FILES))).lock
    done = pin(study("b"), old, FakeHub())
    assert names_of(done.lock) == ["b"]
    assert done.lines == ["dropped: org/a at a, which the study does not name"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["model.safetensors"], "no config.json"),
        (["config.json", "tokenizer.json"], "no safetensors"),
        (["config.json", "pytorch_model.bin"], "pickled weights only"),
    ],
)
def test_a_revision_that_is_no_checkpoint_is_a_gap(files, reason):
    hub = FakeHub(a=Listing(ONE, {name: {"bytes": 1} for name in files}))
    (line,) = lock.gaps(pin(study("a", on_missing="gap"), {}, hub).lock)
    assert reason in line
    (line,) = pin(study("a"), {}, hub).failures
    assert reason in line


def test_only_the_files_needed():
    there = [
        ".gitattributes",
        "README.md",
        "config.json",
        "consolidated.safetensors",
        "flax_model.bin",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_x.py",
        "onnx/config.json",
        "optimizer.pt",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "tokenizer.json",
        "tokenizer.model",
    ]
    files = {name: {} for name in there}
    plain = [
        "config.json",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model",
    ]
    assert lock.chosen(files, pickles=True, code=False) == plain, "safetensors before pickles"
    assert set(lock.chosen(files, False, True)) - set(plain) == {"modeling_x.py"}
    pickled = {n: {} for n in there if not n.endswith(".safetensors")}
    assert not lock.weights(pickled, pickles=False)
    assert lock.weights(pickled, pickles=True) == ["pytorch_model.bin"]
    assert "pytorch_model.bin.index.json" in lock.chosen(pickled, True, False)


def test_a_lock_reads_as_it_was_written(tmp_path):
    path = lock.path_of("s", tmp_path)
    assert lock.read(path) == {}
    hub = FakeHub(a=Listing(ONE, FILES))
    made = pin(study("a", "step-7", on_missing="gap"), {}, FakeHub(a=hub["a"])).lock
    lock.write(made, path)
    assert lock.read(path) == made
    text = path.read_text()
    lock.write(lock.read(path), path)
    assert path.read_text() == text
    assert text.startswith("# Which commit")
    assert "config.json: {bytes: 2, sha1: " in text


def locked(name: str, **facts: Any) -> str:
    """A lock with one file."""
    one = {"commit": "a" * 40, "files": {name: {"bytes": 2, "sha1": "b" * 40, **facts}}}
    return json.dumps({"model": {"org/a": {"main": one}}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "model: {a: {b: c}}",
        "model: {a: {b: {commit: xyz, files: {}}}}",
        "a: {",
        b"model: caf\xe9",
        "[" * 20000,
        locked("../config.json"),
        locked("/etc/config.json"),
        locked("a/../../b.json"),
        locked("a\nb"),
        locked("a", bytes=-1),
        locked("a", bytes="2"),
        locked("a", sha1="b"),
        locked("a", sha256="b" * 64),
    ],
    ids=range(15),
)
def test_what_is_no_lock_is_told(tmp_path, text):
    path = tmp_path / "x.lock.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(lock.LockError, match=r"x.lock.yaml: cannot be read as a lock.*abspos pin"):
        lock.read(path)


def test_a_study_that_is_not_pinned_names_the_command():
    of = study(*(f"step{n}" for n in range(5)))
    with pytest.raises(lock.LockError) as caught:
        lock.require_pins(of, {}, ["studies/x.yaml"])
    assert str(caught.value) == (
        "org/a: step0, step1, step2 and 2 more not pinned to a commit yet; "
        "run `abspos pin --configfile studies/x.yaml`"
    )
    full = {"model": {"org/a": {f"step{n}": {"commit": ONE, "files": FILES} for n in range(5)}}}
    lock.require_pins(of, full)
