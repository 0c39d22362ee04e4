"""A finished study, for reading: its tables as data frames, its stores lazily.

Nothing here needs what the workflow needs. Source of names and columns: docs/files.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from abspos.csv_tables import read_csv
from abspos.study.nearest import nearest

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@dataclass(frozen=True)
class Tables(Mapping[str, "pd.DataFrame"]):
    """Tables of a study by name, each read when it is looked up.

    Names of models, revisions, arms and the like are text whatever they look like; numbers are
    float64 or int64, NaN where a cell is empty.

    Attributes:
        files: CSV file of each table.
    """

    files: Mapping[str, Path]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table.

        Raises:
            KeyError: there is no such table; names the ones there are.
        """
        if name not in self.files:
            near = nearest(name, self.files)
            meant = f"; did you mean {near!r}?" if near else ""
            raise KeyError(f"{name!r}: no such table, there are {', '.join(self.files)}{meant}")
        return read_csv(self.files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"<tables: {', '.join(self.files)}>"


@dataclass(frozen=True)
class Results:
    """What a study wrote.

    Attributes:
        folder: results/<study>.
        tables: its tables by name, ``claims``, ``energies``, ``sinks`` and so on.
    """

    folder: Path
    tables: Tables

    @property
    def stores(self) -> pd.DataFrame:
        """Component stores: model, revision, variant, condition, and the path of each."""
        import pandas as pd

        columns = ("model", "revision", "variant", "condition", "path")
        root = self.folder / "components"
        found = sorted(root.glob("*/*/*/*.zarr"))
        rows = [(*p.relative_to(root).with_suffix("").parts, str(p)) for p in found]
        return pd.DataFrame(rows, columns=columns, dtype=str)

    def components(
        self,
        model: str | None = None,
        revision: str | None = None,
        variant: str = "standard",
        condition: str = "bos",
    ) -> xr.Dataset:
        """The component store of one run, opened by `load_components`.

        Args:
            model: its name; may be left out where the study has one.
            revision: of the model; may be left out where the study has one.
            variant: of the architecture.
            condition: of position 0.

        Raises:
            KeyError: no store, or several, fit; names the arms there are.
        """
        asked = {"model": model, "revision": revision, "variant": variant, "condition": condition}
        known = {name: value for name, value in asked.items() if value is not None}
        stores = self.stores
        fit = stores[np.all([stores[name] == value for name, value in known.items()], axis=0)]
        if len(fit) != 1:
            runs = ["/".join(row[:4]) for row in stores.itertuples(index=False)]
            raise KeyError(f"{known}: {len(fit)} of {len(runs)} stores fit: {', '.join(runs)}")
        return load_components(fit["path"].item())

    def __repr__(self) -> str:
        return f"<results of {self.folder}: {self.tables!r}, {len(self.stores)} component stores>"


def open_results(folder: str | Path) -> Results:
    """A finished study, for reading.

        results = abspos.open_results("results/default")
        results.tables["claims"]
        results.components(variant="ntk")

    Args:
        folder: results/<study>.

    Raises:
        FileNotFoundError: the folder is missing or holds no tables.

    `abspos verify` compares all files with the ledger; this does not.
    """
    folder = Path(folder)
    files = {p.stem: p for p in (*folder.glob("*.csv"), *sorted(folder.glob("statistics/*.csv")))}
    if not files:
        what = "no tables in it" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"{folder}: {what}; give the results/<study> of a finished study")
    return Results(folder, Tables(files))


def load_components(store: str | Path, *, check: bool = False) -> xr.Dataset:
    """A component store, opened lazily.

    Args:
        store: results/<study>/components/<model>/<revision>/<variant>/<condition>.zarr.
        check: whether its files are compared with its manifest first, which reads all of them.

    Returns:
        Gram matrices and mean fields by layer and head, as
        `abspos.components.store.decompose_run` describes them, with the numbers of layers, heads,
        inputs and offsets, and the ``kind`` of each layer, as coordinates.

    Raises:
        FileNotFoundError: no such store.
        StoreError: it cannot be read, or with ``check`` differs from its manifest.
    """
    from abspos.arrays import open_dataset
    from abspos.components.labelled import FIELDS, describe

    path = Path(store)
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such store; `open_results(...).stores` lists them")
    dataset = open_dataset(path, path.with_suffix(".manifest.json") if check else None)
    axes = [n for n in ("layer", "head", "input", "offset") if n in dataset.sizes]
    dataset = dataset.assign_coords({n: np.arange(dataset.sizes[n]) for n in axes})
    if "kind" in dataset.attrs:
        dataset = dataset.assign_coords(kind=("layer", dataset.attrs["kind"]))
    for name, (meaning, lens, units) in FIELDS.items():
        if name in dataset:
            dataset[name].attrs |= {"long_name": meaning, "lens": lens, "units": units}
    describe(dataset)
    return dataset
