"""A corpus folder: what is read, what counts once, and what is refused in a line."""

from __future__ import annotations

import gzip
import json
import os
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from abspos.inputs import corpus, records
from abspos.inputs.corpus import check_corpus, distinct, folder_of, read_corpus
from abspos.inputs.records import Document, InputError, Keys


def refused(folder) -> str:
    """The one line that a corpus is refused with."""
    with pytest.raises(InputError) as error:
        read_corpus(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


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
        b'{"id": "x", "text": "\xff' + b"long " * 999 + b'"}',
        rb'{"id": "x", "text": "x \ud800 y"}',
        rb'{"id": "x", "text": "x \u0000 y"}',
        rb'{"id": "\ud800", "text": "x"}',
        rb'{"id": "a\nb", "text": "x"}',
        b'{"id": true, "text": "x"}',
        b'{"id": 1.5, "text": "x"}',
        b'{"id": null, "text": "x"}',
        b'{"id": "x", "text": ' + b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b', "text": "x"}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "1", "text": "good"}\n' + line + b'\n{"id": "3", "text": "good"}\n')
    text = refused(tmp_path)
    assert text.startswith(f"{path} line 2: not a document (")
    assert text.endswith("each line is a JSON object with `id` and `text`")
    assert len(text) < len(str(path)) + 200, "the line itself may be of any length"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            rb'{"id": "x", "text": "x \ud800 y"}',
            r"its text: character 2 is the lone surrogate \ud800",
        ),
        (rb'{"id": "x", "text": "x \u0000 y"}', "its text: character 2 is NUL"),
        (b'{"id": "x", "text": "ab\xff"}', "not UTF-8, byte 23"),
        (b'{"id": "x", "text": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"id": ' + b"9" * 5000 + b', "text": "x"}', "Exceeds the limit"),
        (b'{"id": "x"}', "it has no 'text', which inputs.text names"),
        (b"[]", "not a JSON object"),
        (b'{"id": "", "text": "x"}', "its id is empty"),
        (b'{"id": "x", "text": "a", "text": "b"}', "its key 'text' stands twice"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path, line, why):
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    assert f" line 1: not a document ({why}" in refused(tmp_path)


def test_characters_outside_the_basic_plane_are_text(tmp_path):
    """JSON writes them as two surrogates, which are one character together."""
    (tmp_path / "a.jsonl").write_bytes(rb'{"id": "x", "text": "\ud83d\ude00"}' + b"\n")
    assert [document.text for document in read_corpus(tmp_path)] == ["\N{GRINNING FACE}"]


def test_byte_order_marks_and_line_ends_of_other_systems_are_no_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "one"}\r\n')
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbftwo\r\nlines\r")
    assert [document.text for document in read_corpus(tmp_path)] == ["one", "two\nlines\n"]


# what is no file


def a_pipe(path):
    os.mkfifo(path)


def a_folder(path):
    path.mkdir()


def a_link_to_nothing(path):
    path.symlink_to("gone")


def a_circle(path):
    path.symlink_to(path.name)


def a_device(path):
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("name", ["b.jsonl", "b.txt", "b.txt.gz", "b.parquet"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (a_pipe, "not a file but a pipe"),
        (a_device, "not a file but a pipe, a socket or a device"),
        (a_folder, "not a file but a folder"),
        (a_link_to_nothing, "a link to nothing"),
        (a_circle, "a link to nothing|symbolic links"),
    ],
)
def test_what_is_no_file_is_named_and_never_opened(tmp_path, name, make, what):
    write(tmp_path, "a.jsonl", {"id": "1", "text": "good"})
    make(tmp_path / name)
    text = refused(tmp_path)
    assert text.startswith(f"{tmp_path / name}: ")
    assert re.search(what, text)
    assert re.search("remove", text)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """By whatever the system says: a test that runs as root is let in everywhere."""
    write(tmp_path, "a.jsonl", {"id": "1", "text": "good"})

    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(records, "open", closed, raising=False)
    assert refused(tmp_path) == (
        f"{tmp_path / 'a.jsonl'}: cannot be read (Permission denied); repair or remove it"
    )


