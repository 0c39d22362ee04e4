"""Config files: what is wrong with one is said in one line, with the file and its line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from abspos.study.config import ConfigError
from abspos.study.files import MOST_VALUES, base_config, load_files, merged, read, study_name

ROOT = Path(__file__).parents[2]
TINY = """\
models: [{name: tiny, source: {type: random}}]
variants: [{name: standard}]
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a study file here, beside a config.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(TINY)

    def write(text: str | bytes, name: str = "mine.yaml") -> str:
        data = text if isinstance(text, bytes) else text.encode()
        Path(name).write_bytes(data)
        return name

    return write


def mistakes(*files: str, **given: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_files(["config.yaml", *files], **given)
    assert str(error.value).splitlines() == list(error.value.mistakes)
    return list(error.value.mistakes)


# what a file must be


def laughs(levels: int, of: str = "[{}]") -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} " + of.format(", ".join([f"*a{level - 1}"] * 10)))
    return "\n".join(lines) + "\n"


UNREADABLE: list[tuple[str | bytes, str]] = [
    ("study: [mine\n", "line 2: not YAML: while parsing a flow sequence, expected ',' or ']'"),
    ("study: mine\ninputs:\n\tnumber: 16\n", "line 3: not YAML: .*; indent with spaces"),
    ("study: a\n---\nstudy: b\n", "line 2: not YAML: expected a single document"),
    ("study: !!python/name:os.system\n", "line 1: not YAML: could not determine a constructor"),
    ("study: *nowhere\n", "line 1: not YAML: found undefined alias"),
    ("seed: 1\n? [a, b]\n: 1\n", "line 2: not YAML: .* found unhashable key"),
    (b"seed: 1\nstudy: caf\xe9\n", "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ("study: mine\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    (b"seed: 1\nstudy: a\0b\n", r"line 2: character '\\x00' is not allowed"),
    (
        "seed: " + "9" * 6000 + "\n",
        "line 1: value '9+...9+' of 6000 characters cannot be",
    ),
    ("seed: 1" + "0" * 400 + "\n", "line 1: value '10+...0+' of 401 characters cannot be"),
    (
        '{"study": "a",\n "seed": 1' + "0" * 400 + "}",
        "line 2: value '10+...0+' of 401 characters cannot be",
    ),
    ("seed: 0x" + "f" * 60000 + "\n", "line 1: value .* of 60002 characters cannot be read"),
    ("seed: 1:" + ":".join(["59"] * 9000) + "\n", "line 1: value .* cannot be read as a whole"),
    (
        "seed: 1\nstudy: 0042\n",
        "line 2: value '0042' is not the number that it shows: .* in quotes",
    ),
    ("inputs: {length: 0100}\n", "line 1: value '0100' is not the number that it shows"),
    ("seed: -1_7:30\n", "line 1: value '-1_7:30' is not the number that it shows"),
    (
        "statistics: {confidence: 0:30.5}\n",
        "line 1: value '0:30.5' is not the number that it shows",
    ),
    ("seed: 1\nstudy: 2024-13-45\n", "line 2: value '2024-13-45' cannot be read as a date; put"),
    ("seed: !!int one\n", "line 1: value 'one' cannot be read as a whole number"),
    ("study: !!timestamp now\n", "line 1: value 'now' cannot be read as a date"),
    ("seed: !!bool maybe\n", "line 1: value 'maybe' cannot be read as a value"),
    ("study: " + "[" * 3000 + "]" * 3000 + "\n", "mine.yaml: nested too deep"),
    (laughs(9), f"line 5: more than {MOST_VALUES} values once aliases are written out; use fewer"),
    (laughs(9, "{{<<: [{}]}}").replace("[x,", "[{y: 1},"), "line .: more than"),
    (
        "inputs: &a\n  number: *a\n",
        "line 1: an alias refers to a value that contains it; remove it",
    ),
    ("- study\n", "mine.yaml: holds no keys"),
    ("", "mine.yaml: holds no keys"),
    ("# nothing\n", "mine.yaml: holds no keys"),
    ("study\n", "mine.yaml: holds no keys"),
]


@pytest.mark.parametrize(("text", "told"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_cannot_be_read_is_told_in_one_line(file, text, told):
    name = file(text)
    with pytest.raises(ConfigError, match=told) as error:
        load_files(["config.yaml", name])
    (line,) = error.value.mistakes
    assert line.startswith("mine.yaml")
    assert line.isprintable()
    assert len(line) < 200


def test_what_is_no_file_is_told(file, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert mistakes("none.yaml", "folder", "pipe", "dangling") == [
        "none.yaml: no such file",
        "folder: not a file; a config is a file of YAML",
        "pipe: not a file; a config is a file of YAML",
        "dangling: no such file",
    ]


@given(st.text(max_size=30) | st.binary(max_size=30))
def test_any_bytes_are_a_config_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read(path)
    for line in found.mistakes:
        assert len(line.splitlines()) == 1
    assert not found.unreadable or (len(found.mistakes), found.content) == (1, {})


# keys that stand twice


def test_a_key_that_stands_twice_is_refused_with_both_lines(file):
    name = file("inputs: {number: 16}\nseed: 1\nanchor: 9\ninputs: {length: 128}\n")
    assert mistakes(name) == [
        "mine.yaml, line 4: key 'inputs' is already set in line 1; keep one of them"
    ]


def test_every_key_that_stands_twice_is_told_with_all_else(file):
    Path("config.yaml").write_text(TINY + 'seed: 1\n"seed": 2\nseed: 3\n')
    name = file(
        "inputs:\n  number: 16\n  number: 32\nvariants:\n"
        "  - name: a\n    name: b\nbins: {early: 4, early: 5}\nsede: 1\n"
    )
    assert [line.partition(";")[0] for line in mistakes(name)] == [
        "config.yaml, line 4: key 'seed' is already set in line 3",
        "config.yaml, line 5: key 'seed' is already set in line 3",
        "mine.yaml, line 3: key 'number' is already set in line 2",
        "mine.yaml, line 6: key 'name' is already set in line 5",
        "mine.yaml, line 7: key 'early' is already set in line 7",
        "sede: unknown key — one of study, seed, device, dtype, threads, keep_activations, models, "
        "inputs, bins, anchor, variants, swap_tokens, statistics, calibration, figures, slurm_gpu, "
        "slurm_download, slurm_partitions",
    ]


def test_numbers_in_their_usual_writing_are_read(file):
    name = file("seed: 0\nanchor: 1_0\nstatistics: {confidence: 0.90, sign_flips: 0x3e8}\n")
    study = load_files(["config.yaml", name])
    found = (study.seed, study.anchor, study.statistics.confidence, study.statistics.sign_flips)
    assert found == (0, 10, 0.9, 1000)


def test_keys_that_are_equal_as_values_are_one_key(file):
    assert "line 2: key 10 is already set in line 1" in mistakes(file("10: a\n0xa: b\n"))[0]


def test_merge_keys_and_aliases_are_no_repetition(file):
    name = file(
        "x: &x {number: 16, batch: 2}\ninputs: {<<: *x, number: 8}\ny: {<<: *x, <<: *x}\nz: *x\n"
    )
    assert read(name).mistakes == ()
    assert read(name).content["inputs"] == {"number": 8, "batch": 2}


def test_a_repetition_in_json_is_found(file):
    name = file('{\n\t"seed": 1,\n\t"inputs": {"number": 8,\n\t"number": 9}\n}\n', "mine.json")
    assert mistakes(name) == [
        "mine.json, line 4: key 'number' is already set in line 3; keep one of them"
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).map(lambda value: {"a": value})
)
def test_what_is_written_is_read(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    for text in (yaml.safe_dump(config), json.dumps(config, indent="\t")):
        path.write_text(text, encoding="utf-8", newline="")
        assert read(path).content == config
        assert read(path).mistakes == ()


@pytest.mark.parametrize("path", ["config.yaml", *ROOT.glob("studies/**/*.yaml")], ids=str)
def test_shipped_files_are_read_as_by_yaml(path):
    found = read(ROOT / path)
    assert found.mistakes == ()
    assert found.content == yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


# several files


def test_configs_merge_as_snakemake_merges_them():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    change = {"a": {"c": [3]}, "e": {"f": 4}}
    expected = yaml.safe_load(yaml.safe_dump(base))
    update_config(expected, change)
    assert merged(base, change) == expected
    assert base["a"] == {"b": 1, "c": [1, 2]}


def test_files_are_laid_over_each_other(file):
    first, second = file("seed: 1\ninputs: {number: 16}\n"), file("inputs: {batch: 2}\n", "b.yaml")
    study = load_files(["config.yaml", first, second])
    assert (study.seed, study.inputs.number, study.inputs.batch) == (1, 16, 2)


def test_what_snakemake_merged_is_taken(file):
    """--config, say, is laid over the files; config.yaml may lie elsewhere."""
    config = {**yaml.safe_load(TINY), "seed": 7, "study": "default"}
    assert load_files(["nowhere.yaml", file("seed: 1\n")], config).seed == 7
    assert load_files(["nowhere.yaml"], config).study == "default"
    assert "mine.yaml, line 2: key 'seed'" in mistakes(file("seed: 1\nseed: 2\n"), config=config)[0]


# the name of a study


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ([], "default"),
        (['study: "mine" # quoted\n'], "mine"),
        (["study: 'mine'\n"], "mine"),
        (["{study: mine}\n"], "mine"),
        (["seed: 1\n"], "0"),
        (["seed: 1\n", "seed: 2\n"], "0"),
        (["study: a\n", "seed: 1\n"], "a"),
        (["seed: 1\n", "study: b\n"], "b"),
        (["study: a\n", "study: b\n"], "b"),
    ],
)
def test_the_name_of_a_study(file, texts, name):
    files = ["config.yaml", *(file(text, f"{i}.yaml") for i, text in enumerate(texts))]
    assert study_name(files) == load_files(files).study == name
    Path("config.yaml").write_text(TINY + "study: base\n")
    assert study_name(files) == load_files(files).study == ("base" if not texts else name)


def test_a_name_on_the_command_line_counts(file):
    config = {**yaml.safe_load(TINY), "study": "default"}
    files = ["config.yaml", file("seed: 1\n")]
    assert load_files(files, config).study == "mine"
    assert load_files(files, config, stated=["study"]).study == "default"


def test_a_file_whose_name_is_none_for_a_study(file):
    (line,) = mistakes(file("seed: 1\n", "my study.yaml"))
    assert line.startswith("my study.yaml: no key study, and the file's name cannot serve: ")
    assert line.endswith("a letter or digit first; add `study: <name>`")
    assert load_files(["config.yaml", file("study: a\n", "my study.yaml")]).study == "a"


@pytest.mark.parametrize("study", ["../up", "a b", "", "null", "[a]", "3"])
def test_a_name_that_leads_elsewhere_is_refused(file, study):
    name = file(f"study: {study}\n")
    with pytest.raises(ConfigError, match=r"^study: value .* a letter or digit first"):
        study_name(["config.yaml", name])
    assert len(mistakes(name)) == 1


def test_the_config_of_the_working_folder_comes_before_that_of_the_code(tmp_path):
    folder, code = tmp_path / "here", tmp_path / "code"
    assert base_config(folder, code) == code / "config.yaml"
    for own in (folder / "config/config.yaml", folder / "config.yaml"):
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("study: mine\n")
        assert base_config(folder, code) == own
