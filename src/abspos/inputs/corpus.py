"""Documents of a corpus folder: read and checked before any job, each text once.

Whatever is wrong with a file is one line that names it, the line in it, and the cure. Pipes, links
to nothing and folders that are called like texts are named too, never opened.
Source of what documents are: docs/method.md, section 2.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

log = logging.getLogger("abspos")

#: White space, control characters, and what Unicode says is not drawn (its property
#: Default_Ignorable_Code_Point): two texts that differ in these alone are one.
INVISIBLE = re.compile(
    "[\\s\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
INVISIBLE_ASCII = bytes(code for code in range(128) if INVISIBLE.match(chr(code)))
#: Characters that no name of a document can have: they end a line, or cannot be written.
UNNAMABLE = re.compile("[\0-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
#: Snakemake takes them for wildcards, in a rule and in what a function returns.
BRACES, NO_BRACES = re.compile("[{}]"), "braces are wildcards to Snakemake; rename it"


class InputError(ValueError):
    """A corpus that is not there, not readable, or too small for what the config asks."""


@dataclass(frozen=True)
class Document:
    """One separate text of the corpus."""

    id: str
    source: str
    text: str


def folder_of(corpus: str | Path) -> Path:
    """The folder that ``inputs.corpus`` names; ``~`` is the home folder.

    Raises:
        InputError: there is no such home folder, or the path holds braces.
    """
    try:
        folder = Path(corpus).expanduser()
    except RuntimeError:
        raise InputError(
            f"inputs.corpus: value {str(corpus)!r}: no such home folder; give the whole path"
        ) from None
    if BRACES.search(str(folder)):
        raise InputError(f"inputs.corpus: value {str(folder)!r}: {NO_BRACES}")
    return folder


def text_files(folder: Path) -> list[Path]:
    """The ``*.jsonl`` and ``*.txt`` files of a folder, sorted, each kind by itself.

    Hidden files, whose names begin with a dot, are what editors and systems leave there.

    Raises:
        InputError: the folder cannot be read, or something of these names is no file to read.
    """
    try:
        names = sorted(path.name for path in Path(folder).iterdir())
    except OSError as error:
        raise InputError(
            f"inputs.corpus: {str(folder)!r} cannot be read as a folder ({error.strerror}); "
            "give a folder of *.jsonl or *.txt files"
        ) from None
    shown = [name for name in names if not name.startswith(".")]
    found = [Path(folder, n) for end in (".jsonl", ".txt") for n in shown if n.endswith(end)]
    for path in found:
        require_file(path)
    return found


def require_file(path: Path) -> None:
    """Refuse what cannot be read like a file, without opening it: a pipe would never end.

    Raises:
        InputError: it is a folder, a pipe, a device or a link to nothing, or its name is no text.
    """
    if UNNAMABLE.search(path.name):
        raise InputError(f"{str(path)!r}: its name is not one line of UTF-8 text; rename it")
    if BRACES.search(path.name):
        raise InputError(f"{path}: {NO_BRACES}")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        why = "a link to nothing" if path.is_symlink() else error.strerror
        raise InputError(f"{path}: cannot be read ({why}); repair or remove it") from None
    if not S_ISREG(mode):
        what = "a folder" if S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path}: not a file but {what}; remove or rename it")


def read_corpus(folder: Path) -> list[Document]:
    """All documents of a folder of ``*.jsonl`` (keys ``id`` and ``text``) or ``*.txt``, by id.

    Raises:
        InputError: the folder holds none, or cannot be read, or a line is not a document, or an id
            comes twice.
    """
    paths = text_files(folder)
    if not paths:
        raise InputError(f"inputs.corpus: {str(folder)!r} holds no *.jsonl and no *.txt")
    documents = [document for path in paths for document in read_file(path)]
    if not documents:
        raise InputError(f"inputs.corpus: the files of {str(folder)!r} hold no document; add texts")
    documents.sort(key=lambda document: document.id)
    for first, second in pairwise(documents):
        if first.id == second.id:
            raise InputError(f"inputs.corpus: document id {first.id!r} comes twice in {folder}")
    return documents


def read_file(path: Path) -> Iterator[Document]:
    """The documents of one file: a JSON line each, or a ``*.txt`` as a whole."""
    try:
        if path.name.endswith(".txt"):
            yield Document(path.name, "txt", whole_text(path.read_bytes(), str(path)))
            return
        with open(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                name, text = record(line, f"{path} line {number}")
                yield Document(name, path.stem, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); repair or remove it"
        ) from None


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


def record(line: bytes, where: str, key: str = "text", numbered: bool = True) -> tuple[str, str]:
    """The id and the text of a line of JSON; the id is empty where lines are not numbered.

    Args:
        line: as it stands in the file.
        where: file and line, for the error.
        key: of the text.
        numbered: whether the record has an id of its own, under ``id``.

    Raises:
        InputError: it is no such record, or its text cannot be one.
    """
    wanted = f"`id` and `{key}`" if numbered else f"{key!r}, which inputs.dataset.text names"
    try:
        found = json.loads(line.decode("utf-8-sig"), object_pairs_hook=with_keys_once)
        name = identity(found) if numbered else ""
        text = found[key]
        if not isinstance(text, str):
            raise TypeError(f"its {key} is not a string")
        if why := broken(text):
            raise TypeError(f"its {key}: {why}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: not a document ({reason(error)}); each line is a JSON object with {wanted}"
        ) from None
    return name, text


def with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; TypeError where a key stands twice, of which JSON as such takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise TypeError(f"its key {twice!r} stands twice")
    return found


def identity(found: Any) -> str:
    """The id of a record as text; TypeError where it is no string and no whole number."""
    name = found["id"]
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise TypeError("its id is neither a string nor a whole number")
    if name == "":
        raise TypeError("its id is empty")
    if UNNAMABLE.search(text := str(name)):
        raise TypeError("its id is not one line of text")
    return text


def broken(text: str) -> str:
    """Why a string can be no text: a lone surrogate, or NUL; empty where it can."""
    bad = re.search("[\0\ud800-\udfff]", text)
    if bad is None:
        return ""
    what = "NUL" if bad[0] == "\0" else f"the lone surrogate \\u{ord(bad[0]):04x}"
    return f"character {bad.start()} is {what}"


def reason(error: Exception) -> str:
    """Short description of the fault in a line, without the line itself."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8, byte {error.start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, TypeError) and not str(error).startswith("its "):
        return "not a JSON object"
    return next(iter(str(error).split(";")))


