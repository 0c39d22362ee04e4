"""Corpus to token ids: windows of natural text at random offsets inside documents.

The unit of every error bar is the document, so there is one window per document for as long as
the corpus lasts; where it does not, windows carry the document they came from. Sources take turns,
so that a corpus of several gives as many windows of each.
Source: docs/method.md, section 2.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from abspos.inputs.corpus import distinct, read_corpus
from abspos.inputs.records import Document, InputError, Keys
from abspos.models.tokenizer import (
    Tokenizer,
    control_ids,
    plain_ids,
    prepends_bos,
    require_fit,
    single_token,
    tokenizer_of,
    unknown_id,
)

log = logging.getLogger("abspos")

#: A window: the index of its document, the offset in it, and its token ids.
Window = tuple[int, int, np.ndarray]
#: Windows that one document can give.
MOST_WINDOWS = 64
#: Largest share of the windows' tokens that may be the tokenizer's token for what it does not know.
MOST_UNKNOWN = 0.1


def draw_windows(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    number: int,
    length: int,
    start: str,
    seed: int,
) -> xr.Dataset:
    """Draw windows of token ids, one per document while documents last, from all sources in turn.

    Each of S sources gives N / S windows, to within one, as far as it has documents; the first n
    windows are spread in the same way. The order of documents and the relative place of each window
    follow from the seed alone, so every model sees the same passages as far as its tokenizer
    allows. Copies of a text count as one document (abspos.inputs.corpus.distinct), also where they
    are copies for this tokenizer alone, and no two windows are the same. Marks of a special token
    inside a text are text.

    With each window come the T // 2 tokens before it, for the arm ``shift``. A document is read
    there as a circle: where fewer stand before a window, those before its first token are its last
    ones. A document has at least T tokens, so that none of them is in the window's early half.

    Args:
        documents: the corpus.
        tokenizer: of the model; it adds no special tokens and reads none in texts.
        number: N, windows to draw.
        length: T, tokens per window.
        start: ``random`` (a random offset inside the document) or ``document`` (its first token).
        seed: of order and offsets.

    Returns:
        ``tokens`` (input, position) int32; ``before`` (input, preceding) int32, the T // 2 tokens
        before each window, in the text's order; ``document`` and ``source`` (input) int32, which
        number documents and sources. Attributes hold ids, sources and token offsets as lists.

    Raises:
        InputError: the corpus has too few tokens.
    """
    every, documents = len(documents), distinct(documents)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(documents))
    places = rng.random((len(documents), MOST_WINDOWS))
    by_source: dict[str, list[int]] = {}
    for index in order:
        by_source.setdefault(documents[index].source, []).append(int(index))
    encoded: dict[int, np.ndarray] = {}
    digests: set[bytes] = set()

    def tokens(index: int) -> np.ndarray:
        if index not in encoded:
            ids = np.asarray(plain_ids(tokenizer, documents[index].text), dtype=np.int32)
            copy = is_known(ids, digests)
            encoded[index] = ids[:0] if copy else ids
        return encoded[index]

    def of_source(indices: Sequence[int], turn: int, turns: int) -> Iterator[Window]:
        for index in indices:
            ids = tokens(index)
            slots = min(len(ids) // length, turns)
            if turn < slots:
                # Windows of one document lie in separate slots of it, so that none overlap.
                low, high = turn * len(ids) // slots, (turn + 1) * len(ids) // slots - length
                place = int(places[index, turn] * (high - low + 1))
                offset = low + place if start == "random" else 0
                window = ids[offset : offset + length]
                if not is_known(window, drawn):
                    yield index, offset, window

    def windows_at_most(turns: int) -> Iterator[Window]:
        drawn.clear()
        for turn in range(turns):
            yield from in_turn([of_source(each, turn, turns) for each in by_source.values()])

    # No more windows of one document than are needed: alone, a window may lie anywhere in it.
    drawn: set[bytes] = set()
    windows: list[Window] = []
    for turns in range(1, MOST_WINDOWS + 1 if start == "random" else 2):
        windows = list(islice(windows_at_most(turns), number))
        if len(windows) == number:
            break
    if len(windows) < number:
        copies = every - sum(len(ids) > 0 for ids in encoded.values())
        less = f" ({copies} documents are empty or copies of others)" if copies else ""
        raise InputError(
            f"inputs.number: value {number} — texts too short: this corpus and tokenizer give "
            f"{len(windows)} windows of {length} tokens{less}; add texts, or lower number or length"
        )
    before = [tokens_before(encoded[index], offset, length // 2) for index, offset, _ in windows]
    return as_dataset(documents, windows, before)


def tokens_before(ids: np.ndarray, offset: int, number: int) -> np.ndarray:
    """The tokens before an offset of a document, which is read as a circle."""
    return ids[np.arange(offset - number, offset) % len(ids)]


def in_turn(sources: Sequence[Iterator[Window]]) -> Iterator[Window]:
    """One window of each source, then another of each, until none has any."""
    waiting = deque(sources)
    while waiting:
        source = waiting.popleft()
        for window in source:
            yield window
            waiting.append(source)
            break


def is_known(ids: np.ndarray, digests: set[bytes]) -> bool:
    """Whether token ids were seen before; their digest joins the others."""
    digest = hashlib.sha256(ids.tobytes()).digest()
    known = digest in digests
    digests.add(digest)
    return known


def as_dataset(
    documents: Sequence[Document],
    windows: Sequence[Window],
    before: Sequence[np.ndarray],
) -> xr.Dataset:
    """Windows (document index, token offset, token ids), and the token ids before each, as one
    labelled dataset."""
    chosen = [documents[index] for index, _, _ in windows]
    numbering = {document: i for i, document in enumerate(sorted({d.id for d in chosen}))}
    _, source = np.unique([d.source for d in chosen], return_inverse=True)
    return xr.Dataset(
        {
            "tokens": (("input", "position"), np.stack([ids for _, _, ids in windows])),
            "before": (("input", "preceding"), np.stack(before)),
            "document": ("input", np.array([numbering[d.id] for d in chosen], dtype=np.int32)),
            "source": ("input", source.astype(np.int32)),
        },
        attrs={
            "document_ids": [d.id for d in chosen],
            "sources": [d.source for d in chosen],
            "offsets": [offset for _, offset, _ in windows],
        },
    )


def prepare(
    corpus: str | Path,
    checkpoint: Path,
    store: Path,
    manifest: Path,
    *,
    number: int,
    length: int,
    start: str,
    seed: int,
    keys: Mapping[str, Any] | None = None,
    checkpoint_manifest: Path | None = None,
    swap_tokens: Sequence[str] = (),
) -> None:
    """Draw the windows of one model and write them as a store (see draw_windows).

    Its attributes ``bos`` (a token id, or None) and ``prepends_bos`` are of the tokenizer.

    Args:
        corpus: the texts, a file or a folder.
        checkpoint: folder with the tokenizer, compared with its manifest where that is given.
        store: where to write, and its manifest.
        keys: of its records (abspos.inputs.records.Keys).
        swap_tokens: replacements that later stages will want as single tokens; nothing that is
            written depends on them.

    Raises:
        InputError: the texts are too few, too short, or not text to this tokenizer.
        StoreError: the checkpoint is missing or altered.
        TokenizerError: its tokenizer cannot be read, does not fit its model, or a replacement is
            not one token of it.
    """
    from abspos.arrays import save_dataset
    from abspos.stores import check

    if checkpoint_manifest is not None:
        check(checkpoint, checkpoint_manifest)
    tokenizer = tokenizer_of(checkpoint)
    for text in swap_tokens:
        single_token(tokenizer, text)
    windows = draw_windows(
        read_corpus(corpus, Keys(**keys or {})), tokenizer, number, length, start, seed
    )
    bos = tokenizer.bos_token_id
    require_fit(checkpoint, int(max(windows["tokens"].max(), windows["before"].max(), bos or 0)))
    require_text(windows, tokenizer)
    # Arms read them here: a large vocabulary takes seconds to load, in each of their jobs.
    windows.attrs |= {"bos": bos, "prepends_bos": prepends_bos(tokenizer)}
    save_dataset(windows, store, manifest)


def require_text(windows: xr.Dataset, tokenizer: Any) -> None:
    """Refuse windows that hold special tokens, or too much that the tokenizer does not know.

    Some vocabularies have the marks of special tokens as pieces of text; a BOS in mid-window would
    be a second sink. A text of unknown tokens is one token repeated, which gives R = 0
    without BOS. Up to MOST_UNKNOWN of all tokens is logged, more is refused.

    Raises:
        InputError: with the count and the first document concerned.
    """
    tokens, names = windows["tokens"].values, windows.attrs["document_ids"]
    read = np.concatenate([windows["before"].values, tokens], axis=1)
    special = np.isin(read, sorted(control_ids(tokenizer)))
    held = special.any(1)
    if held.any():
        first = int(np.argmax(held))
        mark = tokenizer.convert_ids_to_tokens(int(read[first][special[first]][0]))
        raise InputError(
            f"inputs.corpus: {held.sum()} of {len(tokens)} windows hold special tokens, such as "
            f"{mark!r} in document {names[first]!r}, which this tokenizer does not read as plain "
            "text; remove them from the texts"
        )
    unknown = tokens == unknown_id(tokenizer)
    share = float(unknown.mean())
    if share:
        worst = int(np.argmax(unknown.mean(1)))
        line = (
            f"inputs.corpus: {share:.2g} of the windows' tokens are unknown to this tokenizer, "
            f"most in document {names[worst]!r} ({unknown[worst].mean():.2g})"
        )
        if share > MOST_UNKNOWN:
            raise InputError(
                f"{line}; allowed are {MOST_UNKNOWN}: use texts in the model's languages"
            )
        log.warning("%s", line)
