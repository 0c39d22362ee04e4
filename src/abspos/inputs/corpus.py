"""Documents of a corpus, a file or a folder: read and checked before any job, each text once.

Whatever is wrong with a file is one line that names it, the line in it, and the cure
(abspos.inputs.records). Pipes, links to nothing and folders that are called like texts are named
too, never opened.
Source of what documents are: docs/method.md, section 2.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from abspos.inputs.records import PLAIN, UNNAMABLE, Document, InputError, Keys, read_documents

log = logging.getLogger("abspos")

#: White space, control characters, and what Unicode says is not drawn (its property
#: Default_Ignorable_Code_Point): two texts that differ in these alone are one.
INVISIBLE = re.compile(
    "[\\s\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
INVISIBLE_ASCII = bytes(code for code in range(128) if INVISIBLE.match(chr(code)))
#: Files of a folder that are read, and those that are where the corpus is one file.
TEXTS = re.compile(r"\.((txt|jsonl)(\.gz)?|parquet)$")
ALONE = re.compile(r"\.((txt|jsonl?)(\.gz)?|parquet)$")
FORMATS = "*.txt, *.jsonl or *.parquet, the first two plain or with .gz"
#: Snakemake takes them for wildcards, in a rule and in what a function returns.
BRACES, NO_BRACES = re.compile("[{}]"), "braces are wildcards to Snakemake; rename it"


def folder_of(corpus: str | Path) -> Path:
    """The file or folder that ``inputs.corpus`` names; ``~`` is the home folder.

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


def text_files(corpus: str | Path) -> dict[str, Path]:
    """The files of a corpus by name: of a folder and its subfolders, or the one file that it is.

    Names are paths in the folder, with ``/``, sorted. Hidden files and folders, whose names begin
    with a dot, are what editors and systems leave there.

    Raises:
        InputError: the folder cannot be read, or something of these names is no file to read.
    """
    corpus = Path(corpus)
    if corpus.is_file():
        if not ALONE.search(corpus.name):
            raise InputError(f"inputs.corpus: {str(corpus)!r} is none of {FORMATS}; convert it")
        require_file(corpus, corpus.name)
        return {corpus.name: corpus}
    found = dict(files_below(corpus, ""))
    for name, path in found.items():
        require_file(path, name)
    return {name: found[name] for name in sorted(found)}


def files_below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Names and paths of what is called like a text in a folder and its subfolders.

    A link to a folder is refused: it might lead in a circle, and leaving it out would be silent.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(
            f"inputs.corpus: {str(folder)!r} cannot be read as a folder ({error.strerror}); "
            f"give a file, or a folder of {FORMATS}"
        ) from None
    for entry in entries:
        path, name = Path(folder, entry.name), prefix + entry.name
        if entry.name.startswith("."):
            continue
        if TEXTS.search(entry.name):
            yield name, path
        elif TEXTS.search(entry.name.lower()):
            raise InputError(f"{path}: write its ending in small letters, as in {FORMATS}")
        elif entry.is_dir(follow_symlinks=False):
            yield from files_below(path, f"{name}/")
        elif entry.is_dir():
            raise InputError(f"{path}: a link to a folder; remove it, or put the folder there")


def require_file(path: Path, name: str) -> None:
    """Refuse what cannot be read like a file, without opening it: a pipe would never end.

    Args:
        path: of what is called like a text.
        name: its path in the corpus.

    Raises:
        InputError: it is a folder, a pipe, a device or a link to nothing, or its name is no text.
    """
    if UNNAMABLE.search(name):
        raise InputError(f"{str(path)!r}: its name is not one line of UTF-8 text; rename it")
    if BRACES.search(name):
        raise InputError(f"{path}: {NO_BRACES}")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        why = "a link to nothing" if path.is_symlink() else error.strerror
        raise InputError(f"{path}: cannot be read ({why}); repair or remove it") from None
    if not S_ISREG(mode):
        what = "a folder" if S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path}: not a file but {what}; remove or rename it")


def read_corpus(corpus: str | Path, keys: Keys = PLAIN) -> list[Document]:
    """All documents of a file, or of a folder and its subfolders, by id.

    Args:
        corpus: a file, or a folder.
        keys: of the records in it.

    Raises:
        InputError: it holds none, or cannot be read, or a line or row is not a document, or an id
            comes twice.
    """
    files = text_files(corpus)
    if not files:
        raise InputError(f"inputs.corpus: {str(corpus)!r} holds no {FORMATS}; add texts")
    documents = [
        document
        for name, path in files.items()
        for document in read_documents(path, name, str(path), keys)
    ]
    if not documents:
        raise InputError(f"inputs.corpus: the files of {str(corpus)!r} hold no document; add texts")
    documents.sort(key=lambda document: document.id)
    for first, second in pairwise(documents):
        if first.id == second.id:
            raise InputError(
                f"inputs.corpus: document id {first.id!r} comes twice in {corpus}; correct it, or "
                "set inputs.id to null, so that file and row are the ids"
            )
    return documents


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


def check_corpus(corpus: str | Path, number: int, length: int, keys: Keys = PLAIN) -> None:
    """Refuse, before any job, a corpus that certainly cannot hold the requested windows.

    A token stands for at least one byte, so a text of fewer bytes than ``length`` is too short
    under any tokenizer. The exact check needs the tokenizer and is made by draw_windows.

    Raises:
        InputError: so, or the corpus cannot be read.
    """
    every = read_corpus(corpus, keys)
    documents = distinct(every)
    room = sum(len(d.text.encode()) // length for d in documents)
    if room < number:
        copies = len(every) - len(documents)
        less = f" ({copies} of its documents are copies of others)" if copies else ""
        raise InputError(
            f"inputs.number: value {number} — texts too short: the corpus {str(corpus)!r}{less} "
            f"has room for at most {room} windows of inputs.length {length}; add texts, or lower "
            "either"
        )
