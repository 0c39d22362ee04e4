"""A data set of the hub becomes a corpus: its formats, its limits, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest

from abspos import corpora, hub, lock
from abspos.inputs import InputError, read_corpus
from abspos.layout import Layout
from abspos.study import load_study

REPO = "org/texts"


def lines(*texts: str, key: str = "text") -> bytes:
    return "".join(json.dumps({key: text, "other": 1}) + "\n" for text in texts).encode()


@pytest.fixture
def fetched(loopback, tmp_path):
    """Fetch some files of a data set with these contents; the documents that are read then."""

    def fetch(contents: dict[str, bytes], text: str = "text", documents: int = 100) -> list:
        loopback.publish(REPO, "main", contents)
        found = hub.listing(REPO, "main", "dataset")
        corpora.fetch(
            tmp_path / "corpus", tmp_path / "corpus.manifest.json", repo=REPO,
            commit=found.commit, files=found.files, text=text, documents=documents,
        )  # fmt: skip
        return read_corpus(tmp_path / "corpus")

    return fetch


def test_lines_and_texts_plain_and_compressed(fetched):
    found = fetched(
        {"a.jsonl": lines("one", "tvö"), "b/c.json.gz": gzip.compress(lines("three")),
         "d.txt": b"four\nfive\n"}
    )  # fmt: skip
    assert {document.id: document.text for document in found} == {
        "a.jsonl:1": "one", "a.jsonl:2": "tvö", "b/c.json.gz:1": "three", "d.txt": "four\nfive\n",
    }  # fmt: skip
    assert {document.source for document in found} == {"org--texts"}


def test_another_key_and_the_first_documents_only(fetched):
    found = fetched({"a.jsonl": lines("one", "two", "three", key="content")}, "content", 2)
    assert [document.text for document in found] == ["one", "two"]


@pytest.mark.parametrize("content", [b"{}\n", b"[1]\n", b'{"text": 5}\n', b"no json\n", b"\xff\n"])
def test_what_is_no_document_is_told(fetched, content, tmp_path):
    with pytest.raises(InputError, match=r"org/texts: a.jsonl line 2: not a document"):
        fetched({"a.jsonl": lines("one") + content})
    assert not (tmp_path / "corpus").exists()


def test_a_study_pins_its_data_set(loopback, tmp_path):
    data = {"repo": REPO, "files": ["a.jsonl"]}
    config = {
        "models": [{"name": "toy", "source": {"type": "random"}}],
        "variants": [{"name": "standard"}], "inputs": {"dataset": data},
    }  # fmt: skip
    study = load_study(config)
    commit = loopback.publish(REPO, "main", {"a.jsonl": lines("one"), "b.txt": b"two"})
    with pytest.raises(lock.LockError, match=r"org/texts: main not pinned"):
        lock.require_pins(study, {})

    def ask(name):
        return hub.listing(name[1], name[2], name[0])

    done = lock.pin(study, {}, ask, lambda revision: False)
    lock.require_pins(study, done.lock)
    lock.write(done.lock, lock.path_of("default", tmp_path))
    layout = Layout(study, tmp_path)
    assert layout.dataset()["commit"] == commit
    assert set(layout.dataset()["files"]) == {"a.jsonl"}
    assert layout.corpus() == ["results/default/corpus.manifest.json"]

    data["files"] = ["a.jsonl", "b.txt"]
    more = load_study(config)
    assert lock.unpinned(more, done.lock) == [("dataset", REPO, "main")]
    assert not lock.unpinned(more, lock.pin(more, done.lock, ask, lambda revision: False).lock)
    data["files"] = ["c.jsonl"]
    failed = lock.pin(load_study(config), {}, ask, lambda revision: False)
    assert failed.failures == ["org/texts at main: no such file: c.jsonl; correct it"]
