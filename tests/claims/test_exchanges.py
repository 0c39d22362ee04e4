"""The deciding exchanges by source, where what each carries in each source is planted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import xarray as xr

from abspos.claims.alterations import some_inputs
from abspos.claims.choices import Choice, altered, on_few_inputs, on_inputs, too_few
from abspos.claims.evidence import BOS, Evidence
from abspos.claims.exchanges import exchanges_of, replicates_among
from abspos.claims.readers import OTHERS, READERS, SWAP, sink_readers
from abspos.claims.rows import Row
from abspos.claims.sources import ONE, OVER, WITHOUT, over_sources
from abspos.claims.verdicts import NOT_TESTABLE
from abspos.statistics.packing import pack
from abspos.statistics.store import ArmReplicates, among

N, LAYERS, HEADS = 64, 3, 2
NUMBERS = np.arange(1, N, 2)  # of the exchanges
SOURCES = np.array([f"s{n // 2 % 4}" for n in range(N)])
#: Fields of one head: mask, row, sink and rest stand on features of their own.
PARTS = {"mask": slice(0, 2), "row": slice(2, 4), "sink": slice(4, 6), "rest": slice(6, 8)}
CHANGE = "readers less others: share of the bos-swap change"


def fields(name: str) -> np.ndarray:
    """(input, feature) of one arm: under bos all inputs are alike; the swapped token changes those
    of the exchanges alone; the exchange in readers does as it does, except in source s0, where it
    changes nothing."""
    bos, swap = np.ones(8), np.array([1, 1, 0.5, 1, 2, 1, 1, 0.25])
    if name == "bos":
        return np.tile(bos, (N, 1))
    if name == "swap":
        return np.where(np.isin(np.arange(N), NUMBERS)[:, None], swap, bos)
    first = np.tile(bos, (N, 1))
    return np.where((SOURCES == "s0")[:, None] | (name == "others"), first, swap)[NUMBERS]


def store_of(name: str) -> xr.Dataset:
    """A component store of one arm, as far as claims under other choices read it."""
    own = fields(name)
    numbers = NUMBERS if name in ("readers", "others") else np.arange(N)
    residual = slice(2, 8)
    blocks = {part: PARTS[part] for part in ("mask", "row", "sink")} | {"residual": residual}
    grams = [pack(own[:, block] @ own[:, block].T) for block in blocks.values()]
    shape = (2, len(blocks), LAYERS, HEADS, len(grams[0]))
    stacked = np.broadcast_to(np.stack(grams)[None, :, None, None], shape)
    data = {
        "gram_early": (("lens", "component_early", "layer", "head", "pair"), stacked),
        "document": ("input", numbers),
        "loss": ("input", np.full(len(numbers), np.nan)),
    }
    if name != "bos":
        base = fields("bos")[numbers]
        for lens in ("log", "probability"):
            for part, block in {
                "": residual,
                "_sink": slice(2, 6),
                "_pattern": PARTS["rest"],
            }.items():
                gram = own[:, block] @ base[:, block].T
                whole = np.broadcast_to(gram, (LAYERS, HEADS, *gram.shape))
                data[f"cross_{lens}{part}"] = (("layer", "head", "input", "input_reference"), whole)
    return xr.Dataset(
        data,
        coords={"lens": ["log", "probability"], "component_early": list(blocks)},
        attrs={"bins": {"early": (1, 8)}, "numbers": numbers.tolist(), "length": 16},
    )


@pytest.fixture(scope="module")
def stores():
    names = {BOS: "bos", SWAP: "swap", READERS: "readers", OTHERS: "others"}
    return {arm: store_of(name) for arm, name in names.items()}


@pytest.fixture(scope="module")
def evidence(stores):
    facts = {"kind": ["full"] * LAYERS, "substituted": 3}
    arms = {
        arm: ArmReplicates(facts | {"inputs": store.sizes["input"]}, {})
        for arm, store in stores.items()
    }
    arms = {arm: some_inputs(stores[arm], own, full(stores[arm])) for arm, own in arms.items()}
    found = exchanges_of(arms, stores)
    kept = np.ones(len(NUMBERS), bool)
    view = partial(replicates_among, kept=kept, documents=found.documents)
    arms = found.joined(arms, view, len(NUMBERS))
    arms = {arm: replace(own, loss=None) for arm, own in arms.items()}
    return Evidence(arms, ["x"], {"standard": {}}, 0.95, 0)


def full(store: xr.Dataset) -> np.ndarray:
    return np.ones(store.sizes["input"], dtype=bool)


def one(rows, **values) -> dict:
    """The row of the number that decides with these values, R in the log lens."""
    values = {"number": CHANGE, "lens": "log", "reading": "R", "summary": "median"} | values
    (row,) = (row for row in rows if values.items() <= row.items())
    return row


def under(evidence: Evidence, choice: Choice, stores) -> Evidence:
    whole = {arm: store for arm, store in stores.items() if arm in (BOS, SWAP)}
    some = on_inputs(choice, whole)
    return altered(evidence, choice, some, exchanges_of(evidence.arms, stores))


def by_source(name: str) -> Choice:
    kept = name == SOURCES
    return Choice(f"{ONE}{name}", "inputs", partial(some_inputs, kept=kept), kept=kept)


@pytest.mark.parametrize(("source", "carried"), [("s0", 0.0), ("s1", 1.0), ("s3", 1.0)])
def test_a_source_alone_shows_what_the_exchange_carries_in_it(stores, evidence, source, carried):
    rows = list(sink_readers(under(evidence, by_source(source), stores)))
    for lens in ("log", "probability"):
        for reading in ("R", "sink", "pattern"):
            row = one(rows, lens=lens, reading=reading)
            assert row["estimate"] == pytest.approx(carried, abs=1e-9)
            assert row["n_inputs"] == 8


def test_stores_on_few_inputs_are_those_of_each_choice(stores):
    chosen = [by_source(name) for name in ("s0", "s3")]
    whole = {arm: store for arm, store in stores.items() if store.sizes["input"] == N}
    found = on_few_inputs(chosen, whole)
    assert list(found) == [choice.name for choice in chosen]
    for choice in chosen:
        for arm, some in on_inputs(choice, whole):
            xr.testing.assert_identical(found[choice.name][arm], some)
            np.testing.assert_array_equal(some["document"], stores[arm]["document"][choice.kept])


def test_without_a_source_the_share_is_that_of_the_others(stores, evidence):
    def judge(changed: Evidence, name: str) -> list[Row]:
        rows = sink_readers(replace(changed, summaries=("median",)))
        return [row | {"claim": "sink-readers", "choice": name} for row in rows if row["verdict"]]

    rows = over_sources(
        evidence,
        {arm: stores[arm] for arm in (BOS, SWAP)},
        exchanges_of(evidence.arms, stores),
        SOURCES,
        judge(evidence, ""),
        judge,
    )
    over = one(rows, choice=OVER)
    assert over["estimate"] == pytest.approx(one(sink_readers(evidence))["estimate"])
    assert over["n_inputs"] == 4
    assert over["ci_low"] < over["estimate"] < over["ci_high"]
    alone = one(rows, choice=f"{WITHOUT}s0")
    assert alone["estimate"] == pytest.approx(1)
    mixed = one(rows, choice=f"{WITHOUT}s2")
    assert 0 < mixed["estimate"] < over["estimate"] < 1


def test_the_swapped_token_is_compared_on_the_inputs_of_the_exchange(stores, evidence):
    """Not on all inputs of a source, where there are as many units of both."""
    arms = under(evidence, by_source("s1"), stores).arms
    assert arms[READERS].inputs == 8
    assert {among(8), f"{among(8)}-cross"} <= set(arms[SWAP].bins)
    assert among(8) in arms[BOS].bins


def test_too_few_inputs_of_a_source_make_its_row_not_testable(evidence, stores):
    few = np.where(np.isin(np.arange(N), NUMBERS[:12]) & (SOURCES == "s1"), "s0", SOURCES)
    kept = few == "s1"
    choice = Choice(f"{ONE}s1", "inputs", partial(some_inputs, kept=kept), kept=kept)
    assert set(under(evidence, choice, stores).arms) == {BOS, SWAP}
    published = [row | {"claim": "sink-readers"} for row in sink_readers(evidence)]
    rows = too_few(choice, published, [])
    row = one(rows)
    assert (row["verdict"], row["n_inputs"]) == (NOT_TESTABLE, kept.sum())
    assert np.isnan(row["estimate"])
    assert too_few(choice, published, rows) == []
    assert too_few(replace(choice, name="half 1"), published, []) == []


def test_exchanges_with_other_inputs_are_not_compared(stores, evidence):
    other = stores[OTHERS].assign_attrs(numbers=list(range(len(NUMBERS))))
    assert exchanges_of(evidence.arms, stores | {OTHERS: other}) is None
    assert exchanges_of(evidence.arms, {BOS: stores[BOS]}) is None