@pytest.mark.parametrize("name", [b"b\xff.txt", b"b\n.txt"])
def test_a_name_that_is_no_text_is_refused(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_text("good")
    refused(tmp_path).encode()
    assert "its name is not one line of UTF-8 text" in refused(tmp_path)


def test_braces_in_a_name_are_refused(tmp_path):
    """Snakemake would look for a wildcard."""
    (tmp_path / "a{x}.txt").write_text("good")
    assert (
        refused(tmp_path) == f"{tmp_path}/a{{x}}.txt: braces are wildcards to Snakemake; rename it"
    )
    with pytest.raises(InputError, match=r"inputs\.corpus: value 'te{x}ts': braces are wildcards"):
        folder_of("te{x}ts")


def test_a_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "elsewhere").write_text("good")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").symlink_to("../elsewhere")
    assert read_corpus(tmp_path / "texts") == [Document("a.txt", "txt", "good")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe", r"not UTF-8 text \(byte 0"),
        ("good".encode("utf-16-le"), r"not a text \(character 1 is NUL\)"),
        ("\ud800".encode("utf-8", "surrogatepass"), r"not UTF-8 text \(byte 0"),
    ],
)
def test_a_text_file_that_is_no_text_is_named(tmp_path, data, why):
    (tmp_path / "a.txt").write_bytes(data)
    assert re.match(rf"{re.escape(str(tmp_path))}/a\.txt: {why}", refused(tmp_path))


def test_an_id_may_come_once(tmp_path):
    write(tmp_path, "a.jsonl", {"id": "1", "text": "a"})
    write(tmp_path, "b.jsonl", {"id": 1, "text": "b"})
    with pytest.raises(InputError, match="document id '1' comes twice"):
        read_corpus(tmp_path)


def test_a_folder_without_texts_is_refused(tmp_path):
    assert "holds no *.txt, *.jsonl or *.parquet" in refused(tmp_path)
    (tmp_path / "a.jsonl").touch()
    assert "hold no document" in refused(tmp_path)
    assert "hold no document" in refused(tmp_path / "a.jsonl")
    assert "cannot be read as a folder (No such file or directory)" in refused(tmp_path / "missing")
    (tmp_path / "b.md").touch()
    assert "is none of *.txt, *.jsonl or *.parquet" in refused(tmp_path / "b.md")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "cannot be read as a folder (Not a directory)" in refused(tmp_path / "pipe.jsonl")


def test_hidden_files_are_no_texts(tmp_path):
    write(tmp_path, "a.jsonl", {"id": "a", "text": "b"})
    (tmp_path / "._a.jsonl").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".#a.txt").symlink_to("user@host.1")
    (tmp_path / ".txt").write_text("c")
    assert [document.id for document in read_corpus(tmp_path)] == ["a"]
    (tmp_path / "a.jsonl").unlink()
    assert "holds no *.txt, *.jsonl" in refused(tmp_path)


def test_a_corpus_may_lie_in_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(folder_of("~/texts")) == "/home/somebody/texts"
    assert str(folder_of("texts")) == "texts"
    with pytest.raises(
        InputError, match=r"inputs\.corpus: value '~no-such-user/texts': no such home"
    ):
        folder_of("~no-such-user/texts")


def test_check_before_any_job(tmp_path):
    write(tmp_path, "a.jsonl", {"id": 1, "text": "ä" * 10}, {"id": 2, "text": "b" * 9})
    check_corpus(tmp_path, 2, 10)
    with pytest.raises(InputError, match=r"room for at most 2 windows of inputs\.length 10"):
        check_corpus(tmp_path, 3, 10)


# formats, keys and places


def parquet_of(path, **columns):
    parquet.write_table(pa.table(columns), path)


def gzip_of(path, text):
    path.write_bytes(gzip.compress(text.encode()))


