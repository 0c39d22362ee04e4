"""A config with mistakes is refused before any job, and every mistake is told in a line."""

from __future__ import annotations

import os
import re
import shutil

import pytest


def told(project, **changes) -> list[str]:
    """The lines that Snakemake ends with."""
    project.configure(**changes)
    code, text = project.snakemake()
    assert code != 0
    assert "Traceback" not in text
    assert not (project.root / "results").exists()
    head, _, rest = text.partition("config: ")
    assert head.endswith("\n")
    number, *lines = rest.splitlines()
    found = [line for line in lines if line.strip()]
    assert number == f"{len(found)} to correct"
    return found


def test_all_mistakes_are_told_at_once(fresh) -> None:
    variants = [
        {"name": "standard", "conditions": ["bos", "no-bso"]},
        {"name": "window", "window": 0, "conditions": ["bos"]},
    ]
    lines = told(
        fresh,
        seeed=1,
        threads="two",
        inputs={"number": 4, "length": 48},
        variants=variants,
        keep_activations="true",
    )
    expected = {
        "seeed": "seed",
        "threads": "two",
        "inputs.number": "8",
        "no-bso": "no-bos",
        "window": "0",
        "keep_activations": "true",
    }
    assert len(lines) == len(expected)
    for key, word in expected.items():
        assert any(key in line and word in line for line in lines), key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {"number": 16, "length": 400000}, "anchor": 23}, ["texts", "length"]),
        ({"inputs": {"number": 16, "length": 48, "corpus": "nowhere"}}, ["nowhere", "corpus"]),
        ({"study": "../outside"}, ["study", "../outside"]),
        ({"models": [{"name": "a/b", "source": {"type": "random"}}]}, ["a/b"]),
    ],
)
def test_a_mistake_names_key_and_value(fresh, changes, words) -> None:
    text = "\n".join(told(fresh, **changes))
    for word in words:
        assert word in text


def test_a_config_that_is_no_yaml_is_refused_in_a_line(fresh) -> None:
    (fresh.root / "studies/tiny.yaml").write_text("study: [tiny\n")
    code, text = fresh.snakemake()
    assert code != 0
    assert "Traceback" not in text
    assert "Config file is not valid JSON or YAML" in text
    assert not (fresh.root / "results").exists()


BROKEN = {
    "a pipe": lambda folder: os.mkfifo(folder / "b.txt"),
    "a folder": lambda folder: (folder / "b.txt").mkdir(),
    "a link to nothing": lambda folder: (folder / "b.txt").symlink_to("gone"),
    "surrogate": lambda folder: (folder / "b.jsonl").write_text('{"id": "a", "text": "\\ud800"}'),
    "nested too deeply": lambda folder: (folder / "b.jsonl").write_text('{"text": ' + "[" * 10**5),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_corpus_is_refused_in_a_line(fresh, what) -> None:
    folder = fresh.root / "texts"
    folder.mkdir()
    BROKEN[what](folder)
    (line,) = told(fresh, inputs={"number": 16, "length": 48, "corpus": "texts"})
    assert line.startswith("texts/b.")
    assert what in line


@pytest.mark.parametrize("corpus", ["{home}/texts", "~/texts"])
def test_a_corpus_may_lie_anywhere(fresh, tmp_path, corpus) -> None:
    shutil.copytree(fresh.root / "resources/corpus", tmp_path / "texts")
    fresh.environment = {**os.environ, "HOME": str(tmp_path)}
    place = corpus.format(home=tmp_path)
    fresh.configure(inputs={**fresh.study["inputs"], "corpus": place})
    assert fresh.plan().rules["inputs"] == 1


def test_what_cannot_be_swapped_in_is_refused_before_the_first_pass(fresh) -> None:
    """By the job that has the tokenizer first (tests/planning/test_misfits.py: before any job)."""
    fresh.configure(swap_tokens=["ab"])
    code, text = fresh.snakemake()
    assert code != 0
    assert "error: inputs toy/seed-0: swap_tokens: 'ab' is 2 tokens" in text
    assert not (fresh.results / "activations").exists()


def test_a_key_that_stands_twice_is_refused_in_a_study_and_in_the_default_one(fresh) -> None:
    study = fresh.root / "studies/tiny.yaml"
    study.write_text(study.read_text() + "dtype: float32\ndtype: bfloat16\n")
    default = fresh.root / "config.yaml"
    default.write_text(default.read_text() + "seed: 3\n")
    code, text = fresh.snakemake()
    assert code != 0
    first, second = text.partition("config: 2 to correct\n")[2].splitlines()[:2]
    assert re.match(r"config\.yaml, line \d+: key 'seed' is already set in line \d+; keep", first)
    assert re.match(r"studies/tiny\.yaml, line \d+: key 'dtype' is already set in line", second)
    assert not (fresh.root / "results").exists()


def test_a_study_without_a_name_is_called_after_its_file(fresh) -> None:
    study = fresh.root / "studies/tiny.yaml"
    study.write_text(study.read_text().replace("study: tiny\n", ""))
    code, text = fresh.snakemake("-n")
    assert code == 0, text
    assert "results/tiny/claims.csv" in text
    assert "results/default/" not in text


def test_local_models_that_are_not_there_are_told_in_a_line_each(fresh) -> None:
    """Before anything asks for their revisions, which are digests of their files."""
    sources = {name: {"type": "local", "path": f"gone/{name}"} for name in ("a", "b")}
    fresh.configure(models=[{"name": n, "source": source} for n, source in sources.items()])
    code, text = fresh.snakemake()
    assert code != 0
    for name in sources:
        (line,) = (line for line in text.splitlines() if line.startswith(f"models[{name}]: "))
        assert f"gone/{name}: no such folder; correct the path" in line
    assert 'File "' not in text
    assert "Traceback" not in text
