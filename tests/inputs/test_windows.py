"""Windows: drawn by the seed alone, inside documents, one per document while they last."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from abspos.arrays import open_dataset
from abspos.inputs import windows as module
from abspos.inputs.corpus import read_corpus
from abspos.inputs.records import Document, InputError
from abspos.inputs.windows import MOST_UNKNOWN, draw_windows, prepare
from abspos.models.sources import byte_tokenizer
from abspos.models.tokenizer import TokenizerError


class Words:
    """A tokenizer of words, each of which is its number."""

    def __call__(self, text, add_special_tokens, split_special_tokens):
        assert (add_special_tokens, split_special_tokens) == (False, True)
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


@given(
    sizes_, st.integers(1, 8), st.integers(2, 16), seeds, st.sampled_from(["random", "document"])
)
def test_before_a_window_stand_the_tokens_of_its_document(sizes, number, length, seed, start):
    """A document is read as a circle, and of what the arm shift reads no token comes twice."""
    try:
        found = draw(sizes, number, length, start, seed)
    except InputError:
        return
    whole = np.concatenate([found["before"].values, found["tokens"].values], axis=1)
    assert found["before"].shape == (number, length // 2)
    assert found["before"].dtype == np.int32
    for row, offset in zip(whole, found.attrs["offsets"], strict=True):
        document, places = np.unique(row // 1000), row % 1000
        assert len(document) == 1
        assert len(np.unique(places[:length])) == length
        size = sizes[int(document[0])]
        assert places.tolist() == [
            (offset - length // 2 + step) % size for step in range(len(places))
        ]


def test_windows_are_drawn_as_before_there_were_tokens_before_them():
    """The same seed has always given these offsets: published windows stay as they are."""
    found = draw([50, 60, 70, 80, 90], 4, 8, seed=3)
    assert found.attrs["document_ids"] == ["d4", "d2", "d1", "d3"]
    assert found.attrs["offsets"] == [1, 20, 45, 39]


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


# sources


def of_sources(counts, size=40):
    """Documents of sources s0, s1, ... with so many each; their tokens tell the document."""
    names = [f"s{n}" for n, count in enumerate(counts) for _ in range(count)]
    texts = documents_of([size] * len(names))
    return [replace(d, source=name) for d, name in zip(texts, names, strict=True)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 30), seeds)
def test_sources_give_as_many_windows_each_as_they_have_documents(counts, number, seed):
    """For the first n windows too, so that an arm on fewer inputs is spread as well."""
    found = draw_windows(
        of_sources(counts), Words(), min(number, sum(counts)), 8, "random", seed
    ).attrs["sources"]
    for n in range(1, len(found) + 1):
        given_by = Counter(found[:n])
        most = max(given_by.values())
        for source, count in enumerate(counts):
            assert given_by[f"s{source}"] >= min(most - 1, count)


def test_a_source_goes_on_to_its_next_document_where_one_is_too_short():
    texts = of_sources([4, 4])
    texts[:3] = [replace(d, text="1 2 3") for d in texts[:3]]
    found = draw_windows(texts, Words(), 4, 8, "random", 0)
    assert Counter(found.attrs["sources"]) == {"s0": 1, "s1": 3}


def test_windows_are_numbered_by_source():
    found = draw_windows(of_sources([3, 3, 3]), Words(), 7, 8, "random", 0)
    assert found["source"].dtype == np.int32
    assert [f"s{n}" for n in found["source"].values] == found.attrs["sources"]


@given(st.integers(1, 9), seeds)
def test_one_source_is_drawn_in_the_seeds_order(number, seed):
    found = draw([40] * 9, number, 8, seed=seed)
    order = np.random.default_rng(seed).permutation(9)[:number]
    assert found.attrs["document_ids"] == [f"d{n}" for n in order]


# copies


def drawn(texts, number, length, start="random", tokenizer=None):
    documents = [Document(f"d{n}", "s", text) for n, text in enumerate(texts)]
    return draw_windows(documents, tokenizer or byte_tokenizer(), number, length, start, 0)


def test_a_text_under_two_ids_is_one_document():
    """Two windows of it are of one document where others are short, and none where it is."""
    long = "".join(chr(97 + n % 26) + str(n) for n in range(60))
    found = drawn([long, long + "\n", "short" * 4], 3, 16)
    assert Counter(found.attrs["document_ids"]) == {"d0": 2, "d2": 1}
    with pytest.raises(
        InputError, match=r"give 2 .* \(1 documents are empty or copies of others\)"
    ):
        drawn([long[:20], long[:20] + " ", "short" * 4], 3, 16)


def test_texts_that_are_the_same_to_the_tokenizer_are_one_document():
    class Counted:
        def __call__(self, text, **_):
            return {"input_ids": range(len(text))}

    with pytest.raises(InputError, match="give 1 windows"):
        drawn(["a" * 20, "b" * 20], 2, 16, tokenizer=Counted())


def test_no_window_comes_twice():
    """Texts that open alike give the same window at their start."""
    head = "This file may be copied by everyone."
    texts = [head + str(n) for n in range(3)]
    with pytest.raises(InputError, match="give 1 windows"):
        drawn(texts, 2, 32, start="document")
    assert len(drawn([*texts, "another" * 9], 2, 32, start="document").attrs["sources"]) == 2


# texts that are not what the method assumes


def words_tokenizer(model):
    """A tokenizer of words with BOS ``<s>``, in which that mark is a word."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def word_level(*words):
    vocabulary = {word: n for n, word in enumerate(["<unk>", "<s>", *words])}
    return words_tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))


