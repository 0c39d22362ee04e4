"""Data of the table of energies on a study's page: one row per head, arm, lens and component."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from abspos.figures import tidy
from abspos.report.heads import rounded

ARM = ["model", "revision", "variant", "condition"]


def early_energies(energies: pd.DataFrame | None, most: int) -> tuple[str, int, int]:
    """Early energies of all arms, or of as many as there is room for, in the table's order.

    Args:
        energies: energies.csv, if there is one.
        most: bytes of all rows.

    Returns:
        A JSON list of blocks, one per arm, lens and component, with values of all heads layer by
        layer; how many arms it holds, and how many there are.
    """
    if energies is None or energies.empty:
        return "[]", 0, 0
    early = tidy.of(energies, bin="early")
    arms = early.groupby(ARM, sort=False, observed=True)
    texts: list[str] = []
    held, size = 0, 0
    for arm, rows in arms:
        own = [
            as_json(block(arm, part)) for _, part in rows.groupby(["lens", "component"], sort=False)
        ]
        size += sum(map(len, own))
        if size > most:
            break
        texts += own
        held += 1
    return f"[{','.join(texts)}]", held, arms.ngroups


def block(arm: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Energies of one arm, lens and component."""
    model, revision, variant, condition = arm
    first = rows.iloc[0]
    return {
        "model": f"{model} @ {tidy.short(revision)}",
        "arm": f"{variant}/{condition}",
        "lens": first["lens"],
        "component": first["component"],
        "heads": int(rows["head"].max()) + 1,
        "kinds": rows.drop_duplicates("layer")["kind"].astype(str).tolist(),
        "energy": rounded(rows["energy"]),
        "low": rounded(rows["ci_low"]),
        "high": rounded(rows["ci_high"]),
        "p": rounded(rows["p_adjusted"]),
    }


def as_json(data: Mapping[str, Any]) -> str:
    """JSON that may stand inside a script element: no end tag in it, no spaces."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