def test_every_format_in_folders_below(tmp_path):
    """Ids that are not in a file are its name in the corpus and the row; its name is the source."""
    (tmp_path / "plays" / "old").mkdir(parents=True)
    (tmp_path / "plays" / "hamlet.txt").write_text("one")
    gzip_of(tmp_path / "plays" / "old" / "lear.txt.gz", "two")
    (tmp_path / "a.jsonl").write_text('{"text": "three"}\n{"text": "four"}\n')
    gzip_of(tmp_path / "plays" / "b.jsonl.gz", '{"text": "five", "id": 5}\n')
    parquet_of(tmp_path / "c.parquet", text=["six", "seven"], more=[1, 2])
    parquet_of(tmp_path / "d.parquet", text=["eight"], id=[8])
    assert read_corpus(tmp_path) == [
        Document("5", "plays/b", "five"),
        Document("8", "d", "eight"),
        Document("a.jsonl:1", "a", "three"),
        Document("a.jsonl:2", "a", "four"),
        Document("c.parquet:1", "c", "six"),
        Document("c.parquet:2", "c", "seven"),
        Document("plays/hamlet.txt", "plays", "one"),
        Document("plays/old/lear.txt.gz", "plays/old", "two"),
    ]


def test_one_file_is_a_corpus(tmp_path):
    for name in ("a.jsonl", "a.json"):
        (tmp_path / name).write_text('{"text": "one"}\n')
        assert read_corpus(tmp_path / name) == [Document(f"{name}:1", "a", "one")]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_keys_of_ones_choice(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    record = {"body": "one", "name": "first", "from": "here", "id": 1}
    if ending == "parquet":
        parquet_of(path, **{key: [value] for key, value in record.items()})
    else:
        line = json.dumps(record).encode()
        path.write_bytes(gzip.compress(line) if ending.endswith("gz") else line)
    assert read_corpus(tmp_path, Keys("body", "name", "from")) == [Document("first", "here", "one")]
    assert read_corpus(tmp_path, Keys("body", None)) == [Document(f"{path.name}:1", "a", "one")]
    for keys in (Keys("body", "nam"), Keys("bod", "name"), Keys("body", "name", "frm")):
        wrong = next(k for k in (keys.text, keys.id, keys.source) if k and k not in record)
        with pytest.raises(InputError, match=rf"no (column )?'{wrong}'") as error:
            read_corpus(tmp_path, keys)
        assert keys.setting(wrong) in str(error.value)


def test_ids_in_some_lines_of_a_file_are_refused(tmp_path):
    write(tmp_path, "a.jsonl", {"text": "one"}, {"text": "two", "id": "2"})
    assert "line 2: not a document (its 'id': line 1 has none)" in refused(tmp_path)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"text": ["a", None]}, "row 2: not a document (its text is null)"),
        ({"text": ["a", "b\0"]}, "row 2: not a document (its text: character 1 is NUL)"),
        ({"text": ["a"], "id": [1.5]}, "row 1: not a document (its id is neither"),
        ({"text": ["a"], "id": [None]}, "row 1: not a document (its id is neither"),
        ({"text": [1]}, "'text' holds int64, not text; inputs.text names a column of text"),
        ({"body": ["a"]}, "no column 'text'; inputs.text names one of body"),
        ({"text": ["a", "b"], "id": [1, 1]}, "document id '1' comes twice"),
    ],
)
def test_rows_that_are_no_documents_are_named(tmp_path, columns, why):
    parquet_of(tmp_path / "a.parquet", **columns)
    assert why in refused(tmp_path)


@pytest.mark.parametrize("name", ["b.txt.gz", "b.jsonl.gz", "b.parquet"])
def test_a_file_that_is_not_what_it_is_called_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"neither")
    assert refused(tmp_path).startswith(f"{tmp_path / name}: cannot be read")
    assert refused(tmp_path).endswith("; repair or remove it")


def test_a_compressed_file_that_breaks_off_is_named(tmp_path):
    gzip_of(tmp_path / "a.txt.gz", "some text " * 99)
    (tmp_path / "a.txt.gz").write_bytes((tmp_path / "a.txt.gz").read_bytes()[:-9])
    assert refused(tmp_path).startswith(f"{tmp_path / 'a.txt.gz'}: cannot be read (")


