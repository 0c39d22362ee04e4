"""Training texts: documents that no input is drawn from, in an order that follows from the step."""

from __future__ import annotations

import numpy as np
import pytest

from abspos.inputs.corpus import read_corpus
from abspos.inputs.records import Document, InputError
from abspos.inputs.windows import draw_windows
from abspos.models.sources import byte_tokenizer
from abspos.training.texts import CHECKED, Texts, draw_texts

LENGTH, HELD_OUT = 32, 12
TOKENIZER = byte_tokenizer()


@pytest.fixture(scope="module")
def documents(corpus):
    return read_corpus(corpus)


def texts(documents, held_out=HELD_OUT, start="random", seed=0) -> Texts:
    return draw_texts(documents, TOKENIZER, held_out, LENGTH, start, seed)


def numbered(number: int) -> Texts:
    """Texts whose first token says which they are."""
    train = np.arange(number * LENGTH, dtype=np.int32).reshape(number, LENGTH) // LENGTH
    return Texts(train, train[:1], ())


@pytest.mark.parametrize("start", ["random", "document"])
@pytest.mark.parametrize("number", [8, HELD_OUT])
def test_no_document_is_both_trained_on_and_measured(documents, start, number):
    inputs = draw_windows(documents, TOKENIZER, number, LENGTH, start, 0)
    trained = texts(documents, start=start).documents
    assert trained
    assert not {*trained} & {*inputs.attrs["document_ids"]}
    assert len(trained) == len(documents) - HELD_OUT  # all others are used


def test_a_study_of_more_inputs_than_are_held_out_would_measure_documents_that_are_trained_on(
    documents,
):
    inputs = draw_windows(documents, TOKENIZER, HELD_OUT + 4, LENGTH, "random", 0)
    assert {*texts(documents).documents} & {*inputs.attrs["document_ids"]}


def test_a_copy_of_a_measured_document_is_not_trained_on(documents):
    inputs = draw_windows(documents, TOKENIZER, HELD_OUT, LENGTH, "random", 0)
    measured = inputs.attrs["document_ids"][0]
    text = next(d.text for d in documents if d.id == measured)
    copy = Document("zz-copy", documents[0].source, f"  {text}\n")
    assert "zz-copy" not in texts([*documents, copy]).documents


def test_held_out_losses_are_of_documents_that_are_not_trained_on(documents):
    found = texts(documents)
    number = -(-len(found.documents) // CHECKED)
    assert found.check.shape == (number, LENGTH)
    rows = {row.tobytes() for row in found.train}
    assert not rows & {row.tobytes() for row in found.check}


def test_texts_are_whole_windows_of_their_documents(documents):
    found = texts(documents)
    own = {d.id: np.asarray(TOKENIZER(d.text)["input_ids"]) for d in documents}
    number = sum(len(own[name]) // LENGTH for name in found.documents)
    checks = sum(len(own[name]) // LENGTH for name in found.documents[::CHECKED])
    assert found.train.shape == (number - checks, LENGTH)
    text = own[found.documents[1]]
    assert (found.train[0] == text[:LENGTH]).all()
    assert (found.train[1] == text[LENGTH : 2 * LENGTH]).all()


def test_the_seed_of_the_inputs_decides_which_documents_are_free(documents):
    assert {*texts(documents).documents} != {*texts(documents, seed=1).documents}


def test_every_text_comes_once_before_any_comes_again():
    found = numbered(10)
    seen = [int(row[0]) for step in range(5) for row in found.batch(step, 4, 0)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_step_has_the_same_texts_whatever_came_before():
    found = numbered(7)
    forward = [found.batch(step, 3, 5) for step in range(6)]
    back = [found.batch(step, 3, 5) for step in reversed(range(6))]
    assert all((a == b).all() for a, b in zip(forward, reversed(back), strict=True))
    assert any((a != found.batch(step, 3, 6)).any() for step, a in enumerate(forward))


def test_a_batch_may_be_larger_than_the_corpus():
    seen = numbered(3).batch(0, 7, 0)[:, 0].tolist()
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [0, 1, 2]


def test_a_token_stands_at_position_0_and_changes_nothing_else(documents):
    plain = texts(documents)
    begun = plain.begun_with(1)
    for before, after in ((plain.train, begun.train), (plain.check, begun.check)):
        assert (after[:, 0] == 1).all()
        assert (after[:, 1:] == before[:, 1:]).all()
    assert plain.digest != begun.digest
    assert plain.train[:, 0].max() > 1


def test_a_corpus_that_leaves_nothing_is_refused_in_one_line(documents):
    for held_out, why in ((len(documents), "leave 0 of 24"), (10_000, "windows of 32 tokens")):
        with pytest.raises(InputError, match=rf"^source.held_out: value {held_out} — ") as error:
            texts(documents, held_out=held_out)
        assert why in str(error.value)
        assert "lower held_out" in str(error.value)
        assert "\n" not in str(error.value)
