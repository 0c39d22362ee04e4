"""A data set of the hub becomes a corpus: its formats, its limits, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from abspos.inputs import datasets as corpora
from abspos.inputs.corpus import read_corpus
from abspos.inputs.records import InputError, Keys
from abspos.models import hub, lock
from abspos.models.gaps import Gap
from abspos.planning.layout import Layout
from abspos.study.config import load_study

REPO = "org/texts"


def lines(*texts: str, key: str = "text") -> bytes:
    return "".join(json.dumps({key: text, "other": 1}) + "\n" for text in texts).encode()


@pytest.fixture
def fetched(loopback, tmp_path):
    """Fetch some files of a data set with these contents; the documents that are read then."""

    def fetch(contents: dict[str, bytes], text: str = "text", documents: int = 100, **more) -> list:
        loopback.publish(REPO, "main", contents)
        found = hub.listing(REPO, "main", "dataset")
        corpora.fetch(
            tmp_path / "corpus",
            tmp_path / "corpus.manifest.json",
            repo=REPO,
            commit=found.commit,
            files=found.files,
            keys={"text": text, "id": None, "source": None, **more},
            documents=documents,
        )
        return read_corpus(tmp_path / "corpus", Keys(source="source"))

    return fetch


def test_lines_and_texts_plain_and_compressed(fetched):
    found = fetched(
        {
            "a.jsonl": lines("one", "tvö"),
            "b/c.json.gz": gzip.compress(lines("three")),
            "d.txt": b"four\nfive\n",
        }
    )
    assert {document.id: document.text for document in found} == {
        "a.jsonl:1": "one",
        "a.jsonl:2": "tvö",
        "b/c.json.gz:1": "three",
        "d.txt": "four\nfive\n",
    }
    assert {document.source for document in found} == {"org--texts"}


def test_another_key_and_the_first_documents_only(fetched):
    found = fetched({"a.jsonl": lines("one", "two", "three", key="content")}, "content", 2)
    assert [document.text for document in found] == ["one", "two"]


def test_ids_and_sources_of_ones_choice(fetched):
    one, two = ({"text": name, "id": n, "from": f"s{n}"} for n, name in enumerate(("one", "two")))
    content = "".join(json.dumps(record) + "\n" for record in (one, two)).encode()
    found = fetched({"a.jsonl": content}, id="id", source="from")
    assert [(d.id, d.source, d.text) for d in found] == [("0", "s0", "one"), ("1", "s1", "two")]
    with pytest.raises(InputError, match=r"no 'name', which inputs\.dataset\.id names"):
        fetched({"a.jsonl": content}, id="name")


@pytest.mark.parametrize(
    "content",
    [
        b"{}\n",
        b"[1]\n",
        b'{"text": 5}\n',
        b"no json\n",
        b"\xff\n",
        rb'{"text": "\ud800"}',
        rb'{"text": "\u0000"}',
        b'{"text": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_document_is_told(fetched, content, tmp_path):
    with pytest.raises(InputError, match=r"org/texts: a.jsonl line 2: not a document"):
        fetched({"a.jsonl": lines("one") + content})
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"\xff", r"not UTF-8 text \(byte 0"),
        ("a.txt", b"a\0b", r"not a text \(character 1 is NUL\)"),
        ("a.txt.gz", gzip.compress(b"text" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(lines("one"), mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_a_file_that_is_no_text_is_told_in_a_line(fetched, name, content, told, tmp_path):
    with pytest.raises(InputError, match=f"org/texts: {re.escape(name)}: {told}") as error:
        fetched({name: content})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "corpus").exists()


# Parquet


def table(**columns) -> bytes:
    """A Parquet file in row groups of four, uncompressed so that a test can find a text in it."""
    found = io.BytesIO()
    parquet.write_table(
        pa.table(columns), found, row_group_size=4, compression="none", use_dictionary=False
    )
    return found.getvalue()


TEXTS = [f"document {number}" for number in range(10)]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_rows_of_parquet_are_documents(fetched, kind):
    files = {
        "a.parquet": table(other=list(range(10)), text=pa.array(TEXTS).cast(kind)),
        "b.jsonl": lines("last"),
    }
    found = {document.id: document.text for document in fetched(files)}
    rows = {f"a.parquet:{number}": text for number, text in enumerate(TEXTS, 1)}
    assert found == {**rows, "b.jsonl:1": "last"}


def test_of_parquet_no_other_column_and_no_later_row_group_is_read(fetched):
    """Both are destroyed, their texts' lengths that is, and nobody notices until they are read."""
    names = [f"other {number}" for number in range(10)]
    content = table(other=names, content=TEXTS)
    for destroyed in (b"other 0", b"document 8"):
        place = content.index(destroyed)
        content = content[: place - 4] + b"\xff" * 4 + content[place:]
    found = fetched({"a.parquet": content}, "content", 8)
    assert [document.text for document in found] == TEXTS[:8]
    for column, documents in (("content", 9), ("other", 1)):
        with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet"):
            fetched({"a.parquet": content}, column, documents)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            table(body=TEXTS, n=[1] * 10),
            "no column 'text'; inputs.dataset.text names one of body, n",
        ),
        (table(text=[1, 2], body=["a", "b"]), "'text' holds int64, not text; .*of text: body"),
        (table(text=[[1], [2]]), "not text; .*there is none"),
        (table(text=["a", None]), r" row 2: not a document \(its text is null\)"),
        (table(text=["a", "\0"]), r" row 2: not a document \(its text: character 0 is NUL\)"),
        (table(text=TEXTS)[:-9], "cannot be read as Parquet"),
        (b"no parquet", "cannot be read as Parquet"),
        (b"", "cannot be read as Parquet"),
    ],
)
def test_parquet_without_text_is_told_in_a_line(fetched, content, told, tmp_path):
    with pytest.raises(InputError, match=f"org/texts: a.parquet.*{told}") as error:
        fetched({"a.parquet": content})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "corpus").exists()


def test_parquet_that_comes_altered_is_no_corpus(fetched, loopback):
    loopback.faults["a.parquet"] = ["altered"] * 2
    with pytest.raises(Gap, match=r"a\.parquet: its sha256 is .* the lock states"):
        fetched({"a.parquet": table(text=TEXTS)})


def test_a_study_pins_its_data_set(loopback, tmp_path):
    data = {"repo": REPO, "files": ["a.jsonl"]}
    config = {
        "models": [{"name": "toy", "source": {"type": "random"}}],
        "variants": [{"name": "standard"}],
        "inputs": {"dataset": data},
    }
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
