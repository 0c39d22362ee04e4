"""A checkpoint's tokenizer: one line where it is missing, broken, in need of code, or another's."""

from __future__ import annotations

import json
import shutil

import pytest
import xarray as xr
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from abspos.activations.arms import tokens_for
from abspos.inputs.windows import prepare
from abspos.models.sources import byte_tokenizer
from abspos.models.tokenizer import (
    TokenizerError,
    control_ids,
    plain_ids,
    prepends_bos,
    require_fit,
    single_token,
    tokenizer_of,
    unknown_id,
)
from abspos.stores import StoreError


def refused(call, *arguments, **options) -> str:
    with pytest.raises(TokenizerError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A copy of the tiny model, to be harmed; its vocabulary is 258 bytes and marks."""
    return shutil.copytree(checkpoint, tmp_path / "copied")


def change(path, **settings) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_tokenizer_that_is_not_there(copied):
    for path in copied.glob("token*"):
        path.unlink()
    assert "give the source the tokenizer's files" in refused(tokenizer_of, copied)


def test_a_tokenizer_that_cannot_be_read(copied):
    (copied / "tokenizer.json").write_text('{"version":')
    assert "its tokenizer cannot be loaded" in refused(tokenizer_of, copied)


def test_nobody_is_asked_whether_code_may_run(copied, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("a question"))
    change(
        copied / "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["org/other--code.Own", None]},
    )
    assert "allow_remote_code: true" in refused(tokenizer_of, copied)


def test_ids_that_the_model_has_no_embedding_for(copied, corpus, tmp_path):
    change(copied / "config.json", vocab_size=100)
    require_fit(copied, 99)
    assert "token id 100, its model has embeddings for 0 to 99" in refused(require_fit, copied, 100)
    settings = {"number": 4, "length": 32, "start": "random", "seed": 0}
    store, manifest = tmp_path / "inputs.zarr", tmp_path / "inputs.json"
    line = refused(prepare, corpus, copied, store, manifest, **settings)
    assert "belongs to another model" in line
    assert not store.exists()
    drawn = xr.Dataset(attrs={"bos": 0})
    tokens_for(copied, drawn, "no-bos", None)
    assert "belongs to another model" in refused(tokens_for, copied, drawn, "no-bos", "\n")


def test_a_bos_that_the_model_has_no_embedding_for(copied, corpus, tmp_path):
    """No text holds it, so that its windows alone do not show it."""
    tokenizer = json.loads((copied / "tokenizer.json").read_text())
    bos = next(each for each in tokenizer["added_tokens"] if each["content"] == "<bos>")
    bos["id"] = tokenizer["model"]["vocab"]["<bos>"] = 300
    (copied / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert tokenizer_of(copied).bos_token_id == 300
    settings = {"number": 4, "length": 32, "start": "random", "seed": 0}
    store, manifest = tmp_path / "inputs.zarr", tmp_path / "inputs.json"
    line = refused(prepare, corpus, copied, store, manifest, **settings)
    assert "gives token id 300, its model has embeddings for 0 to 257" in line
    assert not store.exists()


def test_a_store_of_inputs_of_an_earlier_version(copied):
    with pytest.raises(StoreError, match="without 'bos', of an earlier version; delete it"):
        tokens_for(copied, xr.Dataset(), "no-bos", None)


# what tokens mean to a study


def words(model, **marks):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)


def word_level(**marks):
    vocabulary = {word: n for n, word in enumerate(["UNK", "<s>", "</s>", "a"])}
    return words(models.WordLevel(vocab=vocabulary, unk_token="UNK"), bos_token="<s>", **marks)


def unigram(**marks):
    scores = [(word, -1.0) for word in ("UNK", "<s>", "</s>", "a")]
    return words(models.Unigram(scores, unk_id=0), bos_token="<s>", **marks)


@pytest.mark.parametrize("adds", [False, True])
def test_bos_of_a_vocabulary_without_the_letter_that_is_tried(adds):
    """Neither it nor an unknown token: its texts can be read all the same."""
    model = models.WordLevel(vocab={"<s>": 0, "b": 1})
    tokenizer = words(model, bos_token="<s>")
    if adds:
        added = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        tokenizer.backend_tokenizer.post_processor = added
    assert plain_ids(tokenizer, "b b") == [1, 1]
    assert prepends_bos(tokenizer) == adds
    assert not prepends_bos(words(model))


def test_single_tokens():
    tokenizer = byte_tokenizer()
    assert tokenizer.decode([single_token(tokenizer, "k")]) == "k"
    assert single_token(tokenizer, "<eos>") == tokenizer.eos_token_id
    for text, number in (("ab", 2), ("", 0), ("ä", 2)):
        assert f"'{text}' is {number} tokens" in refused(single_token, tokenizer, text)
    assert "'<bos>' is this tokenizer's BOS, so that the arm is inert" in refused(
        single_token, tokenizer, "<bos>"
    )


@pytest.mark.parametrize("make", [word_level, unigram])
@pytest.mark.parametrize("marks", [{}, {"unk_token": "UNK"}])
def test_an_unknown_token_cannot_be_swapped_in(make, marks):
    tokenizer = make(**marks)
    assert unknown_id(tokenizer) == 0
    assert single_token(tokenizer, "a") == 3
    assert "'king' is unknown to this tokenizer" in refused(single_token, tokenizer, "king")


def test_a_special_token_that_stands_for_the_unknown_is_swapped_in_by_its_name_alone():
    tokenizer = word_level(unk_token="UNK", eos_token="UNK")
    assert single_token(tokenizer, "UNK") == 0
    assert "'king' is read as the special token 'UNK'" in refused(single_token, tokenizer, "king")
    assert control_ids(tokenizer) == {0, 1}


def test_what_a_config_names_unknown_and_its_vocabulary_never_gives_is_special():
    """As in a published model whose config names the mark between documents so."""
    tokenizer = byte_tokenizer()
    tokenizer.unk_token = "<eos>"
    tokenizer.eos_token = None
    assert unknown_id(tokenizer) is None
    assert tokenizer.convert_tokens_to_ids("<eos>") in control_ids(tokenizer)
    assert tokenizer.decode([single_token(tokenizer, "<eos>")]) == "<eos>"


def test_marks_of_special_tokens_are_text_like_any_other():
    tokenizer = byte_tokenizer()
    ids = plain_ids(tokenizer, "a<bos>b")
    assert ids == [single_token(tokenizer, character) for character in "a<bos>b"]
    assert not control_ids(tokenizer) & set(ids)
