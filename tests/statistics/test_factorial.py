"""Effects add up to R, and shares to all of it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abspos.arrays import open_dataset
from abspos.components.pairs import COMBINATIONS
from abspos.statistics import replicates as sl
from abspos.statistics.factorial import (
    COLUMNS,
    COMPONENTS,
    FACTORS,
    NOTHING,
    combination_energies,
    combination_of,
    effects,
    factorial,
    subsets,
    with_sums,
)

energies_ = st.lists(st.floats(-1e3, 1e3), min_size=7, max_size=7)


def test_combinations_are_those_that_are_stored():
    for component, factors in COMPONENTS.items():
        named = {combination_of(chosen, factors) for chosen in subsets(factors)}
        assert named == set(COMBINATIONS[component])


@given(energies_)
def test_effects_of_a_set_of_factors_add_up_to_its_energy(values):
    energies = dict(zip(COMBINATIONS["residual"], values, strict=True))
    found = effects(energies)
    for chosen in subsets(FACTORS):
        parts = [found[" x ".join(part)] for part in subsets(chosen)]
        whole = energies[combination_of(chosen, FACTORS)]
        assert sum(parts) == pytest.approx(whole, abs=1e-8)
    sums = with_sums(energies)
    assert sum(sums[factor] for factor in FACTORS) + sums["interactions"] == pytest.approx(
        sums["all"], abs=1e-8
    )
    assert sums["all but key 0"] == pytest.approx(
        found["queries"] + found["keys"] + found["queries x keys"], abs=1e-8
    )


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_what_adds_up_does_not_interact(queries, keys, first):
    own = dict(zip(FACTORS, (queries, keys, first), strict=True))
    energies = {
        combination_of(chosen, FACTORS): sum(own[factor] for factor in chosen)
        for chosen in subsets(FACTORS)
    }
    found = with_sums(energies)
    for factor, value in own.items():
        assert found[factor] == pytest.approx(value)
    assert found["interactions"] == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def store(shift_pair):
    return open_dataset(*shift_pair[2])


@pytest.fixture(scope="module")
def table(store):
    keys = {"model": "m", "revision": "r"}
    return factorial({("standard", "shift"): store}, keys, 0.95)


def test_the_table_of_a_pair(table, store):
    assert list(table.columns) == ["model", "revision", "variant", "condition", *COLUMNS]
    layers = store.sizes["layer"]
    counts = table.groupby(["component", "lens", "summary"]).size()
    assert set(counts["residual"]) == {10 * (layers + 1)}
    assert set(counts["pattern"]) == {5 * (layers + 1)}
    assert table["layer"].isna().sum() == 4 * (10 + 5)
    for _, rows in table.groupby(["layer", "component", "lens", "summary"], dropna=False):
        own = rows.set_index("effect")
        main = [name for name in FACTORS if name in own.index]
        parts = own.loc[[*main, "interactions"]]
        whole = own.loc["all", "energy"]
        assert parts["energy"].sum() == pytest.approx(whole, abs=1e-9)
        if whole > NOTHING:
            assert parts["share"].sum() == pytest.approx(1, abs=1e-6)
            assert own.loc["all", "share"] == 1
            assert (own["ci_low"] <= own["share"] + 1e-12).all()
            assert (own["share"] <= own["ci_high"] + 1e-12).all()
        else:
            assert own["share"].isna().all(), "nothing is no base for shares"
    has = table[table["share"].notna()]
    assert set(has["component"]) == set(COMPONENTS)
    assert "pattern" not in set(has.loc[has["layer"] == 0, "component"])


def test_shares_are_of_the_summaries_of_energies(table, store):
    for lens, summary in product(("log", "probability"), sl.SUMMARIES):
        own = combination_energies(store, "residual", lens)
        first, whole = (
            float(sl.over_model(own[name], summary).isel(replicate=0)) for name in ("BBA", "AAA")
        )
        rows = table[(table["lens"] == lens) & (table["summary"] == summary)]
        rows = rows[rows["layer"].isna() & (rows["component"] == "residual")]
        got = rows.set_index("effect")
        assert got.loc["key 0", "share"] == pytest.approx(first / whole)
        assert got.loc["key 0", "energy"] == pytest.approx(first)


def test_a_study_without_a_pair_has_an_empty_table(store):
    plain = store.drop_vars(["factorial_residual", "factorial_pattern"])
    found = factorial({("standard", "bos"): plain}, {"model": "m", "revision": "r"}, 0.95)
    assert found.empty
    assert list(found.columns) == ["model", "revision", "variant", "condition", *COLUMNS]
