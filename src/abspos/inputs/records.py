"""The documents of one file: text or JSON lines, both plain or with ``.gz``, or Parquet.

Whatever is wrong with a file is one line that names it, the line or row in it, and the cure.
Source of what documents are: docs/method.md, section 2.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

#: Characters that no name of a document can have: they end a line, or cannot be written.
UNNAMABLE = re.compile("[\0-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
#: Rows of a Parquet file that are held at a time.
ROWS = 1000


class InputError(ValueError):
    """A corpus that is not there, not readable, or too small for what the config asks."""


@dataclass(frozen=True)
class Document:
    """One separate text of the corpus, and the source that it is from."""

    id: str
    source: str
    text: str


@dataclass(frozen=True)
class Keys:
    """Keys of a record of JSON, or columns of Parquet.

    Attributes:
        text: its text.
        id: its id; None, or ``id`` where a file's records have none: the file's name and the row.
        source: the name of its source; None: the file's name.
        section: part of the config that names them, for errors.
    """

    text: str = "text"
    id: str | None = "id"
    source: str | None = None
    section: str = "inputs"

    def among(self, names: Mapping[str, Any]) -> Keys:
        """The keys for a file whose first record has these names: ``id`` may be missing."""
        optional = self.id == "id" and "id" not in names
        return Keys(self.text, None if optional else self.id, self.source, self.section)

    def wanted(self) -> str:
        """The keys as an error lists them."""
        return " and ".join(f"`{key}`" for key in (self.id, self.source, self.text) if key)

    def cure(self) -> str:
        """What to do about a file that cannot be read."""
        return (
            "repair or remove it"
            if self.section == "inputs"
            else f"drop it from {self.section}.files"
        )

    def setting(self, key: str) -> str:
        """The config's key that names a key of records."""
        role = next(role for role in ("text", "id", "source") if getattr(self, role) == key)
        return f"{self.section}.{role}"


#: Of records that are written as the embedded corpus is.
PLAIN = Keys()


def read_documents(path: Path, name: str, where: str, keys: Keys) -> Iterator[Document]:
    """The documents of one file, in its order: a line of JSON each, a row, or a text as a whole.

    Args:
        path: the file.
        name: of the file, for ids and sources: its path in the corpus, with ``/``.
        where: the file as errors name it.
        keys: of its records.

    Raises:
        InputError: it cannot be read, or a line or a row of it is no document.
    """
    inner = name.removesuffix(".gz")
    try:
        if inner.endswith(".parquet"):
            yield from rows(path, name, where, keys)
            return
        with opened(path, name) as handle:
            if inner.endswith(".txt"):
                # Texts of one folder are one source: each would be a source of one document.
                folder = str(PurePosixPath(name).parent)
                source = "txt" if folder == "." else folder
                yield Document(name, source, whole_text(handle.read(), where))
            else:
                yield from lines(handle, name, where, keys)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{where}: cannot be read ({why}); {keys.cure()}") from None


def opened(path: Path, name: str) -> IO[bytes]:
    """A file open for reading, decompressed."""
    return gzip.open(path, "rb") if name.endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def source_of(name: str) -> str:
    """A file's name without its endings: the source of its records."""
    return re.sub(r"\.(jsonl|json|parquet)(\.gz)?$", "", name)


# Text


