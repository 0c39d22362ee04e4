"""A data set of the hub as a corpus: files of text at a pinned commit, one document a record.

JSON lines (``.jsonl``, ``.json``) and plain text (``.txt``), plain or with ``.gz``, and Parquet
(``.parquet``) are read; other formats are refused by name. Source of what documents are:
docs/method.md, section 2.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

from abspos.inputs.corpus import InputError, broken, record, whole_text
from abspos.models import hub
from abspos.stores import whole_folder

#: Rows of a Parquet file that are held at a time.
ROWS = 1000


def fetch(
    folder: Path,
    manifest: Path,
    *,
    repo: str,
    commit: str,
    files: Mapping[str, Mapping[str, Any]],
    text: str,
    documents: int,
) -> None:
    """Bring a data set into a folder that abspos.inputs.corpus.read_corpus reads, with a manifest.

    Args:
        folder: the folder to make, and its manifest.
        repo: the repository, and the commit that its revision is pinned to.
        files: of the lock.
        text: the key, or the column, of a record that holds its text.
        documents: at most so many are taken, the first of the files in their order.

    Raises:
        InputError: a file cannot be read, or a line of it is no document.
        HubError: the hub refuses or fails.
        Gap: a file is not the one that is pinned.
    """
    found = hub.download(repo, commit, files, kind="dataset")
    with whole_folder(folder, manifest) as partial:
        taken = islice(records(found, repo, text), documents)
        with open(partial / f"{repo.replace('/', '--')}.jsonl", "w", encoding="utf-8") as out:
            for document in taken:
                out.write(json.dumps(document, ensure_ascii=False) + "\n")


def records(found: Mapping[str, Path], repo: str, text: str) -> Iterator[dict[str, str]]:
    """The documents of files, each with an id that names its file and line."""
    for name, path in found.items():
        where = f"{repo}: {name}"
        if name.endswith(".parquet"):
            yield from rows(path, where, name, text)
            continue
        try:
            with opened(path, name) as handle:
                if stem(name).endswith(".txt"):
                    yield {"id": name, "text": whole_text(handle.read(), where)}
                else:
                    yield from lines(handle, where, name, text)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{where}: cannot be read ({error}); leave it out of inputs.dataset.files, or "
                "ask the data set's owner to repair it"
            ) from None


def lines(handle: IO[bytes], what: str, name: str, text: str) -> Iterator[dict[str, str]]:
    """The documents of a file of JSON lines."""
    for number, line in enumerate(handle, 1):
        _, content = record(line, f"{what} line {number}", text, numbered=False)
        yield {"id": f"{name}:{number}", "text": content}


def rows(path: Path, what: str, name: str, text: str) -> Iterator[dict[str, str]]:
    """The documents of a Parquet file: of one column alone."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            require_text_column(file.schema_arrow, what, text)
            for number, value in enumerate(column(file, text), 1):
                if value is None:
                    raise InputError(f"{what} row {number}: its {text!r} is null, not a text")
                if why := broken(value):
                    raise InputError(f"{what} row {number}: its {text!r} is not a text ({why})")
                yield {"id": f"{name}:{number}", "text": value}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"{what}: cannot be read as Parquet ({reason}); leave it out of "
            "inputs.dataset.files, or ask the data set's owner to repair it"
        ) from None


def column(file: Any, name: str) -> Iterator[str | None]:
    """The values of one column of a Parquet file, row group by row group, on demand."""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(ROWS, [group], columns=[name], use_threads=False):
            yield from batch.column(name).to_pylist()


def require_text_column(schema: Any, what: str, text: str) -> None:
    """Refuse a Parquet file that has no such column, or something else than text in it."""
    import pyarrow as pa

    if text not in schema.names:
        raise InputError(
            f"{what}: no column {text!r}; inputs.dataset.text names one of "
            f"{', '.join(schema.names)}"
        )
    kind = schema.field(text).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(is_text(plain) for is_text in texts):
        wanted = [f.name for f in schema if any(is_text(f.type) for is_text in texts)]
        raise InputError(
            f"{what}: its column {text!r} holds {kind}, not text; inputs.dataset.text names a "
            f"column of text: {', '.join(wanted) or 'there is none'}"
        )


def stem(name: str) -> str:
    """The name of a file without the ending of compression."""
    return name.removesuffix(".gz")


def opened(path: Path, name: str) -> IO[bytes]:
    """A file open for reading, decompressed."""
    return gzip.open(path, "rb") if name.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]
