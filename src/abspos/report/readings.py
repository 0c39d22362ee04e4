"""What the readings of the residual-stream component say together, in words.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from abspos.claims import verdicts
from abspos.claims.registry import statements
from abspos.report.sentences import Shown, weakest

R = "the residual-stream component"


def readings_sentence(claims: pd.DataFrame) -> str:
    """What the readings of the residual-stream component say together; empty with one reading.

    Args:
        claims: of one model, with the column ``reading``.
    """
    if "reading" not in claims or claims["reading"].replace("", pd.NA).dropna().nunique() < 2:
        return ""
    rows = pd.DataFrame(deciding_readings(claims), columns=claims.columns)
    apart = []
    for claim in [name for name in statements() if name in set(rows["claim"])]:
        of_claim = rows[rows["claim"] == claim].groupby("reading", sort=False)
        by_reading = {str(name): weakest(part) for name, part in of_claim}
        if len(set(by_reading.values())) > 1:
            listed = ", ".join(f"{name} {verdict}" for name, verdict in by_reading.items())
            apart.append(f"{claim} ({listed})")
    if not apart:
        return f"The readings of {R} agree on every claim."
    return f"The readings of {R} disagree on {'; '.join(apart)}."


def by_readings(claims: pd.DataFrame) -> str:
    """What two changes remove of R and of its pattern, side by side; empty where one is missing.

    Args:
        claims: of one model, with the column ``reading``.
    """
    if "reading" not in claims:
        return ""
    rows = {
        (row["claim"], row["reading"]): row
        for row in deciding_readings(claims)
        if row["lens"] == "log"
    }
    names = {
        "bos-swap": (f"{R} (R)", "its pattern over the keys other than position 0"),
        "ntk-suppresses": ("R", "the pattern"),
    }
    keys = {(claim, reading) for claim in names for reading in ("R", "pattern")}
    if not keys <= set(rows):
        return ""
    swap, ntk = (
        " and ".join(
            removed(rows[claim, name], what)
            for name, what in zip(("R", "pattern"), whats, strict=True)
        )
        for claim, whats in names.items()
    )
    return f"Another token in place of BOS {swap}; NTK scaling {ntk}."


def removed(row: Mapping[Any, Any], what: str) -> str:
    """What a change removes of something, or adds to it, in per cent."""
    return f"{Shown(row):of} {what}"


def deciding_readings(claims: pd.DataFrame) -> list[dict[Any, Any]]:
    """The numbers that decide each claim, in every reading."""
    keys = ["claim", "arms", "number", "lens", "summary"]
    read = claims["reading"].notna() & claims["reading"].ne("")
    primary = claims[claims["primary"].astype(bool) & read]
    rows = claims.merge(primary[keys].drop_duplicates(), on=keys)
    return rows[rows["verdict"].isin(verdicts.VERDICTS)].to_dict("records")
