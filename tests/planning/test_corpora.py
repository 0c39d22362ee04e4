from __future__ import annotations

from pathlib import Path

import pytest

from abspos.planning.corpora import Corpus


@pytest.fixture
def code(tmp_path) -> Path:
    """Code that ships one text, and has another beside it."""
    for name in ("resources/corpus/a.txt", "texts/b.txt"):
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True)
        path.write_text("words")
    return tmp_path / "code"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_shipped_corpus_is_the_same_from_anywhere(code, elsewhere, tmp_path):
    root = tmp_path if elsewhere else code
    found = Corpus(Path("resources/corpus"), root, code)
    assert found.folder == (str(code / "resources/corpus") if elsewhere else "resources/corpus")
    assert found.shipped == ["resources/corpus/a.txt"]
    assert found.own == []


def test_the_working_folder_comes_first(code, tmp_path):
    own = tmp_path / "resources/corpus/own.txt"
    own.parent.mkdir(parents=True)
    own.write_text("words")
    found = Corpus(Path("resources/corpus"), tmp_path, code)
    assert (found.own, found.shipped) == (["resources/corpus/own.txt"], [])


def test_only_resources_are_taken_from_the_code(code, tmp_path):
    """A folder that merely lies beside the code is not what a user meant."""
    assert Corpus(Path("texts"), tmp_path, code).folder == "texts"
    assert Corpus(Path("texts"), code, code).own == ["texts/b.txt"]
    assert Corpus(Path("texts"), code, code).shipped == []
