"""Texts to train on: windows of documents that the study does not measure, in a seeded order.

The documents of the first ``held_out`` inputs are left out. Those are a part of any larger draw,
so a study of at most so many inputs measures no document that was trained on. Of the others, one in
CHECKED is kept for the held-out loss.
Source: docs/models.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abspos.inputs.corpus import distinct, read_corpus
from abspos.inputs.records import Document, InputError, Keys
from abspos.inputs.windows import draw_windows
from abspos.models.tokenizer import Tokenizer, plain_ids

#: One document in so many is not trained on either: the held-out loss is that of its texts.
CHECKED = 8
#: Texts of the held-out loss, one per document.
CHECKS = 16


@dataclass(frozen=True)
class Texts:
    """Token ids of one tokenizer.

    Attributes:
        train: (text, position) int32, to train on.
        check: (text, position) int32, of the held-out loss.
        documents: ids of the documents of both.
    """

    train: np.ndarray
    check: np.ndarray
    documents: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of all token ids."""
        found = hashlib.sha256(repr((self.train.shape, self.check.shape)).encode())
        for ids in (self.train, self.check):
            found.update(np.ascontiguousarray(ids).tobytes())
        return found.hexdigest()

    def begun_with(self, token: int) -> Texts:
        """The same texts with a token, BOS say, at position 0."""
        train, check = self.train.copy(), self.check.copy()
        train[:, 0] = check[:, 0] = token
        return Texts(train, check, self.documents)

    def batch(self, step: int, size: int, seed: int) -> np.ndarray:
        """The texts (text, position) of one step.

        They follow from step and seed alone, so that training can stop and continue anywhere. Every
        text comes once before any comes again, each time in another order.
        """
        number = len(self.train)
        places = np.arange(step * size, (step + 1) * size)
        orders = {
            epoch: np.random.default_rng([seed, epoch]).permutation(number)
            for epoch in np.unique(places // number).tolist()
        }
        return self.train[[orders[place // number][place % number] for place in places.tolist()]]


def read_texts(
    corpus: str | Path, tokenizer: Tokenizer, inputs: Mapping[str, Any], held_out: int
) -> Texts:
    """The training texts of a study.

    Args:
        corpus: a file or a folder.
        tokenizer: of the model.
        inputs: ``length``, ``start``, ``seed`` and ``keys`` of the study's inputs.
        held_out: inputs whose documents are left out.

    Raises:
        InputError: the corpus cannot be read, or leaves nothing to train on.
    """
    documents = read_corpus(corpus, Keys(**inputs["keys"]))
    return draw_texts(
        documents, tokenizer, held_out, inputs["length"], inputs["start"], inputs["seed"]
    )


def draw_texts(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    held_out: int,
    length: int,
    start: str,
    seed: int,
) -> Texts:
    """Windows of the documents that no input is drawn from.

    Args:
        documents: the corpus.
        tokenizer: of the model.
        held_out: inputs whose documents are left out.
        length: T, tokens per text.
        start: where inputs begin (abspos.inputs.windows.draw_windows).
        seed: of the inputs.

    Raises:
        InputError: the corpus has too few documents.
    """
    documents = distinct(documents)
    try:
        inputs = draw_windows(documents, tokenizer, held_out, length, start, seed)
    except InputError as error:
        why = str(error).partition(" — ")[2]
        raise InputError(
            f"source.held_out: value {held_out} — {why.replace('lower number', 'lower held_out')}"
        ) from None
    measured = set(inputs.attrs["document_ids"])
    encoded = [np.asarray(plain_ids(tokenizer, d.text), dtype=np.int32) for d in documents]
    known = {ids.tobytes() for ids, d in zip(encoded, documents, strict=True) if d.id in measured}
    free = [
        index
        for index, ids in enumerate(encoded)
        if len(ids) >= length and ids.tobytes() not in known
    ]
    free = [free[place] for place in np.random.default_rng(seed).permutation(len(free))]
    checked, trained = free[::CHECKED], [i for n, i in enumerate(free) if n % CHECKED]
    if not trained:
        raise InputError(
            f"source.held_out: value {held_out} — documents of so many inputs leave {len(free)} of "
            f"{len(documents)} with at least {length} tokens, and training needs 2; add texts, or "
            "lower held_out"
        )
    every = [windows(encoded[index], length) for index in trained]
    return Texts(
        train=np.concatenate(every),
        check=np.stack([encoded[index][:length] for index in checked[:CHECKS]]),
        documents=tuple(documents[index].id for index in free),
    )


def windows(ids: np.ndarray, length: int) -> np.ndarray:
    """Consecutive windows (text, position) of a document, without the rest at its end."""
    number = len(ids) // length
    return ids[: number * length].reshape(number, length)
