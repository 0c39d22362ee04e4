"""A data set of the hub as a corpus: files of text at a pinned commit, one document a record.

JSON lines (``.jsonl``, ``.json``) and plain text (``.txt``), plain or with ``.gz``, and Parquet
(``.parquet``) are read; other formats are refused by name. Source of what documents are:
docs/method.md, section 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from abspos.inputs.records import Document, Keys, read_documents
from abspos.models import hub
from abspos.stores import whole_folder


def fetch(
    folder: Path,
    manifest: Path,
    *,
    repo: str,
    commit: str,
    files: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, Any],
    documents: int,
) -> None:
    """Bring a data set into a folder that abspos.inputs.corpus.read_corpus reads, with a manifest.

    Args:
        folder: the folder to make, and its manifest.
        repo: the repository, and the commit that its revision is pinned to.
        files: of the lock.
        keys: those of a record that hold its text, id and source (abspos.inputs.records.Keys).
        documents: at most so many are taken, the first of the files in their order.

    Raises:
        InputError: a file cannot be read, or a line of it is no document.
        HubError: the hub refuses or fails.
        Gap: a file is not the one that is pinned.
    """
    found = hub.download(repo, commit, files, kind="dataset")
    with whole_folder(folder, manifest) as partial:
        taken = islice(every(found, repo, Keys(**keys, section="inputs.dataset")), documents)
        with open(partial / f"{as_name(repo)}.jsonl", "w", encoding="utf-8") as out:
            for document in taken:
                out.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")


def every(found: Mapping[str, Path], repo: str, keys: Keys) -> Iterator[Document]:
    """The documents of files. They are one source, whose files are parts, unless records say so."""
    for name, path in found.items():
        for document in read_documents(path, name, f"{repo}: {name}", keys):
            yield document if keys.source else replace(document, source=as_name(repo))


def as_name(repo: str) -> str:
    """A repository as the name of a file and of a source."""
    return repo.replace("/", "--")