def unigram(*words):
    scores = [(word, -1.0) for word in ("<unk>", "<s>", *words)]
    return words_tokenizer(models.Unigram(scores, unk_id=0))


@pytest.mark.parametrize("start", ["random", "document"])
def test_marks_of_special_tokens_are_text(start):
    tokenizer = byte_tokenizer()
    text = "one<bos>two <eos> three" * 3
    found = drawn([text], 1, 64, start, tokenizer)
    module.require_text(found, tokenizer)
    (row,) = found["tokens"].values
    assert tokenizer.decode(row) in text
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(row.tolist())


@pytest.mark.parametrize("make", [word_level, unigram])
def test_special_tokens_that_cannot_be_text_are_counted_and_refused(make):
    tokenizer = make("a", "b")
    found = drawn(["a <s> b b", "a b a b", "b <s> a a"], 3, 4, tokenizer=tokenizer)
    with pytest.raises(InputError) as error:
        module.require_text(found, tokenizer)
    assert re.fullmatch(
        "inputs.corpus: 2 of 3 windows hold special tokens, such as '<s>' in document 'd[02]', "
        "which this tokenizer does not read as plain text; remove them from the texts",
        str(error.value),
    )


@pytest.mark.parametrize("make", [word_level, unigram])
def test_unknown_tokens_are_told_and_many_are_refused(make, caplog):
    tokenizer = make("a", "b")

    def with_unknown(number):
        texts = ["a b a b a b a b b b", " ".join("☃" * number + "a" * (10 - number))]
        module.require_text(drawn(texts, 2, 10, tokenizer=tokenizer), tokenizer)

    with_unknown(0)
    assert not caplog.messages
    with_unknown(2)
    told = (
        "inputs.corpus: {} of the windows' tokens are unknown to this tokenizer, "
        "most in document 'd1' ({})"
    )
    assert caplog.messages == [told.format(0.1, 0.2)]
    with pytest.raises(InputError) as error:
        with_unknown(3)
    assert str(error.value) == (
        f"{told.format(0.15, 0.3)}; allowed are {MOST_UNKNOWN}: use texts in the model's languages"
    )


# the store


def test_store_of_windows(windows, corpus, checkpoint):
    found = open_dataset(*windows)
    assert dict(found.sizes) == {"input": 16, "position": 32, "preceding": 16}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    texts = {document.id: document.text for document in read_corpus(corpus)}
    ids = found.attrs["document_ids"]
    assert len(set(ids)) == 16
    for row, name, offset in zip(found["tokens"].values, ids, found.attrs["offsets"], strict=True):
        assert tokenizer.decode(row) == texts[name][offset : offset + 32], "a byte is a token"
    assert tokenizer.bos_token_id not in found["tokens"].values
    for row, name, offset in zip(found["before"].values, ids, found.attrs["offsets"], strict=True):
        text = texts[name]
        expected = text[max(0, offset - 16) : offset]
        assert tokenizer.decode(row) == (text[offset - 16 :] if offset < 16 else "") + expected


def test_a_second_draw_is_the_same_to_the_byte(windows, corpus, checkpoint, tmp_path):
    again = tmp_path / "a.zarr", tmp_path / "a.json"
    prepare(corpus, checkpoint, *again, number=16, length=32, start="random", seed=0)
    assert again[1].read_bytes() == windows.manifest.read_bytes()
    prepare(corpus, checkpoint, *again, number=16, length=32, start="random", seed=1)
    assert again[1].read_bytes() != windows.manifest.read_bytes()


@pytest.mark.parametrize(
    ("text", "told"), [("ab", "'ab' is 2 tokens"), ("<bos>", "BOS, so that the arm is inert")]
)
def test_what_cannot_be_swapped_in_is_told_before_any_pass(
    corpus, checkpoint, tmp_path, text, told
):
    store, manifest = tmp_path / "a.zarr", tmp_path / "a.json"
    settings = {"number": 4, "length": 32, "start": "random", "seed": 0}
    with pytest.raises(TokenizerError, match=told):
        prepare(corpus, checkpoint, store, manifest, **settings, swap_tokens=["a", text])
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_written_depends_on_tokens_to_swap(windows, corpus, checkpoint, tmp_path):
    store, manifest = tmp_path / "a.zarr", tmp_path / "a.json"
    settings = {"number": 16, "length": 32, "start": "random", "seed": 0}
    prepare(corpus, checkpoint, store, manifest, **settings, swap_tokens=["a", "k"])
    assert manifest.read_bytes() == windows.manifest.read_bytes()
