"""A checkpoint's tokenizer: one line where it is missing, broken, in need of code, or another's."""

from __future__ import annotations

import json
import shutil

import pytest

from abspos.activations.arms import tokens_for
from abspos.inputs.windows import prepare
from abspos.models.tokenizer import TokenizerError, require_fit, tokenizer_of


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
    assert "another model's tokenizer" in line
    assert not store.exists()
    tokens_for(copied, "no-bos", [])
    assert "another model's" in refused(tokens_for, copied, "no-bos", ["\n"])
