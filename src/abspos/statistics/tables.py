"""Statistical aggregation across inputs: the tables of one model, and of all models together.

Those of a single arm are made in abspos.statistics.arm_tables. Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from abspos.arrays import open_dataset, save_dataset
from abspos.csv_tables import read_csv, write_csv
from abspos.progress import progress
from abspos.statistics.arm_tables import ArmTables
from abspos.statistics.controls import controls
from abspos.statistics.store import slots_dataset
from abspos.study.conditions import EXCHANGES

Arm = tuple[str, str]


def tabulate(
    stores: Sequence[Path],
    manifests: Sequence[Path],
    replicates: Path,
    replicates_manifest: Path,
    *,
    arms: Sequence[Arm],
    model: str,
    revision: str,
    confidence: float,
    sign_flips: int,
    seed: int,
    threads: int,
) -> None:
    """Write all tables of one model and revision, and its slots for the claims.

    Args:
        stores: component stores, one per arm, and their manifests.
        replicates: store of slots, by arm and bin (pair, layer, head, slot), and its manifest. The
            tables go beside it: energies, layers, summary, profile, sinks, sink_share,
            position0, states, balance, loss and controls, each a CSV.
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
        (variant, condition): open_dataset(store, manifest)
        for (variant, condition), store, manifest in zip(arms, stores, manifests, strict=True)
    }

    def one(arm: Arm) -> ArmTables:
        named = {**keys, "variant": arm[0], "condition": arm[1]}
        return ArmTables(opened[arm], named, confidence, sign_flips, seed)

    # One team of threads: with BLAS's own beside it, they would take the cores from each other.
    with threadpool_limits(1), ThreadPoolExecutor(max_workers=threads) as pool:
        label = f"{model} {revision}: statistics"
        done = list(progress(pool.map(one, opened), len(opened), label, "arms"))
    tables = {
        name: pd.concat([arm.tables[name] for arm in done], ignore_index=True)
        for name in done[0].tables
    }
    tables["controls"] = controls(opened, tables["energies"], keys)
    folder = Path(replicates).parent
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
    most = max(arm.number for arm in done)
    exchanges = any(condition in EXCHANGES for _, condition in opened)
    arms_done = (
        (":".join(name), arm.store, arm.all_slots(exchanges and arm.number == most), arm.p_values)
        for name, arm in zip(opened, done, strict=True)
    )
    save_dataset(slots_dataset(arms_done), replicates, replicates_manifest)


def join(parts: Sequence[Path], joined: Sequence[Path]) -> None:
    """Join each table over models and revisions.

    Args:
        parts: tables of single models, in the order of models.
        joined: one file for each table, by the same file name.
    """
    for out in joined:
        same = [part for part in parts if Path(part).name == Path(out).name]
        write_csv(pd.concat([read_csv(part) for part in same], ignore_index=True), Path(out))
