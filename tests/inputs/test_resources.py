"""The embedded corpus is what its registry and its README say."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from abspos.documents import MIN_INPUTS

CORPUS = Path(__file__).resolve().parents[2] / "resources" / "corpus"
SOURCES: dict[str, dict[str, Any]] = yaml.safe_load(
    (CORPUS / "sources.yaml").read_text(encoding="utf-8")
)["sources"]
FREE = {"public domain", "CC0-1.0"}


def documents(source: str) -> list[dict[str, str]]:
    lines = (CORPUS / f"{source}.jsonl").read_text(encoding="utf-8").split("\n")
    assert not lines.pop(), "the last line is closed too"
    return [json.loads(line) for line in lines]


DOCUMENTS = {source: documents(source) for source in SOURCES}
TEXTS = [(d["id"], d["text"]) for rows in DOCUMENTS.values() for d in rows]


def test_registry_names_every_file() -> None:
    assert {path.stem for path in CORPUS.glob("*.jsonl")} == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_registry_entry_is_complete(source: str) -> None:
    entry = SOURCES[source]
    words = ("title", "kind", "author", "licence", "reason", "changes")
    assert all(isinstance(entry[key], str) and entry[key] for key in words)
    assert entry["licence"] in FREE
    assert set(entry["package"]) == {"registry", "name", "version", "file", "sha256"}
    assert re.fullmatch(r"[0-9a-f]{64}", entry["package"]["sha256"])


@pytest.mark.parametrize("source", SOURCES)
def test_bytes_and_counts_are_as_registered(source: str) -> None:
    data = (CORPUS / f"{source}.jsonl").read_bytes()
    assert hashlib.sha256(data).hexdigest() == SOURCES[source]["sha256"]
    assert len(DOCUMENTS[source]) == SOURCES[source]["documents"]
    assert len(data) < 1_800_000


@pytest.mark.parametrize("source", SOURCES)
def test_rows_are_sorted_and_named_by_source(source: str) -> None:
    rows = DOCUMENTS[source]
    assert all(list(row) == ["id", "title", "text"] for row in rows)
    assert all(re.fullmatch(rf"{source}/[a-z0-9-]+", row["id"]) for row in rows)
    assert all(row["title"] == " ".join(row["title"].split()) != "" for row in rows)
    assert [row["id"] for row in rows] == sorted({row["id"] for row in rows})


def test_documents_are_many_long_and_of_several_kinds() -> None:
    lengths = [len(text) for _, text in TEXTS]
    assert len(lengths) >= 600
    assert all(2500 <= length <= 8000 for length in lengths)
    kinds = Counter(entry["kind"] for entry in SOURCES.values())
    assert len(kinds) >= 8
    assert max(kinds.values()) <= 2
    assert {"dialogue", "code", "encyclopaedic"} <= kinds.keys()


def test_each_source_gives_its_part_of_the_default_studys_inputs() -> None:
    assert len(SOURCES) >= 8
    assert min(map(len, DOCUMENTS.values())) >= 1.5 * MIN_INPUTS / len(SOURCES)


def test_texts_are_plain_prose() -> None:
    marks = r"[<>{}|\\\t\r\ufffd]|&(?:amp|lt|gt|nbsp|quot);|__|@@"
    notes = r"\[(?:applause|laughter|missing text)\]"
    space = r"  |\n\n\n|[^\n]\n[^\n]"
    residue = re.compile(f"{marks}|{notes}|{space}", re.IGNORECASE)
    for name, text in TEXTS:
        if SOURCES[name.split("/")[0]]["kind"] == "code":
            assert not re.search(r"[\t\r\ufffd]| $", text, re.MULTILINE), name
            continue
        found = residue.search(text)
        assert found is None, f"{name}: {found}"
        assert text == text.strip() == unicodedata.normalize("NFC", text), name
        assert sum(c.isalpha() or c.isspace() for c in text) >= 0.93 * len(text), name


def test_no_two_documents_are_copies() -> None:
    """At most five of a document's long sentences, or a tenth, stand in another one too."""
    sentences = {name: set(re.findall(r"[^.!?\n]{80,}[.!?]", text)) for name, text in TEXTS}
    seen = Counter(sentence for own in sentences.values() for sentence in own)
    for name, own in sentences.items():
        assert sum(seen[sentence] > 1 for sentence in own) <= max(5, 0.1 * len(own)), name


def test_readme_states_the_counts() -> None:
    readme = (CORPUS / "README.md").read_text(encoding="utf-8")
    assert f"{len(TEXTS)} documents" in readme
    for source, rows in DOCUMENTS.items():
        lengths = sorted(len(row["text"]) for row in rows)
        span = f"{lengths[0]}, {lengths[len(lengths) // 2]}, {lengths[-1]}"
        assert re.search(rf"`{source}\.jsonl` .*\| {len(rows)} \| {span} \|", readme), source
