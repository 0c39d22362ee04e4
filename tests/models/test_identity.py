"""A local model is known by the content of the files that are used, and by nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from abspos.models import local, sources
from abspos.models.families import ModelError
from abspos.models.sources import fetch
from abspos.stores import file_digest


@pytest.fixture
def given(checkpoint, tmp_path, monkeypatch):
    """A folder of a model that nothing else uses, old enough for its digests to be kept."""
    monkeypatch.setattr(local, "SETTLED", -1.0)
    return shutil.copytree(checkpoint, tmp_path / "given", copy_function=shutil.copy)


@pytest.fixture
def name(given, tmp_path):
    """The revision of the folder, or of another path, as a plan finds it."""
    return lambda path=given: local.revision(path, tmp_path / "results" / local.CACHE)


def retrain(path, restored=False):
    """Change weights in place: the same inode and size, and if so wished the same time."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x01\x02\x03\x04")
    if restored:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


@pytest.mark.parametrize("restored", [False, True], ids=["a new time", "its old time"])
def test_weights_that_are_trained_further_in_place_are_another_revision(given, name, restored):
    before = name()
    assert re.fullmatch(r"local-[0-9a-f]{12}", before)
    retrain(given / "model.safetensors", restored)
    assert name() != before


def test_a_gguf_file_is_known_by_its_content(tmp_path, name):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and weights")
    before = name(path)
    retrain(path, restored=True)
    after = name(path)
    assert after != before
    assert name(path.rename(tmp_path / "other.gguf")) == after, "wherever it lies"


@pytest.mark.parametrize(
    "other",
    [
        "README.md",
        "model.safetensors.lock",
        "pytorch_model.bin",
        "consolidated.safetensors",
        "optimizer.pt",
        "trainer_state.json",
        "notes.txt",
        "model.gguf",
        "run.py",
    ],
)
def test_an_unrelated_file_changes_nothing(given, name, other, tmp_path):
    before = name()
    (given / other).write_bytes(b"something else")
    (given / "onnx").mkdir()
    (given / "onnx" / "model.safetensors").write_bytes(b"")
    os.mkfifo(given / "pipe.txt")
    assert name() == before
    fetch({"type": "local", "path": str(given)}, before, tmp_path / "m/x", tmp_path / "m/x.json")
    assert not (tmp_path / "m" / "x" / other).exists()


@pytest.mark.parametrize("used", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_used_changes_the_name(given, name, used):
    before = name()
    (given / used).write_text((given / used).read_text() + "\n")
    assert name() != before


def test_a_checkpoint_shares_no_inode_with_what_it_was_fetched_from(given, name, tmp_path):
    folder = tmp_path / "m" / "x"
    fetch({"type": "local", "path": str(given)}, name(), folder, tmp_path / "m" / "x.json")
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert kept.keys() == {path.name for path in local.used(given)}
    assert all(not path.samefile(given / path.name) for path in folder.iterdir())
    retrain(given / "model.safetensors")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


def test_large_files_are_read_once(given, name, monkeypatch):
    read = []
    monkeypatch.setattr(local, "file_digest", lambda path: read.append(path) or file_digest(path))
    before = name()
    assert len(read) == len(local.used(given))
    assert name() == before
    assert len(read) == len(local.used(given)), "nothing is read again"
    (given / "config.json").touch()
    assert name() == before
    assert [path.name for path in read[-1:]] == ["config.json"]


def test_what_changed_a_moment_ago_is_not_kept(given, name, monkeypatch, tmp_path):
    """A second change within the clock's tick would leave the same times."""
    monkeypatch.setattr(local, "SETTLED", 3600.0)
    name()
    assert not (tmp_path / "results" / local.CACHE).exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "[" * 99999, '{"a": 1}', b"\xff\xfe", "entry", "digest"]
)
def test_kept_digests_that_are_broken_count_for_nothing(given, name, tmp_path, content):
    before, cache = name(), tmp_path / "results" / local.CACHE
    kept = json.loads(cache.read_text())
    if content == "entry":
        content = json.dumps(dict.fromkeys(kept, "x"))
    if content == "digest":
        content = json.dumps({path: [*entry[:-1], "x"] for path, entry in kept.items()})
    cache.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert name() == before
    assert json.loads(cache.read_text()).keys() >= kept.keys(), "and are made again"


def test_a_plan_needs_no_place_for_digests(given, name, tmp_path):
    (tmp_path / "results").write_text("a file, where a folder should be")
    assert name() == name()


def test_two_plans_keep_digests_at_once(given, tmp_path):
    cache = tmp_path / local.CACHE
    one, other = local.Digests(cache), local.Digests(cache)
    one.of(given / "config.json")
    other.of(given / "model.safetensors")
    one.keep()
    other.keep()
    assert len(json.loads(cache.read_text())) == 2


