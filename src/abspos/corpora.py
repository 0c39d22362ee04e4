"""A data set of the hub as a corpus: files of text at a pinned commit, one document a line.

JSON lines (``.jsonl``, ``.json``, plain or with ``.gz``) and plain text (``.txt``) are read; other
formats are refused by name. Source of what documents are: docs/method.md, section 2.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from abspos import hub
from abspos.inputs import InputError
from abspos.stores import whole_folder


def fetch(
    folder: Path, manifest: Path, *, repo: str, commit: str,
    files: Mapping[str, Mapping[str, Any]], text: str, documents: int,
) -> None:  # fmt: skip
    """Bring a data set into a folder that abspos.inputs.read_corpus reads, with a manifest.

    Args:
        folder: the folder to make, and its manifest.
        repo: the repository, and the commit that its revision is pinned to.
        files: of the lock.
        text: the key of a record that holds its text.
        documents: at most so many are taken, the first of the files in their order.

    Raises:
        InputError: a file is not of a format that is read, or a line is no document.
        HubError: the hub refuses or fails.
        Gap: a file is not the one that is pinned.
    """
    found = hub.download(repo, commit, files, kind="dataset")
    with whole_folder(folder, manifest) as partial:
        taken = islice(records(found, repo, text), documents)
        with open(partial / f"{repo.replace('/', '--')}.jsonl", "w", encoding="utf-8") as out:
            for record in taken:
                out.write(json.dumps(record, ensure_ascii=False) + "\n")


def records(found: Mapping[str, Path], repo: str, text: str) -> Iterator[dict[str, str]]:
    """The documents of files, each with an id that names its file and line."""
    for name, path in found.items():
        with opened(path, name) as handle:
            if stem(name).endswith(".txt"):
                yield {"id": name, "text": handle.read().decode("utf-8")}
                continue
            for number, line in enumerate(handle, 1):
                try:
                    record = json.loads(line)[text]
                    if not isinstance(record, str):
                        raise TypeError(f"its {text} is not a string")
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{repo}: {name} line {number}: not a document ({error!r}); each line is a "
                        f"JSON object with {text!r}, the key that inputs.dataset.text names"
                    ) from None
                yield {"id": f"{name}:{number}", "text": record}


def stem(name: str) -> str:
    """The name of a file without the ending of compression."""
    return name.removesuffix(".gz")


def opened(path: Path, name: str) -> IO[bytes]:
    """A file open for reading, decompressed."""
    return gzip.open(path, "rb") if name.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]