def whole_text(data: bytes, where: str) -> str:
    """The text of a plain file, its line ends ``\\n``, without a byte order mark.

    Raises:
        InputError: it is not UTF-8, or holds NUL.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8"
        ) from None
    if why := broken(text):
        raise InputError(f"{where}: not a text ({why}); clean or remove it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def broken(text: str) -> str:
    """Why a string can be no text: a lone surrogate, or NUL; empty where it can."""
    bad = re.search("[\0\ud800-\udfff]", text)
    if bad is None:
        return ""
    what = "NUL" if bad[0] == "\0" else f"the lone surrogate \\u{ord(bad[0]):04x}"
    return f"character {bad.start()} is {what}"


# Records


def document_of(record: Any, name: str, number: int, keys: Keys) -> Document:
    """The document of one record.

    Raises:
        KeyError: it has no such key.
        TypeError: it is no record, or its text, id or source cannot be one.
    """
    text = record[keys.text]
    if not isinstance(text, str):
        raise TypeError("its text is null" if text is None else "its text is not a string")
    if why := broken(text):
        raise TypeError(f"its text: {why}")
    own = f"{name}:{number}" if keys.id is None else label_of(record[keys.id], "id")
    source = source_of(name) if keys.source is None else label_of(record[keys.source], "source")
    return Document(own, source, text)


def label_of(value: Any, what: str) -> str:
    """An id or the name of a source; TypeError where it is no string and no whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"its {what} is neither a string nor a whole number")
    if value == "":
        raise TypeError(f"its {what} is empty")
    if UNNAMABLE.search(text := str(value)):
        raise TypeError(f"its {what} is not one line of text")
    return text


def lines(handle: IO[bytes], name: str, where: str, keys: Keys) -> Iterator[Document]:
    """The documents of a file of JSON lines.

    Raises:
        InputError: a line is no such record, or its text cannot be one.
    """
    own = keys
    for number, line in enumerate(handle, 1):
        try:
            record = json.loads(line.decode("utf-8-sig"), object_pairs_hook=with_keys_once)
            if number == 1:
                own = keys.among(record)
            elif keys.id and not own.id and keys.id in record:
                raise TypeError(f"its {keys.id!r}: line 1 has none")
            yield document_of(record, name, number, own)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{where} line {number}: not a document ({reason(error, own)}); each line is a "
                f"JSON object with {own.wanted()}"
            ) from None


def with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; TypeError where a key stands twice, of which JSON as such takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TypeError(f"its key {twice!r} stands twice")
    return found


def reason(error: Exception, keys: Keys) -> str:
    """Short description of the fault in a record, without the record itself."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8, byte {error.start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError):
        return f"it has no {error}, which {keys.setting(error.args[0])} names"
    if isinstance(error, TypeError) and not str(error).startswith("its "):
        return "not a JSON object"
    return next(iter(str(error).split(";")))


# Parquet


def rows(path: Path, name: str, where: str, keys: Keys) -> Iterator[Document]:
    """The documents of a Parquet file; columns that are no keys, and rows that nobody takes, are
    not read.

    Raises:
        InputError: it is no Parquet, lacks a column, or a row is no document.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            own = keys.among(dict.fromkeys(file.schema_arrow.names))
            require_columns(file.schema_arrow, where, own)
            for number, record in enumerate(records(file, own), 1):
                try:
                    yield document_of(record, name, number, own)
                except TypeError as error:
                    raise InputError(
                        f"{where} row {number}: not a document ({error}); clean or remove it"
                    ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{where}: cannot be read as Parquet ({why}); {keys.cure()}") from None


def records(file: Any, keys: Keys) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, of some columns, row group by row group, on demand."""
    columns = [key for key in (keys.text, keys.id, keys.source) if key]
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(ROWS, [group], columns=columns, use_threads=False):
            yield from batch.to_pylist()


def require_columns(schema: Any, where: str, keys: Keys) -> None:
    """Refuse a Parquet file without one column of each of ``keys``, or without text in its."""
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        return any(fits(plain) for fits in kinds)

    for key in filter(None, (keys.text, keys.id, keys.source)):
        if key not in schema.names:
            raise InputError(
                f"{where}: no column {key!r}; {keys.setting(key)} names one of "
                f"{', '.join(schema.names)}"
            )
        if schema.names.count(key) > 1:
            raise InputError(f"{where}: several columns {key!r}; rename all but one")
    kind = schema.field(keys.text).type
    if not is_text(kind):
        wanted = [field.name for field in schema if is_text(field.type)]
        raise InputError(
            f"{where}: its column {keys.text!r} holds {kind}, not text; {keys.section}.text names "
            f"a column of text: {', '.join(wanted) or 'there is none'}"
        )