def distinct(documents: Sequence[Document]) -> list[Document]:
    """The documents without copies of others, in their order; the first of equal texts stays.

    Two windows of one text would count as independent inputs if it stood under two ids. Texts are
    equal where they differ in white space, invisible marks, case or Unicode form alone.
    """
    first: dict[bytes, str] = {}
    kept, copies = [], []
    for document in documents:
        digest = hashlib.sha256(visible(document.text)).digest()
        if digest in first:
            copies.append(f"{document.id!r} of {first[digest]!r}")
        else:
            first[digest] = document.id
            kept.append(document)
    if copies:
        log.warning(
            "inputs.corpus: %d of %d documents are copies of others and count once, such as %s",
            len(copies),
            len(documents),
            copies[0],
        )
    return kept


def visible(text: str) -> bytes:
    """The drawn characters of a text, in one case and form: the same for texts that are equal."""
    if text.isascii():  # thirty times as fast
        return text.casefold().encode().translate(None, INVISIBLE_ASCII)
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold()).encode()


def check_corpus(folder: Path, number: int, length: int) -> None:
    """Refuse, before any job, a corpus that certainly cannot hold the requested windows.

    A token stands for at least one byte, so a text of fewer bytes than ``length`` is too short
    under any tokenizer. The exact check needs the tokenizer and is made by draw_windows.

    Raises:
        InputError: so, or the corpus cannot be read.
    """
    every = read_corpus(folder)
    documents = distinct(every)
    room = sum(len(d.text.encode()) // length for d in documents)
    if room < number:
        copies = len(every) - len(documents)
        less = f" ({copies} of its documents are copies of others)" if copies else ""
        raise InputError(
            f"inputs.number: value {number} — texts too short: the corpus {str(folder)!r}{less} "
            f"has room for at most {room} windows of inputs.length {length}; add texts, or lower "
            "either"
        )
