"""Aggregation across inputs: the tables of one model, and of all models together.

Those of a single arm are made in abspos.statistics.arm_tables. Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from abspos.arrays import open_dataset
from abspos.csv_tables import read_csv, write_csv
from abspos.progress import progress
from abspos.statistics.arm_tables import ArmTables
from abspos.statistics.controls import controls
from abspos.statistics.factorial import factorial
from abspos.statistics.fingerprint import COLUMNS as FINGERPRINT
from abspos.statistics.fingerprint import fingerprint
from abspos.statistics.store import Arm, among, first, save_replicates
from abspos.study.conditions import BESIDE_EFFECTS, SUBSTITUTES, arms_of


def tabulate(
    stores: Sequence[Path],
    manifests: Sequence[Path],
    replicates: Path,
    replicates_manifest: Path,
    *,
    arms: Sequence[tuple[str, str]],
    model: str,
    revision: str,
    confidence: float,
    sign_flips: int,
    seed: int,
    threads: int,
) -> None:
    """Write all tables of one model and revision, and its replicates for the claims.

    Args:
        stores: component stores, one per arm, and their manifests.
        replicates: store of replicates (see abspos.statistics.store), and its manifest. The
            tables go beside it, each a CSV: those of abspos.statistics.arm_tables.ArmTables,
            controls and factorial.
        arms: (variant, condition) of each store.
        model: its name; the tables' first column.
        revision: of the model; the tables' second column.
        confidence: level of the intervals.
        sign_flips: of each test.
        seed: of the signs.
        threads: arms computed at the same time.

    Raises:
        StoreError: a store is missing or altered.
        ValueError: a control that must do nothing did something.
    """
    keys = {"model": model, "revision": revision}
    opened = {
        Arm(*arm): open_dataset(store, manifest)
        for arm, store, manifest in zip(arms, stores, manifests, strict=True)
    }

    def one(arm: Arm) -> ArmTables:
        return ArmTables(opened[arm], keys | arm._asdict(), confidence, sign_flips, seed)

    # One team of threads: with BLAS's own beside it, they would take the cores from each other.
    with threadpool_limits(1), ThreadPoolExecutor(max_workers=threads) as pool:
        label = f"{model} {revision}: statistics"
        done = list(progress(pool.map(one, opened), len(opened), label, "arms"))
    tables = {
        name: pd.concat([arm.tables[name] for arm in done], ignore_index=True)
        for name in done[0].tables
    }
    by_names: dict[tuple[str, str], xr.Dataset] = dict(opened.items())
    tables["controls"] = controls(by_names, tables["energies"], keys)
    tables["factorial"] = factorial(by_names, keys, confidence)
    tables["fingerprint"] = fingerprint(by_names, confidence, seed).assign(**keys)[FINGERPRINT]
    replicated = {
        arm: own.for_claims(parts_of(arm, opened)) for arm, own in zip(opened, done, strict=True)
    }
    folder = Path(replicates).parent
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
    save_replicates(replicated, replicates, replicates_manifest)


def parts_of(arm: Arm, opened: Mapping[Arm, xr.Dataset]) -> dict[str, list[int]]:
    """Inputs of the arms that have some of them and compare with an arm, by the bin on them: those
    with chosen heads with bos and the first token, controls beside effects with bos.

    Args:
        arm: any.
        opened: component stores by arm.
    """
    if arm.condition not in ("bos", arms_of("swap-token", 1)[0]):
        return {}
    own, found = opened[arm].sizes["input"], {}
    for other, store in opened.items():
        numbers = list(store.attrs["numbers"])
        if other.variant != arm.variant or max(numbers) >= own:
            continue
        if other.condition in SUBSTITUTES:
            found[among(len(numbers))] = numbers
        elif arm.condition == "bos" and other.condition in BESIDE_EFFECTS and len(numbers) < own:
            found[first(len(numbers))] = numbers
    return found


def join(parts: Sequence[Path], joined: Sequence[Path]) -> None:
    """Join each table over models and revisions.

    Args:
        parts: tables of single models, in the order of models.
        joined: one file for each table, by the same file name.
    """
    for out in joined:
        same = [part for part in parts if Path(part).name == Path(out).name]
        write_csv(pd.concat([read_csv(part) for part in same], ignore_index=True), Path(out))
