"""Data of the head map: the numbers of the tables and stores, in the colours of the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import LogNorm, to_hex

from abspos.components.lenses import LENSES
from abspos.figures.head_maps import scale
from abspos.report import heads
from abspos.report.heads import colored, energy_maps, head_map, rounded
from abspos.statistics.replicates import no_halves, replicate_interval, stack
from abspos.statistics.store import Arm

LAYERS, HEADS, QUERIES, OFFSETS = 3, 2, (4, 12, 31), 32
KEY = ("m", "r", "standard", "bos")
PARTS = ("mask", "residual", "row", "sink", "rest", "pattern")


def early(seed: int = 0) -> xr.DataArray:
    """Replicates of every component (lens, component, layer, head, replicate)."""
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(size=(2, len(PARTS), LAYERS, HEADS, 1))
    values = sizes * (1 + 0.1 * rng.normal(size=(2, len(PARTS), LAYERS, HEADS, 17)))
    return stack(
        {
            (lens, part): no_halves(values[i, j])
            for i, lens in enumerate(LENSES)
            for j, part in enumerate(PARTS)
        }
    )


def sinks(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    layer, head = (axis.ravel() for axis in np.indices((LAYERS, HEADS)))
    excess = rng.uniform(-0.1, 0.9, layer.size)
    table = pd.DataFrame(
        {
            **dict(zip(("model", "revision", "variant", "condition"), KEY, strict=True)),
            "layer": layer,
            "head": head,
            "a_1": rng.uniform(size=layer.size),
            "sink_share": rng.uniform(size=layer.size),
            "sink_excess": excess,
            "sink_low": excess - 0.01,
            "sink_high": excess + 0.01,
            "kind": np.where(layer == 1, "full", "sliding 512"),
        }
    )
    return table.sample(frac=1, random_state=0)  # rows in no order


def store(seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    shape = (LAYERS, HEADS, len(QUERIES), OFFSETS)
    dims = ("layer", "head", "query", "offset")
    fields = {name: (dims, rng.uniform(size=shape)) for name in ("attention", "predicted")}
    return xr.Dataset(fields, {"query": list(QUERIES)})


@pytest.fixture
def found(monkeypatch) -> Mapping[str, Any]:
    """The head map of one run."""
    arm = SimpleNamespace(bins={"early": early()})
    monkeypatch.setattr(heads, "open_replicates", lambda _: {Arm("standard", "bos"): arm})
    monkeypatch.setattr(heads, "open_dataset", lambda _: store())
    return head_map({"/".join(KEY): Path("a")}, {"m/r": Path("b")}, sinks(), 0.9)


def one_map(found: Mapping[str, Any], label: str, lens: str) -> Mapping[str, Any]:
    (one,) = (m for m in found["maps"] if (m["label"].split(":")[0], m["lens"]) == (label, lens))
    return one


def test_every_reading_and_component_is_there_in_both_lenses(found) -> None:
    shown = [(one["label"].split(":")[0], one["lens"]) for one in found["maps"]]
    names = ("R", "sink", "pattern", "mask", "row", "sink part")
    assert shown == [*((name, lens) for name in names for lens in LENSES), ("sink excess", "")]
    assert found["level"] == "90 %"


@pytest.mark.parametrize("lens", LENSES)
def test_energies_are_those_of_the_replicates_layer_by_layer(found, lens) -> None:
    parts = {"R": ["residual"], "sink": ["row", "sink"], "pattern": ["pattern"], "mask": ["mask"]}
    for label, components in {**parts, "row": ["row"], "sink part": ["sink"]}.items():
        wanted = replicate_interval(
            early().sel(lens=lens, component=components).sum("component", skipna=False), 0.9
        )
        (run,) = one_map(found, label, lens)["runs"]
        assert run["value"] == rounded(np.ravel(wanted.estimate))
        assert run["low"] == rounded(np.ravel(wanted.low))
        assert run["high"] == rounded(np.ravel(wanted.high))
        assert None not in run["value"]


def test_sinks_and_kinds_are_those_of_the_table(found) -> None:
    (run,) = found["runs"]
    table = sinks().sort_values(["layer", "head"])
    assert run["kinds"] == ["sliding 512", "full", "sliding 512"]
    assert run["heads"] == HEADS
    assert run["first"] == rounded(table["a_1"])
    assert run["sinks"] == rounded(table["sink_share"])
    (excess,) = one_map(found, "sink excess", "")["runs"]
    assert excess["value"] == rounded(table["sink_excess"])
    assert excess["low"] == rounded(table["sink_low"])


def test_rows_are_the_mean_attention_of_the_store(found) -> None:
    (run,) = found["runs"]
    assert [row["query"] for row in run["rows"]] == list(QUERIES)
    for row in run["rows"]:
        for name in ("attention", "predicted"):
            fields = store()[name].sel(query=row["query"]).values[..., : row["query"] + 1]
            shown = heads.UNIT * np.array(row[name])
            np.testing.assert_allclose(shown, fields.reshape(LAYERS * HEADS, -1), atol=6e-5)


def test_colours_are_those_of_the_figure() -> None:
    values = np.array([0.003, 2.0, -1.0, np.nan, 0.4])
    norm, name = scale(values[np.isfinite(values)], log=True)
    made = colored([(values, values, values)], log=True)
    wanted = [to_hex(mpl.colormaps[name](norm(x))) if x > 0 else None for x in values]
    assert made["runs"][0]["color"] == wanted
    assert made["runs"][0]["value"] == [0.003, 2.0, -1.0, None, 0.4]
    assert isinstance(norm, LogNorm)
    assert [text for _, text in made["ticks"]] == ["0.01", "0.1", "1"]


def test_runs_share_one_scale() -> None:
    low, high = np.array([0.1, 0.2]), np.array([10.0, 0.1])
    both = colored([(low,) * 3, (high,) * 3], log=True)["runs"]
    assert both[0]["color"][0] == both[1]["color"][1]
    assert both[0]["color"] != colored([(low,) * 3], log=True)["runs"][0]["color"]


def test_a_scale_about_zero_is_marked_at_its_ends_and_middle() -> None:
    values = np.array([0.5, -0.1])
    made = colored([(values,) * 3], log=False)
    assert made["ticks"] == [[0.0, "-0.5"], [0.5, "0"], [1.0, "0.5"]]
    assert None not in made["runs"][0]["color"]


def test_values_of_one_decade_or_none_at_all_are_no_error() -> None:
    values = np.array([0.21, 0.3])
    assert len(colored([(values,) * 3], log=True)["ticks"]) == 2
    nothing = np.array([np.nan, np.nan])
    assert colored([(nothing,) * 3], log=True)["runs"][0]["color"] == [None, None]


def test_a_component_that_a_lens_lacks_has_no_value() -> None:
    without = early().where(early()["component"] != "pattern")
    shown = {(m["label"].split(":")[0]): m for m in energy_maps([without], 0.95)}
    assert shown["pattern"]["runs"][0]["value"] == [None] * (LAYERS * HEADS)
    assert None not in shown["R"]["runs"][0]["value"]
