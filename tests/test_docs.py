"""The documents against the code: names, paths, sections, columns and examples."""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

from abspos.calibration.truth import NUMBER_COLUMNS, TRUTH_COLUMNS
from abspos.claims.judgement import COLUMNS, judge
from abspos.planning.layout import TABLES
from abspos.statistics.aggregate import tabulate
from abspos.study.config import Study, load_study

ROOT = Path(__file__).parents[1]
DOCUMENTS = [p for p in (*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md") if p.is_file()]
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
SOURCES = [
    p
    for folder in ("src", "workflow", "tests", "docs", "studies")
    for p in sorted((ROOT / folder).rglob("*"))
    if p.suffix in {".py", ".smk", ".rst", ".md", ".yaml"} and p != Path(__file__)
]
KEYS = ["model", "revision", "variant", "condition"]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def blocks(document: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def examples(language: str) -> list[object]:
    """Every fenced block of a language in all documents, as a parameter."""
    return [
        pytest.param(block, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(blocks(document, language), 1)
    ]


def resolve(name: str) -> None:
    """Import the longest module of a dotted name and look up what is left in it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    raise ModuleNotFoundError(name)


@each_document
def test_names_exist(document):
    text = document.read_text(encoding="utf-8")
    names = set(re.findall(r"(?<![\w./-])abspos(?:\.[A-Za-z_]\w*)+", text))
    wrong = []
    for name in sorted(names):
        try:
            resolve(name)
        except (ImportError, AttributeError):
            wrong.append(name)
    assert not wrong


@pytest.mark.parametrize(
    "name", ["abspos.nothing", "abspos.claims.judgement.nothing", "abspos.claims.judgement.judge.x"]
)
def test_a_name_that_does_not_exist_is_found_out(name):
    with pytest.raises((ImportError, AttributeError)):
        resolve(name)


@each_document
def test_links_exist(document):
    """Links to files, relative to the document."""
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


@each_document
def test_paths_exist(document):
    """Paths in backticks; <placeholders> stand for any name."""
    text = document.read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:src|workflow|studies|docs|tests)/[^`\s]*)`", text))
    assert not [p for p in sorted(paths) if not list(ROOT.glob(re.sub(r"<[^>]*>|{[^}]*}", "*", p)))]


def test_the_sections_of_the_method_are_numbered():
    assert re.findall(r"^## (\d+) ", METHOD, re.MULTILINE) == list("12345678")


def test_sections_that_are_referred_to_exist():
    """`docs/method.md, section 3`, `sections 1, 3 and 5`: also where a line breaks in between."""
    referring = re.compile(
        r"docs/method\.md`?,?\s+(?:#\s*)?sections?\s+(\d+(?:(?:,| and|, and)\s+\d+)*)"
    )
    found = {
        (path.relative_to(ROOT).as_posix(), number)
        for path in SOURCES
        for numbers in referring.findall(path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d+", numbers)
    }
    assert len({path for path, _ in found}) > 10, "the pattern finds few of the references"
    assert not [(path, number) for path, number in sorted(found) if number not in set("12345678")]


def test_documents_that_are_referred_to_exist():
    named = {
        name
        for path in SOURCES
        for name in re.findall(r"(?<![\w/])docs/[\w.-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert not [name for name in sorted(named) if not (ROOT / name).is_file()]


@pytest.mark.parametrize("block", examples("python"))
def test_examples_run(block):
    exec(compile(block, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("block", examples("yaml"))
def test_examples_are_studies(block):
    config = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    update_config(config, yaml.safe_load(block))
    assert isinstance(load_study(config), Study)


def documented(table: str) -> list[str]:
    """Columns of one table by section 8 of the method."""
    section = METHOD.split(f"### `{table}.csv`\n", 1)[1].split("\n#", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.fixture(scope="module")
def headers(components, tmp_path_factory) -> dict[str, list[str]]:
    """Column names of every table that a small study writes."""
    folder = tmp_path_factory.mktemp("statistics")
    replicates = folder / "replicates.zarr", folder / "replicates.manifest.json"
    stores = [components[name] for name in ("bos", "no-bos", "window")]
    tabulate(
        [made.store for made in stores],
        [made.manifest for made in stores],
        *replicates,
        arms=[("standard", "bos"), ("standard", "no-bos"), ("window", "bos")],
        model="tiny",
        revision="0",
        confidence=0.95,
        sign_flips=100,
        seed=0,
        threads=1,
    )
    judge(
        [replicates[0]],
        [replicates[1]],
        folder / "claims.csv",
        folder / "swaps.csv",
        folder / "changes.csv",
        folder / "controlled_effects.csv",
        models=[("tiny", "0")],
        variants={"standard": {}, "window": {"window": 6}},
        swap_tokens=[],
        confidence=0.95,
        seed=0,
    )
    return {path.stem: list(pd.read_csv(path).columns) for path in folder.glob("*.csv")}


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_tables_are_documented(table, headers):
    assert headers[table][:4] == KEYS
    assert sorted(documented(table)) == sorted(headers[table][4:])


@pytest.mark.parametrize(
    ("table", "columns"), [("truth", TRUTH_COLUMNS), ("numbers", NUMBER_COLUMNS)]
)
def test_columns_of_the_truth_are_documented(table, columns):
    assert sorted(documented(table)) == sorted(columns)


@pytest.mark.parametrize("table", ["claims", "swaps", "changes", "controlled_effects"])
def test_columns_of_verdicts_are_documented(table, headers):
    assert sorted(documented(table)) == sorted(headers[table])
    if table == "claims":
        assert headers[table] == COLUMNS