def test_a_checkpoint_that_changed_since_it_was_planned_is_refused(given, name, tmp_path):
    planned, cache = name(), tmp_path / local.CACHE
    cache.write_text("{}")
    retrain(given / "model.safetensors")
    source = {"type": "local", "path": str(given)}
    with pytest.raises(ModelError, match=rf"given: its content is local-.*{planned}.*run again"):
        fetch(source, planned, tmp_path / "m" / "x", tmp_path / "m" / "x.json")
    assert list((tmp_path / "m").iterdir()) == []
    assert not cache.exists(), "a digest that was kept may be at fault"
    fetch(source, name(), tmp_path / "m" / "x", tmp_path / "m" / "x.json")


# shards and their index


@pytest.fixture
def sharded(given):
    (given / "model.safetensors").rename(given / "model-00001-of-00001.safetensors")
    return lambda *names: (given / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}})
    )


def test_the_shards_of_an_index_are_used(given, sharded, name):
    sharded("model-00001-of-00001.safetensors")
    before = name()
    (given / "model-00002-of-00002.safetensors").write_bytes(b"of another save")
    assert name() == before
    retrain(given / "model-00001-of-00001.safetensors", restored=True)
    assert name() != before


@pytest.mark.parametrize("outside", ["../other.safetensors", "/other.safetensors", "a/b", "link"])
def test_an_index_names_only_files_of_its_folder(given, sharded, name, outside, tmp_path):
    shutil.copy(given / "model-00001-of-00001.safetensors", tmp_path / "other.safetensors")
    (given / "link").symlink_to(tmp_path / "other.safetensors")
    sharded("model-00001-of-00001.safetensors", outside)
    with pytest.raises(ModelError, match=rf"names '{outside}', which is outside") as error:
        name()
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="outside of its folder"):
        fetch({"type": "local", "path": str(given)}, "x", tmp_path / "x", tmp_path / "x.json")


def test_the_cache_of_a_hub_is_a_folder_of_links(given, sharded, name, tmp_path):
    sharded("model-00001-of-00001.safetensors")
    before = name()
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    shutil.copytree(given, tmp_path / "models--a--b" / "blobs")
    for path in given.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert name(snapshot) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "cannot be read"), ("[]", "no mapping"), ("{}", "no weight_map"), (None, "not there")],
)
def test_an_index_that_is_none(given, sharded, name, content, told):
    sharded("absent.safetensors")
    if content is not None:
        (given / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=told) as error:
        name()
    assert "\n" not in str(error.value)


# what is no model


def broken_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("used", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (broken_link, "a link to a file that does not exist"),
        (pipe, "a pipe, socket or device, not a file"),
        (folder, "a folder, not a file"),
    ],
)
def test_files_that_are_none(given, name, used, spoil, told, tmp_path):
    spoil(given / used)
    source = {"type": "local", "path": str(given)}
    for attempt in (name, lambda: fetch(source, "x", tmp_path / "x", tmp_path / "x.json")):
        with pytest.raises(ModelError, match=rf"{used}: {told}") as error:
            attempt()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("absent", "absent: no such folder"),
        ("absent.gguf", r"absent\.gguf: no such file"),
        ("link", "link: a link to a file that does not exist"),
        ("empty", r"empty: no config\.json there"),
        ("text", "text: no model; give a folder"),
        ("packed", r"packed: no config\.json there; .*packed/model\.gguf"),
    ],
)
def test_a_path_that_holds_no_model(tmp_path, name, path, told):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "model.gguf").touch()
    (tmp_path / "text").touch()
    with pytest.raises(ModelError, match=told) as error:
        name(tmp_path / path)
    assert "\n" not in str(error.value)
    source = {"type": "local", "path": str(tmp_path / path)}
    with pytest.raises(ModelError, match=told):
        fetch(source, "x", tmp_path / "m" / "x", tmp_path / "m" / "x.json")


def test_an_error_names_the_source_and_not_the_folder_that_is_gone(given, tmp_path):
    (given / "config.json").write_text('{"model_type": "llama", "hidden_size": "64"}')
    source = {"type": "local", "path": str(given)}
    with pytest.raises(ModelError, match=rf"^{given}/config\.json: hidden_size '64'") as error:
        fetch(source, "x", tmp_path / "m" / "x", tmp_path / "m" / "x.json")
    assert "partial" not in str(error.value)


def test_copies_share_no_inode_where_blocks_can_not_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FICLONE", 0)
    (tmp_path / "a").write_bytes(b"weights" * 1000)
    sources.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert not (tmp_path / "b").samefile(tmp_path / "a")
