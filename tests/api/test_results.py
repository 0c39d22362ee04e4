"""A finished study as a reader opens it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import abspos
from abspos.arrays import save_dataset
from abspos.csv_tables import write_csv
from abspos.stores import StoreError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study of two models whose names look like numbers and missing values."""
    root = tmp_path_factory.mktemp("results") / "mine"
    claims = pd.DataFrame(
        {"claim": ["bos-swap"], "model": ["0042"], "note": ["nan"], "energy": 0.1}
    )
    (root / "statistics" / "0042" / "1e5").mkdir(parents=True)
    write_csv(claims, root / "claims.csv")
    write_csv(claims[["model", "energy"]], root / "statistics" / "energies.csv")
    write_csv(claims[["model"]], root / "statistics" / "0042" / "1e5" / "states.csv")
    field = ("layer", "head", "query", "offset")
    store = xr.Dataset(
        {
            "residual": (field, np.random.default_rng(0).normal(size=(2, 3, 4, 4))),
            "a_1": (("layer", "head", "input"), np.zeros((2, 3, 5))),
            "gram_early": (("lens", "layer", "head", "pair"), np.zeros((2, 2, 3, 15))),
        },
        coords={"query": range(4), "lens": ["log", "probability"]},
        attrs={"kind": ["full", "sliding"], "length": 8},
    )
    for arm in ("0042/1e5/standard/bos", "0042/1e5/ntk/bos", "None/a/standard/bos"):
        path = root / "components" / arm
        path.parent.mkdir(parents=True, exist_ok=True)
        save_dataset(store, Path(f"{path}.zarr"), Path(f"{path}.manifest.json"))
    return root


def test_tables_are_frames_with_names_as_text(folder):
    tables = abspos.open_results(str(folder)).tables
    assert list(tables) == ["claims", "energies"]
    row = tables["claims"].iloc[0]
    assert (row["model"], row["note"], row["energy"]) == ("0042", "nan", 0.1)
    assert len(tables) == 2


def test_a_table_that_is_not_there_is_told_with_those_that_are(folder):
    with pytest.raises(KeyError, match="no such table, there are claims, energies; did you mean"):
        abspos.open_results(folder).tables["energie"]


def test_stores_are_listed_and_opened_lazily(folder):
    results = abspos.open_results(folder)
    assert results.stores["model"].tolist() == ["0042", "0042", "None"]
    found = results.components("None")
    assert found["residual"].dims == ("layer", "head", "query", "offset")
    assert not found["residual"].variable._in_memory
    assert found["residual"].attrs["units"] == "nats"
    assert found["kind"].sel(layer=1) == "sliding"
    assert found["gram_early"].sel(lens="log").sizes == {"layer": 2, "head": 3, "pair": 15}
    for name in ("layer", "head", "input", "offset"):
        np.testing.assert_array_equal(found[name], range(found.sizes[name]))
    xr.testing.assert_identical(found, abspos.load_components(results.stores["path"][2]))
    assert results.components("0042", "1e5", "ntk", "bos")["residual"].shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ({}, "2 of 3 stores fit"),
        ({"variant": "window"}, "0 of 3 stores fit: 0042/1e5/ntk/bos, 0042/1e5/standard/bos"),
    ],
)
def test_an_arm_that_is_not_one_store_is_told(folder, arm, told):
    with pytest.raises(KeyError, match=told):
        abspos.open_results(folder).components(**arm)


def test_a_results_object_says_what_is_in_it(folder):
    assert repr(abspos.open_results(folder)) == (
        f"<results of {folder}: <tables: claims, energies>, 3 component stores>"
    )


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_folder_without_results_is_refused(tmp_path, where):
    with pytest.raises(FileNotFoundError, match="give the results/<study> of a finished study"):
        abspos.open_results(tmp_path / where)


def test_a_store_that_is_missing_or_altered_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such store"):
        abspos.load_components(tmp_path / "bos.zarr")
    path = folder / "components/0042/1e5/ntk/bos.zarr"
    abspos.load_components(path, check=True)
    chunk = next(p for p in path.rglob("residual/c/*") if p.is_file() or any(p.iterdir()))
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(StoreError, match="altered"):
            abspos.load_components(path, check=True)
    finally:
        chunk.write_bytes(content)


def test_public_names_are_where_the_stub_says():
    stub = Path(abspos.__file__).with_suffix(".pyi").read_text()
    names = [line.split()[-1] for line in stub.splitlines() if line.startswith("from")]
    assert {*dir(abspos)} == {*names, "__version__"} - {"Results"}
    for name in names:
        module = next(x for x in stub.splitlines() if x.endswith(f" as {name}")).split()[1]
        if name != "Results":
            assert getattr(abspos, name).__module__ == module
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        abspos.nothing  # noqa: B018
