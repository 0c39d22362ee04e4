"""Corpus to token ids: windows of natural text at random offsets inside documents.

The unit of every error bar is the document, so there is one window per document for as long as
the corpus lasts; where it does not, windows carry the document they came from.
Source: docs/method.md, section 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

#: Windows that one document can give.
MOST_WINDOWS = 64


class InputError(ValueError):
    """A corpus that is not there, not readable, or too small for what the config asks."""


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def __call__(self, text: str, add_special_tokens: bool) -> Any:
        """A mapping with the token ids of a text under ``input_ids``."""


@dataclass(frozen=True)
class Document:
    """One separate text of the corpus."""

    id: str
    source: str
    text: str


def read_corpus(folder: Path) -> list[Document]:
    """All documents of a folder of ``*.jsonl`` (keys ``id`` and ``text``) or ``*.txt``, by id.

    Raises:
        InputError: the folder holds none, or a line is not a document, or an id comes twice.
    """
    documents = [*read_jsonl(Path(folder)), *read_texts(Path(folder))]
    if not documents:
        raise InputError(f"inputs.corpus: {str(folder)!r} holds no *.jsonl and no *.txt")
    documents.sort(key=lambda document: document.id)
    for first, second in pairwise(documents):
        if first.id == second.id:
            raise InputError(f"inputs.corpus: document id {first.id!r} comes twice in {folder}")
    return documents


def read_jsonl(folder: Path) -> Iterator[Document]:
    """The documents of the ``*.jsonl`` files of a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        with open(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                try:
                    record = json.loads(line.decode("utf-8"))
                    if not isinstance(record["text"], str):
                        raise TypeError("its text is not a string")
                    yield Document(str(record["id"]), path.stem, record["text"])
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{path} line {number}: not a document ({error!r}); "
                        "each line is a JSON object with `id` and `text`"
                    ) from None


def read_texts(folder: Path) -> Iterator[Document]:
    """The ``*.txt`` files of a folder, each one document."""
    for path in sorted(folder.glob("*.txt")):
        try:
            yield Document(path.name, "txt", path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not UTF-8 text ({error})") from None


def check_corpus(folder: Path, number: int, length: int) -> None:
    """Refuse, before any job, a corpus that certainly cannot hold the windows asked for.

    A token stands for at least one byte, so a text of fewer bytes than ``length`` is too short
    under any tokenizer. The exact check needs the tokenizer and is made by draw_windows.
    """
    room = sum(len(d.text.encode()) // length for d in read_corpus(folder))
    if room < number:
        raise InputError(
            f"inputs.number: value {number} — texts too short: the corpus {str(folder)!r} has "
            f"room for at most {room} windows of inputs.length {length}; add texts, or lower either"
        )


def draw_windows(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    number: int,
    length: int,
    start: str,
    seed: int,
) -> xr.Dataset:
    """Draw windows of token ids, one per document while documents last.

    The order of documents and the relative place of each window follow from the seed alone, so
    every model sees the same passages as far as its tokenizer allows.

    Args:
        documents: the corpus.
        tokenizer: of the model; called without special tokens.
        number: N, windows to draw.
        length: T, tokens per window.
        start: ``random`` (a random offset inside the document) or ``document`` (its first token).
        seed: of order and offsets.

    Returns:
        ``tokens`` (input, position) int32 and ``document`` (input) int32, which numbers the
        documents; attributes hold ids, sources and token offsets as lists.

    Raises:
        InputError: the corpus has too few tokens.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(documents))
    places = rng.random((len(documents), MOST_WINDOWS))
    encoded: dict[int, np.ndarray] = {}

    def tokens(index: int) -> np.ndarray:
        if index not in encoded:
            ids = tokenizer(documents[index].text, add_special_tokens=False)["input_ids"]
            encoded[index] = np.asarray(ids, dtype=np.int32)
        return encoded[index]

    def windows_at_most(turns: int) -> Iterator[tuple[int, int, np.ndarray]]:
        for turn, index in product(range(turns), order):
            ids = tokens(index)
            slots = min(len(ids) // length, turns)
            if turn < slots:
                # Windows of one document lie in separate slots of it, so that none overlap.
                low, high = turn * len(ids) // slots, (turn + 1) * len(ids) // slots - length
                place = int(places[index, turn] * (high - low + 1))
                offset = low + place if start == "random" else 0
                yield int(index), offset, ids[offset : offset + length]

    # No more windows of one document than are needed: alone, a window may lie anywhere in it.
    windows: list[tuple[int, int, np.ndarray]] = []
    for turns in range(1, MOST_WINDOWS + 1 if start == "random" else 2):
        windows = list(islice(windows_at_most(turns), number))
        if len(windows) == number:
            break
    if len(windows) < number:
        raise InputError(
            f"inputs.number: value {number} — texts too short: this corpus and tokenizer give "
            f"{len(windows)} windows of {length} tokens; add texts, or lower number or length"
        )
    return as_dataset(documents, windows)


def as_dataset(
    documents: Sequence[Document], windows: Sequence[tuple[int, int, np.ndarray]]
) -> xr.Dataset:
    """Windows (document index, token offset, token ids) as one labelled dataset."""
    chosen = [documents[index] for index, _, _ in windows]
    numbering = {document: i for i, document in enumerate(sorted({d.id for d in chosen}))}
    return xr.Dataset(
        {
            "tokens": (("input", "position"), np.stack([ids for _, _, ids in windows])),
            "document": ("input", np.array([numbering[d.id] for d in chosen], dtype=np.int32)),
        },
        attrs={
            "document_ids": [d.id for d in chosen],
            "sources": [d.source for d in chosen],
            "offsets": [offset for _, offset, _ in windows],
        },
    )


def prepare(
    corpus: Path,
    checkpoint: Path,
    store: Path,
    manifest: Path,
    *,
    number: int,
    length: int,
    start: str,
    seed: int,
    checkpoint_manifest: Path | None = None,
) -> None:
    """Draw the windows of one model and write them as a store (see draw_windows).

    Args:
        corpus: folder of the texts.
        checkpoint: folder with the tokenizer, compared with its manifest where that is given.
        store: where to write, and its manifest.

    Raises:
        InputError: the texts are too few or too short.
        StoreError: the checkpoint is missing or altered.
        TokenizerError: its tokenizer cannot be read, or does not fit its model.
    """
    from abspos.arrays import save_dataset
    from abspos.models.tokenizer import require_fit, tokenizer_of
    from abspos.stores import check

    if checkpoint_manifest is not None:
        check(checkpoint, checkpoint_manifest)
    tokenizer = tokenizer_of(checkpoint)
    windows = draw_windows(read_corpus(corpus), tokenizer, number, length, start, seed)
    require_fit(checkpoint, int(windows["tokens"].max()))
    save_dataset(windows, store, manifest)
