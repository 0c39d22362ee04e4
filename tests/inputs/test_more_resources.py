"""The further sources are what their registry and their README say, and none repeats the corpus."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from abspos.inputs.corpus import distinct, read_corpus

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
MORE = RESOURCES / "more-corpus"
SOURCES: dict[str, dict[str, Any]] = yaml.safe_load(
    (MORE / "sources.yaml").read_text(encoding="utf-8")
)["sources"]


def rows(source: str) -> list[dict[str, str]]:
    lines = (MORE / f"{source}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def test_registry_names_every_file() -> None:
    assert {path.stem for path in MORE.glob("*.jsonl")} == set(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_registry_entry_is_complete(source: str) -> None:
    entry = SOURCES[source]
    words = ("title", "kind", "author", "licence", "reason", "changes")
    assert all(isinstance(entry[key], str) and entry[key] for key in words)
    assert entry["licence"] in {"public domain", "CC0-1.0"}
    assert set(entry["package"]) == {"registry", "name", "version", "file", "sha256"}
    assert re.fullmatch(r"[0-9a-f]{64}", entry["package"]["sha256"])


@pytest.mark.parametrize("source", SOURCES)
def test_bytes_rows_and_counts_are_as_registered(source: str) -> None:
    data = (MORE / f"{source}.jsonl").read_bytes()
    assert hashlib.sha256(data).hexdigest() == SOURCES[source]["sha256"]
    found = rows(source)
    assert len(found) == SOURCES[source]["documents"]
    assert all(list(row) == ["id", "title", "text"] for row in found)
    assert all(re.fullmatch(rf"{source}/[a-z0-9-]+", row["id"]) for row in found)
    assert [row["id"] for row in found] == sorted({row["id"] for row in found})
    assert all(2500 <= len(row["text"]) <= 8000 for row in found)
    assert not any(re.search(r"[\t\r\ufffd]|&amp;|\[(?:laughter)", row["text"]) for row in found)


def test_with_the_corpus_there_are_eight_sources_of_as_many_kinds_and_no_copies() -> None:
    documents = [*read_corpus(RESOURCES / "corpus"), *read_corpus(MORE)]
    assert len({document.source for document in documents}) >= 8
    assert len({entry["kind"] for entry in SOURCES.values()}) == len(SOURCES)
    assert distinct(documents) == documents
    assert sum(path.stat().st_size for path in MORE.glob("*.jsonl")) < 1_600_000


def test_readme_states_the_counts() -> None:
    readme = (MORE / "README.md").read_text(encoding="utf-8")
    assert f"{sum(entry['documents'] for entry in SOURCES.values())} documents" in readme
    for source in SOURCES:
        lengths = sorted(len(row["text"]) for row in rows(source))
        span = f"{lengths[0]}, {lengths[len(lengths) // 2]}, {lengths[-1]}"
        assert re.search(rf"`{source}\.jsonl` .*\| {len(lengths)} \| {span} \|", readme), source
