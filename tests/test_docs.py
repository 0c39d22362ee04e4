"""The documents against the code: names, paths, sections, columns and examples."""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

from abspos.calibration.population import long
from abspos.calibration.simulation import summarise
from abspos.calibration.truth import NUMBER_COLUMNS, RUN, TRUTH_COLUMNS
from abspos.calibration.worlds import World
from abspos.claims import architectures, choices, controlled_effects, doses, sensitivity, swaps
from abspos.claims.judgement import COLUMNS, judge
from abspos.claims.verdicts import VERDICTS
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.planning.layout import TABLES
from abspos.report import checkpoints
from abspos.statistics import factorial, fingerprint
from abspos.statistics.aggregate import tabulate
from abspos.statistics.replicates import SUMMARIES
from abspos.study.conditions import SUBSTITUTES
from abspos.study.config import Study, load_study
from abspos.training import curves

ROOT = Path(__file__).parents[1]
DOCUMENTS = [p for p in (*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md") if p.is_file()]
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs/files.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
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


def resolve(name: str) -> object:
    """Import the longest module of a dotted name and look up what is left in it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
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


def passages(text: str) -> list[object]:
    """Passages of a page that hold a formula, as parameters: from one heading or bold beginning to
    the next."""
    parts = re.split(r"^(?=#{2,3} |\*\*[^*\n]+\*\* )", text, flags=re.MULTILINE)
    return [
        pytest.param(part, id=part.splitlines()[0][:40].strip("#* "))
        for part in parts
        if re.search(r"^    \S", part, re.MULTILINE)
    ]


@pytest.mark.parametrize("passage", passages(METHOD))
def test_each_formula_names_a_function(passage):
    """As ``abspos.room.module.function``."""
    names = re.findall(r"`(abspos(?:\.\w+){3,})`", passage)
    assert [name for name in names if callable(resolve(name))]


def test_a_formula_without_a_function_is_found():
    (passage,) = passages("## A\n\n    x = y\n\n`abspos.figures.schematic`\n\n## B\n\nwords\n")
    with pytest.raises(AssertionError):
        test_each_formula_names_a_function(passage.values[0])


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
    """Columns of one table by the page of files and columns."""
    section = FILES.split(f"### `{table}.csv`\n", 1)[1].split("\n#", 1)[0]
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


def simulated_columns() -> list[str]:
    """Columns of the table of simulated studies, from two of them."""
    study = [(8, "n", "log", np.zeros(1), np.zeros(1), np.ones(1))]
    return list(summarise(World(1.0), {("n", "log"): np.ones(1)}, [study, study]).columns)


def population_columns() -> list[str]:
    """Columns of the table of true energies, from one head."""
    return list(long(dict.fromkeys(RUN, ""), ("early", "log", "mask"), np.zeros((1, 1))).columns)


#: Columns of the tables that need no run to be known.
KNOWN = {
    "claims": COLUMNS,
    "architectures": architectures.COLUMNS,
    "swaps": swaps.COLUMNS,
    "changes": doses.COLUMNS,
    "controlled_effects": controlled_effects.COLUMNS,
    "sensitivity": sensitivity.COLUMNS,
    "choices": choices.COLUMNS,
    "checkpoints": checkpoints.COLUMNS,
    "training": curves.COLUMNS,
    "factorial": factorial.COLUMNS,
    "fingerprint": fingerprint.COLUMNS[len(KEYS) :],
    "truth": TRUTH_COLUMNS,
    "numbers": NUMBER_COLUMNS,
    "population": population_columns(),
    "calibration": simulated_columns(),
}


@pytest.mark.parametrize("table", KNOWN)
def test_columns_that_need_no_run_are_documented(table):
    assert sorted(documented(table)) == sorted(KNOWN[table])


@pytest.mark.parametrize("table", ["claims", "swaps", "changes", "controlled_effects"])
def test_tables_of_the_claims_have_these_columns(table, headers):
    assert sorted(headers[table]) == sorted(KNOWN[table])


def test_every_table_is_listed_and_documented_once():
    listed = re.findall(r"^\| `(\w+)` \| .* \| \[columns\]\(#(\w+)csv\) \|$", FILES, re.MULTILINE)
    assert all(name == anchor for name, anchor in listed)
    names = sorted(name for name, _ in listed)
    assert names == sorted(re.findall(r"^### `(\w+)\.csv`$", FILES, re.MULTILINE))
    assert names == sorted({*TABLES, *KNOWN})


def glossary() -> list[str]:
    """The words of the glossary."""
    return re.findall(r"^\| (.+?) \| ", GLOSSARY, re.MULTILINE)[1:]


def test_the_glossary_is_in_order():
    words = [re.sub(r"\W", "", word).lower() for word in glossary()]
    assert len(words) > 100
    assert words == sorted(set(words))


def test_the_glossary_has_the_words_of_the_tables():
    words = {word for entry in glossary() for word in entry.split(", ")}
    verdicts = {verdict.split(", ")[0] for verdict in VERDICTS}
    components = {"mask", "residual", "row", "sink", "rest", "pattern", "matched"}
    substitutes = {name.split("-")[0] for name in SUBSTITUTES}
    heads = {f"{summary} head" for summary in SUMMARIES}
    needed = (
        verdicts | components | substitutes | heads | {*LENSES, "early query", "late", "beyond"}
    )
    needed |= {reading.name for reading in READINGS}
    assert sorted(needed - words) == []
