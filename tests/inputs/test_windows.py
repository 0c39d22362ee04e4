"""Windows: drawn by the seed alone, inside documents, one per document while they last."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoTokenizer

from abspos.arrays import open_dataset
from abspos.inputs.windows import (
    Document,
    InputError,
    check_corpus,
    draw_windows,
    prepare,
    read_corpus,
)


class Words:
    """A tokenizer of words, each of which is its number."""

    def __call__(self, text, add_special_tokens):
        assert add_special_tokens is False
        return {"input_ids": [int(word) for word in text.split()]}


def documents_of(sizes):
    """Documents whose tokens tell where they come from: 1000 x document + position."""
    return [
        Document(f"d{n}", "s", " ".join(str(1000 * n + i) for i in range(size)))
        for n, size in enumerate(sizes)
    ]


def draw(sizes, number, length, start="random", seed=0):
    return draw_windows(documents_of(sizes), Words(), number, length, start, seed)


def room(sizes, length):
    return sum(size // length for size in sizes)


sizes_ = st.lists(st.integers(0, 60), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


# windows


@given(sizes_, st.integers(1, 12), st.integers(2, 16), seeds)
def test_windows_lie_inside_documents_and_never_overlap(sizes, number, length, seed):
    if room(sizes, length) < number:
        with pytest.raises(InputError, match="texts too short"):
            draw(sizes, number, length, seed=seed)
        return
    found = draw(sizes, number, length, seed=seed)
    tokens = found["tokens"].values
    assert tokens.shape == (number, length)
    assert tokens.dtype == found["document"].dtype == np.int32
    assert (np.diff(tokens, axis=1) == 1).all(), "a window is a run of one document's tokens"
    assert len(np.unique(tokens)) == tokens.size, "no token is in two windows"
    np.testing.assert_array_equal(tokens[:, 0] % 1000, found.attrs["offsets"])
    ids = [f"d{first // 1000}" for first in tokens[:, 0]]
    assert found.attrs["document_ids"] == ids
    assert found.attrs["sources"] == ["s"] * number
    # Equal numbers are equal documents.
    assert len(set(zip(ids, found["document"].values.tolist(), strict=True))) == len(set(ids))
    assert len(set(found["document"].values.tolist())) == len(set(ids))


@given(sizes_, st.integers(1, 12), st.integers(2, 16), seeds)
def test_one_window_per_document_while_documents_last(sizes, number, length, seed):
    able = sum(size >= length for size in sizes)
    if room(sizes, length) < number:
        return
    found = draw(sizes, number, length, seed=seed)
    counts = Counter(found.attrs["document_ids"])
    assert len(counts) == min(number, able)
    if number > able:
        # A second round begins when every document has given one, and so on.
        most = max(counts.values())
        for n, size in enumerate(sizes):
            assert counts[f"d{n}"] >= min(most - 1, size // length)


def test_the_seed_alone_decides():
    sizes = [50, 60, 70, 80, 90]
    xr.testing.assert_identical(draw(sizes, 4, 8, seed=3), draw(sizes, 4, 8, seed=3))
    assert draw(sizes, 4, 8, seed=3).attrs != draw(sizes, 4, 8, seed=4).attrs


def test_a_lone_window_lies_anywhere_in_its_document():
    """Not near its start, where a text has content of its own."""
    offsets = np.array([draw([400], 1, 20, seed=s).attrs["offsets"][0] for s in range(300)])
    eighths = np.histogram(offsets, bins=8, range=(0, 381))[0]
    assert stats.chisquare(eighths).pvalue > 0.001


def test_more_windows_do_not_move_the_first_ones_to_the_start():
    offsets = [draw([400] * 3, 6, 20, seed=s).attrs["offsets"] for s in range(100)]
    first, second = np.array(offsets).reshape(100, 2, 3).transpose(1, 0, 2)
    assert first.max() > 150
    assert second.min() >= 200


def test_documents_are_drawn_not_taken_in_order():
    drawn = {tuple(draw([30] * 20, 3, 10, seed=s).attrs["document_ids"]) for s in range(20)}
    assert len(drawn) == 20
    assert len({name for ids in drawn for name in ids}) > 15


def test_windows_at_the_start_of_documents():
    found = draw([30, 40, 50], 3, 10, start="document")
    assert found.attrs["offsets"] == [0, 0, 0]
    assert sorted(found.attrs["document_ids"]) == ["d0", "d1", "d2"]
    with pytest.raises(InputError, match="give 3 windows of 10 tokens"):
        draw([30, 40, 50], 4, 10, start="document")


def test_too_short_texts_are_refused_by_one_line():
    with pytest.raises(InputError) as error:
        draw([30, 9, 25], 6, 10)
    assert str(error.value) == (
        "inputs.number: value 6 — texts too short: this corpus and tokenizer give 5 windows of "
        "10 tokens; add texts, or lower number or length"
    )


def test_other_lengths_of_tokens_show_the_same_passages():
    """Tokens twice as fine: the same documents, and about the same places in them."""
    coarse, fine = draw([200] * 9, 5, 8, seed=1), draw([400] * 9, 5, 16, seed=1)
    assert coarse.attrs["document_ids"] == fine.attrs["document_ids"]
    places = [np.array(d.attrs["offsets"]) for d in (coarse, fine)]
    assert np.abs(2 * places[0] - places[1]).max() <= 2


# corpus


def write(folder, name, *records):
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def test_corpus_is_read_in_order_of_ids(tmp_path):
    write(tmp_path, "b.jsonl", {"id": "3", "text": "c"}, {"id": 1, "text": "a", "more": 0})
    (tmp_path / "2.txt").write_text("b", encoding="utf-8")
    (tmp_path / "notes.md").write_text("not a text")
    assert read_corpus(tmp_path) == [
        Document("1", "b", "a"),
        Document("2.txt", "txt", "b"),
        Document("3", "b", "c"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"",
        b"3",
        b"null",
        b'"text"',
        b'["id", "text"]',
        b'{"id": "x"}',
        b'{"text": "x"}',
        b'{"id": "x", "text": null}',
        b'{"id": "x", "text": ["a"]}',
        b'{"id": "x", "text": "\xff"}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "1", "text": "good"}\n' + line + b'\n{"id": "3", "text": "good"}\n')
    with pytest.raises(InputError) as error:
        read_corpus(tmp_path)
    text = str(error.value)
    assert text.startswith(f"{path} line 2: not a document")
    assert "\n" not in text


def test_a_text_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"a\.txt: not UTF-8"):
        read_corpus(tmp_path)


def test_an_id_may_come_once(tmp_path):
    write(tmp_path, "a.jsonl", {"id": "1", "text": "a"})
    write(tmp_path, "b.jsonl", {"id": 1, "text": "b"})
    with pytest.raises(InputError, match="document id '1' comes twice"):
        read_corpus(tmp_path)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_texts_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \*\.jsonl and no \*\.txt"):
        read_corpus(tmp_path / name)


def test_check_before_any_job(tmp_path):
    write(tmp_path, "a.jsonl", {"id": 1, "text": "ä" * 10}, {"id": 2, "text": "b" * 9})
    check_corpus(tmp_path, 2, 10)
    with pytest.raises(InputError, match=r"room for at most 2 windows of inputs\.length 10"):
        check_corpus(tmp_path, 3, 10)


# the store


def test_store_of_windows(windows, corpus, checkpoint):
    found = open_dataset(*windows)
    assert dict(found.sizes) == {"input": 16, "position": 32}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    texts = {document.id: document.text for document in read_corpus(corpus)}
    ids = found.attrs["document_ids"]
    assert len(set(ids)) == 16
    for row, name, offset in zip(found["tokens"].values, ids, found.attrs["offsets"], strict=True):
        assert tokenizer.decode(row) == texts[name][offset : offset + 32], "a byte is a token"
    assert tokenizer.bos_token_id not in found["tokens"].values


def test_a_second_draw_is_the_same_to_the_byte(windows, corpus, checkpoint, tmp_path):
    again = tmp_path / "a.zarr", tmp_path / "a.json"
    prepare(corpus, checkpoint, *again, number=16, length=32, start="random", seed=0)
    assert again[1].read_bytes() == windows.manifest.read_bytes()
    prepare(corpus, checkpoint, *again, number=16, length=32, start="random", seed=1)
    assert again[1].read_bytes() != windows.manifest.read_bytes()
