"""Two runs of one study, number by number: identical, rounding, or different.

Altered bytes are for ``verify`` to find, by digests. This is for results that were made apart:
in two clones the bytes are the same; another number of threads, processor or library sums in
another order, and the numbers differ by rounding.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abspos.arrays import open_dataset
from abspos.audit.accounts import LOGS, UNLEDGERED
from abspos.audit.chain import load
from abspos.audit.ledger import FOLDER
from abspos.audit.seals import VARYING
from abspos.stores import StoreError, digest_files, file_digest, root_digest

Columns = Mapping[str, np.ndarray]

#: Largest rounding difference, as a share of the largest value of a column or array. Measured on
#: the default model: other vector instructions (SSE4.1 for AVX-512) move numbers by up to 2e-5 of
#: it, and ratios that amplify (the influence of single inputs) by 2e-4.
TOLERANCE = 1e-3

#: Probabilities are counted from random signs, in steps, and corrections multiply the steps (5e-4
#: seen): differences of up to ten times the tolerance count as rounding.
COUNTED = {"p_value": 10.0, "p_adjusted": 10.0}


@dataclass(frozen=True)
class Comparison:
    """How one file or store of two runs compares.

    Attributes:
        name: path below the study's folder.
        verdict: identical, rounding, may vary (figures, the front page), different, missing, or
            altered: not the bytes that its own ledger records, whatever the numbers are.
        detail: the largest difference, or where it lies.
    """

    name: str
    verdict: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<10} {self.name}" + (f": {self.detail}" if self.detail else "")


def compare(results: Path, other: Path, tolerance: float = TOLERANCE) -> list[Comparison]:
    """Compare all results of two runs of a study.

    Args:
        results: a folder ``results/<study>``.
        other: another one.
        tolerance: the largest difference that counts as rounding, as a share of the largest
            value of the same column or array.

    Returns:
        One line per table, component or input store, and figure; activations are not compared.
    """
    names = sorted({*_names(results), *_names(other)})
    recorded = [_recorded(results), _recorded(other)]
    return [_one(name, [results, other], recorded, tolerance) for name in names]


def _recorded(results: Path) -> dict[Path, str]:
    """Digest of each result in the ledger."""
    return {path: r.entry["digest"] for path, r in load(results, Path()).records.items()}


def _names(folder: Path) -> Iterator[str]:
    """Stores and files of a study that a second run makes too."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        store = next((p for p in (inside, *inside.parents) if p.suffix == ".zarr"), None)
        if inside.parts[0] in (*UNLEDGERED, LOGS, FOLDER, "activations"):
            continue
        if store is not None and inside != store:
            continue
        if (store or path.is_file()) and not path.name.endswith(".manifest.json"):
            yield inside.as_posix()


def _one(
    name: str, folders: Sequence[Path], recorded: Sequence[Mapping[Path, str]], tolerance: float
) -> Comparison:
    paths = [folder / name for folder in folders]
    for path, folder in zip(paths, folders, strict=True):
        if not path.exists():
            return Comparison(name, "missing", f"not in {folder}")
    try:
        digests = [_digest(path) for path in paths]
        for path, digest, ledger in zip(paths, digests, recorded, strict=True):
            if ledger.get(path, digest) != digest:
                return Comparison(name, "altered", f"{path} differs from its ledger entry")
        if digests[0] == digests[1]:
            return Comparison(name, "identical")
        read = {".zarr": _arrays, ".csv": _columns}.get(paths[0].suffix)
        if read:
            return Comparison(name, *_judge(read(paths[0]), read(paths[1]), tolerance))
    except (StoreError, OSError, ValueError) as error:
        return Comparison(name, "different", f"cannot be compared ({error})")
    varying = name.split("/")[0] in VARYING
    return Comparison(name, "may vary" if varying else "different", "bytes differ")


def _digest(path: Path) -> str:
    return root_digest(digest_files(path)) if path.is_dir() else file_digest(path)


def _arrays(store: Path) -> Columns:
    """Numbers of a store, and its labels as text."""
    dataset = open_dataset(store)
    return {str(name): np.asarray(array.values) for name, array in dataset.variables.items()}


def _columns(table: Path) -> Columns:
    """Columns of a table: numbers where all fields are numbers or empty, text otherwise."""
    with open(table, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = list(rows[0]) if rows else []
    return {name: _numbers([row[name] for row in rows]) for name in names}


def _numbers(fields: Iterable[str | None]) -> np.ndarray:
    texts = [field or "" for field in fields]
    try:
        return np.array([float(t) if t else np.nan for t in texts])
    except ValueError:
        return np.array(texts, dtype=object)


def _judge(one: Columns, two: Columns, tolerance: float) -> tuple[str, str]:
    """Verdict and detail for two sets of named arrays."""
    if one.keys() != two.keys():
        return "different", f"other columns: {', '.join(sorted(one.keys() ^ two.keys()))}"
    worst, where = 0.0, ""
    for name in one:
        a, b = one[name], two[name]
        if a.shape != b.shape:
            return "different", f"{name}: shape {a.shape} and {b.shape}"
        if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
            if not np.array_equal(a.astype(str), b.astype(str)):
                return "different", f"{name}: {_first(a.astype(str), b.astype(str))}"
            continue
        gap = distance(a, b, COUNTED.get(name))
        if gap > worst:
            worst, where = gap, name
    if worst > tolerance:
        return "different", f"{where}: {worst:.2g} of the largest value"
    return "rounding", f"{where}: up to {worst:.1g} of the largest value" if where else "form only"


def distance(a: np.ndarray, b: np.ndarray, scale: float | None = None) -> float:
    """Largest difference of two arrays as a share of their largest finite value (or ``scale``).

    Infinite where one has NaN or infinity and the other does not.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    finite = np.isfinite(a)
    same_holes = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not np.array_equal(finite, np.isfinite(b)) or not same_holes:
        return float("inf")
    gap = np.abs(a[finite] - b[finite]).max(initial=0.0)
    if gap == 0:
        return 0.0
    largest = scale or max(np.abs(a[finite]).max(), np.abs(b[finite]).max())
    return float(gap / largest)


def _first(a: np.ndarray, b: np.ndarray) -> str:
    """The first pair of texts that differ."""
    place = int(np.flatnonzero(a.ravel() != b.ravel())[0])
    return f"{str(a.ravel()[place])!r} and {str(b.ravel()[place])!r}"
