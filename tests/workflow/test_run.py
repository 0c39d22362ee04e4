"""A whole run: all that is promised is there, and a second run has nothing to do."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from abspos.arrays import open_dataset
from abspos.claims.registry import statements
from abspos.claims.verdicts import VERDICTS
from abspos.csv_tables import TEXT
from abspos.figures import FIGURES as EVERY_FIGURE
from abspos.figures.facts import ONLY_WITH
from abspos.planning.layout import TABLES
from abspos.planning.preflight import memory_mb
from abspos.stores import differences

#: The tiny study has no arms for the others.
FIGURES = tuple(figure for figure in EVERY_FIGURE if figure not in ONLY_WITH)
CLAIMS = list(statements())
ARMS = [
    "standard/bos",
    "standard/no-bos",
    "standard/ablate-zero",
    "standard/swap-token-1",
    "standard/control-noop",
    "ntk/bos",
    "window/bos",
]
RUN = ["model", "revision", "variant", "condition"]
#: The columns that are held fixed; more may follow.
COLUMNS = {
    "claims.csv": [
        "claim",
        "model",
        "revision",
        "arms",
        "number",
        "lens",
        "summary",
        "estimate",
        "ci_low",
        "ci_high",
        "claimed",
        "verdict",
        "primary",
        "n_inputs",
        "note",
    ],
    "statistics/energies.csv": [
        *RUN,
        "layer",
        "head",
        "bin",
        "lens",
        "component",
        "energy",
        "ci_low",
        "ci_high",
        "p_value",
    ],
    "statistics/sinks.csv": [*RUN, "layer", "head", "a_1", "sink_excess"],
}


@pytest.fixture
def claims(finished) -> pd.DataFrame:
    return pd.read_csv(finished.results / "claims.csv")


@pytest.fixture
def components(finished):
    """open_dataset of the component store of an arm."""
    return lambda arm: open_dataset(*finished.store("components", arm)).load()


def test_all_that_is_promised_is_there(finished) -> None:
    tables = [f"statistics/{table}.csv" for table in (*TABLES, "swaps")]
    figures = [f"figures/{figure}.svg" for figure in FIGURES]
    for name in ("claims.csv", "front.rst", *tables, *figures):
        assert (finished.results / name).stat().st_size > 0, name
    for arm in ARMS:
        assert differences(*finished.store("components", arm)) == []


def test_temporary_activations_are_gone_and_their_manifests_stay(finished) -> None:
    for arm in ARMS:
        store, manifest = finished.store("activations", arm)
        assert not store.exists()
        assert json.loads(manifest.read_text())["files"]
    assert finished.leftovers() == []


def test_a_second_run_has_nothing_to_do(finished) -> None:
    assert finished.plan().nothing
    code, text = finished.snakemake()
    assert code == 0
    assert "Nothing to be done" in text


@pytest.mark.parametrize(
    ("given", "shared"), [((), memory_mb()), (("--resources", "mem_mb=1777"), 1777)]
)
def test_jobs_here_share_the_machines_memory_or_what_is_given(project, given, shared) -> None:
    code, text = project.snakemake("-f", "results/checkpoints/toy/seed-0", *given)
    assert code == 0, text
    (line,) = [line for line in text.splitlines() if line.startswith("Provided resources")]
    assert f'"mem_mb", {shared})' in line or f"mem_mb={shared}" in line


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_are_those_that_are_held_fixed(finished, name) -> None:
    columns = list(pd.read_csv(finished.results / name, nrows=0).columns)
    assert columns[: len(COLUMNS[name])] == COLUMNS[name]


def test_the_words_in_the_tables_are_those_that_are_held_fixed(finished) -> None:
    table = pd.read_csv(finished.results / "statistics/energies.csv")
    assert set(table["lens"]) == {"log", "probability"}
    assert set(table["component"]) == {"mask", "residual", "row", "sink", "rest", "pattern"}
    assert set(table["bin"]) <= {"early", "late", "beyond"}
    arms = table["variant"] + "/" + table["condition"]
    assert set(arms) == set(ARMS)


def test_every_claim_has_a_verdict_in_both_lenses(claims) -> None:
    assert list(dict.fromkeys(claims["claim"])) == CLAIMS
    assert set(claims["verdict"].dropna()) <= set(VERDICTS)
    # 16 inputs; theorems are never preliminary.
    assert claims["preliminary"][claims["ci_low"].notna()].all()
    decided = claims[claims["verdict"].notna()]
    for claim, rows in decided.groupby("claim"):
        lenses = set(rows["lens"].dropna())
        assert lenses in ({"log", "probability"}, set()), claim
        assert rows["primary"].any(), claim


def test_certificates_are_in_every_store(components, kept) -> None:
    for arm in ARMS:
        attributes = components(arm).attrs
        assert attributes["certificates"]
        assert max(attributes["identity_error"]) < 1e-4
        activations = open_dataset(*kept.store("activations", arm)).attrs
        assert activations["certificates"] == attributes["certificates"]
        assert {"scale", "window", "dtype", "checkpoint"} <= activations.keys()


def test_every_column_of_labels_is_read_as_text(finished) -> None:
    """What pandas alone takes for labels is among the columns that stay text."""
    paths = sorted(finished.results.rglob("*.csv"))
    assert len(paths) > len(TABLES)
    for path in paths:
        filled = pd.read_csv(path).dropna(axis="columns", how="all")
        labels = filled.select_dtypes(exclude=["number", "bool"]).columns
        assert filled.empty or set(labels) <= TEXT, path.name


def test_control_noop_gives_exactly_the_numbers_of_bos(finished, components) -> None:
    table = pd.read_csv(finished.results / "statistics/controls.csv")
    (row,) = table[table["condition"] == "control-noop"].to_dict("records")
    assert row["value"] == 0
    noop, bos = components("standard/control-noop"), components("standard/bos")
    assert noop.sizes["input"] == 8
    for name in ("a_1", "sink_excess", "denominator", "state_norm", "loss"):
        first = bos[name].isel(input=slice(0, 8))
        np.testing.assert_array_equal(noop[name].values, first.values, err_msg=name)


def test_controls_pass(finished) -> None:
    assert pd.read_csv(finished.results / "statistics/controls.csv")["passed"].all()


def test_kept_activations_are_there_and_whole(kept) -> None:
    for arm in ARMS:
        assert differences(*kept.store("activations", arm)) == []


def test_two_clones_give_the_same_bytes(finished, kept) -> None:
    """The other clone was killed several times on its way, and keeps its activations."""
    assert len(finished.tables()) > 2 * len(TABLES)
    assert finished.tables() == kept.tables()
    assert len(finished.manifests()) == 2 * len(ARMS) + 3
    assert finished.manifests() == kept.manifests()


def test_a_pair_needs_the_activations_of_bos(fresh) -> None:
    fresh.configure(variants=[{"name": "standard", "conditions": ["bos", "no-bos", "shift"]}])
    made = fresh.plan("results/tiny/components/toy/seed-0/standard/shift.zarr")
    assert made.arms("activations") == ["standard/bos", "standard/shift"]
    assert made.arms("components") == ["standard/shift"]


def test_names_that_look_like_values_stay_as_they_are(new_project, small_study, tmp_path) -> None:
    (model,) = small_study["models"]
    project = new_project(
        tmp_path / "names",
        **small_study
        | {
            "models": [{**model, "name": "0042"}],
            "variants": [
                {"name": "standard", "conditions": ["bos"]},
                {"name": "None", "rope": {"rope_type": "ntk", "factor": 8}, "conditions": ["bos"]},
                {"name": "1e5", "window": 6, "conditions": ["bos"]},
            ],
        },
    )
    project.run()
    tables = {
        p: pd.read_csv(p, dtype=str, keep_default_na=False)
        for p in sorted(project.results.rglob("*.csv"))
    }
    models = {name for table in tables.values() for name in table.get("model", [])}
    variants = {name for table in tables.values() for name in table.get("variant", [])}
    assert models == {"0042"}
    assert variants == {"standard", "None", "1e5"}
    named = {"None/bos", "1e5/bos"}
    claims = tables[project.results / "claims.csv"]
    assert named <= {part for arms in claims["arms"] for part in arms.split(" vs ")}
    for shown in ("index.html", "front.rst", "figures/components_by_query.svg"):
        text = (project.results / shown).read_text(encoding="utf-8")
        assert "0042" in text, shown
        assert "None" in text, shown
        assert "100000" not in text, shown