def test_links_to_folders_and_closed_folders_are_named(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts", "a.jsonl", {"text": "one"})
    (tmp_path / "texts" / "again").symlink_to(".")
    assert refused(tmp_path) == (
        f"{tmp_path}/texts/again: a link to a folder; remove it, or put the folder there"
    )
    (tmp_path / "texts" / "again").unlink()
    (tmp_path / "texts" / ".again").symlink_to(".")
    assert len(read_corpus(tmp_path)) == 1
    listed = os.scandir

    def closed(path):
        if Path(path).name == "texts":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(corpus.os, "scandir", closed)
    assert "/texts' cannot be read as a folder (Permission denied)" in refused(tmp_path)


# copies

TEXT = "It is a truth universally acknowledged, that a single man\nmust be in want of a café."


#: A mark of each kind that is not drawn: joiners, fillers, selectors, directions, tags, controls.
UNSEEN = "\u2063\u034f\u115f\u3164\ufe0f\U000e0100\u202a\u2066\u061c\u180e\U000e0041\1\x9f"


def texts_of(*texts):
    return [Document(f"d{n}", "s", text) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    "copy",
    [
        TEXT,
        TEXT + " \n",
        "\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", " "),
        TEXT.replace(" ", "\u00a0"),
        TEXT.upper(),
        "\ufeff" + TEXT,
        TEXT.replace("universally", "univer\u00adsally"),
        unicodedata.normalize("NFD", TEXT),
        *(TEXT.replace("man", f"m{mark}an") for mark in UNSEEN),
    ],
)
def test_a_copy_counts_once_and_the_first_stays(copy, caplog):
    documents = texts_of(TEXT, "another text", copy)
    assert distinct(documents) == documents[:2]
    (line,) = caplog.messages
    assert line == (
        "inputs.corpus: 1 of 3 documents are copies of others and count once, such as 'd2' of 'd0'"
    )


def test_ascii_is_compared_as_all_other_text():
    every = "".join(map(chr, range(128)))
    assert (
        corpus.visible(every) == corpus.visible(every + "é")[:-2] == every[33:127].lower().encode()
    )
    assert corpus.visible("A b\t") == corpus.visible("a\u00a0B")


def test_other_words_are_another_text(caplog):
    documents = texts_of(TEXT, TEXT[:-1], TEXT.replace("single", "double"), "1.23", "12.3")
    assert distinct(documents) == documents
    assert not caplog.messages


def test_the_corpus_that_is_shipped_holds_no_copies_and_stays_as_it_is(caplog):
    documents = read_corpus(Path(__file__).resolve().parents[2] / "resources/corpus")
    assert distinct(documents) == documents
    assert not caplog.messages


def test_room_is_that_of_different_texts(tmp_path):
    write(tmp_path, "a.jsonl", *({"id": n, "text": "b" * 20 + " " * n} for n in range(5)))
    check_corpus(tmp_path, 2, 10)
    with pytest.raises(InputError, match=r"\(4 of its documents are copies of others\) has room "):
        check_corpus(tmp_path, 3, 10)


def test_a_column_that_a_parquet_file_has_twice_is_refused(tmp_path):
    columns = [pa.array(["a b"]), pa.array(["c d"])]
    table = pa.Table.from_arrays(columns, names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    assert refused(tmp_path).endswith("a.parquet: several columns 'text'; rename all but one")


@pytest.mark.parametrize("name", ["A.TXT", "a.Jsonl", "a.txt.GZ", "a.PARQUET"])
def test_a_text_whose_ending_is_in_capitals_is_not_left_out_silently(name, tmp_path):
    (tmp_path / "b.txt").write_text("b", encoding="utf-8")
    (tmp_path / name).write_text("a", encoding="utf-8")
    assert f"{name}: write its ending in small letters" in refused(tmp_path)
