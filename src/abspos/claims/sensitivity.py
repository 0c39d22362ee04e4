"""Published verdicts compared with those under other choices, and their flips.

Source: docs/method.md, section 5 (sensitivity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from abspos.claims.names import as_text
from abspos.claims.verdicts import NOT_TESTABLE
from abspos.csv_tables import read_csv, write_csv
from abspos.study.conditions import split

#: What a number of a claim is known by, in whatever study.
KEY = ["claim", "model", "revision", "arms", "number", "lens", "reading", "kind"]
#: What becomes of a verdict under another choice.
SAME, FLIPS, TOO_FEW, UNTESTED = "same", "flips", "too few inputs", "not testable"

COLUMNS = [
    *KEY,
    "choice",
    "estimate",
    "ci_low",
    "ci_high",
    "n_inputs",
    "verdict",
    "published",
    "published_estimate",
    "change",
]


def tokens_as_one(arms: str) -> str:
    """Arms as text with the listed tokens as one, since studies may list more or fewer of them."""

    def joined(side: str) -> str:
        named = [arm.rpartition("/") for arm in side.split(", ")]
        return ", ".join(dict.fromkeys(head + slash + split(arm)[0] for head, slash, arm in named))

    return " vs ".join(map(joined, arms.split(" vs ")))


def deciding(claims: pd.DataFrame) -> pd.DataFrame:
    """Measured numbers that decide a claim, in every lens and reading, with the median head."""
    measured = claims[claims["ci_low"].notna() & claims["verdict"].notna()]
    whose = ["claim", "model", "revision", "arms", "number", "summary", "kind"]
    primary = measured.loc[measured["primary"].astype(bool), whose].astype(str)
    chosen = set(primary.itertuples(index=False, name=None))
    keys = measured[whose].astype(str).itertuples(index=False, name=None)
    # An array: an empty list would choose no columns instead of no rows.
    return measured[np.array([key in chosen for key in keys], dtype=bool)]


def change(published: Mapping[Any, Any], other: Mapping[Any, Any]) -> str:
    """Change of a published verdict under another choice.

    A different verdict from fewer inputs whose interval covers the published estimate means
    too few inputs; any other different verdict is a flip.
    """
    if other["verdict"] == published["verdict"]:
        return SAME
    if other["verdict"] == NOT_TESTABLE:
        return UNTESTED
    fewer = other["n_inputs"] < published["n_inputs"]
    holds = other["ci_low"] <= published["estimate"] <= other["ci_high"]
    return TOO_FEW if fewer and holds else FLIPS


def verdict_changes(
    claims: pd.DataFrame, choices: pd.DataFrame, others: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """The table: one row a deciding number, lens and choice.

    Args:
        claims: the study's claim table.
        choices: rows under choices that need no other study (see abspos.claims.choices).
        others: claim tables of studies that made another choice, by its name.
    """
    base = deciding(claims)
    found = [choices.assign(summary="median")]
    found += [
        table[table["summary"] != "mean"].assign(choice=name) for name, table in others.items()
    ]
    rows = pd.concat([known(frame) for frame in found], ignore_index=True)
    joined = known(base).merge(rows, on=KEY, suffixes=("_base", ""))
    joined = joined[joined["verdict"].notna()]
    fields = ("estimate", "ci_low", "ci_high", "n_inputs", "verdict")
    joined["published"] = joined["verdict_base"]
    joined["published_estimate"] = joined["estimate_base"]
    joined["change"] = [
        change({k: row[f"{k}_base"] for k in fields}, row) for row in joined.to_dict("records")
    ]
    return joined.reindex(columns=COLUMNS)


def known(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with their key columns as strings."""
    text = rows.assign(**{name: as_text(rows[name]) for name in KEY})
    return text.assign(arms=text["arms"].map(tokens_as_one)).drop(columns="summary")


def fragile(claims: pd.DataFrame, sensitivity: pd.DataFrame) -> pd.DataFrame:
    """The claim table with a column ``fragile``: choices under which a row's verdict flips."""
    flips = sensitivity[sensitivity["change"] == FLIPS]
    flips = flips.assign(**{name: as_text(flips[name]) for name in KEY})
    by_key = {tuple(map(str, key)): ", ".join(rows["choice"]) for key, rows in flips.groupby(KEY)}
    keys = known(claims)[KEY].itertuples(index=False, name=None)
    found = [by_key.get(tuple(key), "") for key in keys]
    decides = claims.index.isin(deciding(claims).index)
    return claims.assign(fragile=[f if d else "" for f, d in zip(found, decides, strict=True)])


def collect(
    claims: Path, choices: Sequence[Path], others: Sequence[Path], table: Path, *, study: str
) -> None:
    """Write the sensitivity table of a study.

    Args:
        claims: its claims.csv.
        choices: rows under choices that need no other study, one file per model and revision.
        others: claims.csv of studies named ``<study>.<choice>``.
        table: where to write.
        study: its name.
    """
    own = pd.concat([read_csv(path) for path in choices], ignore_index=True)
    named = {Path(p).parent.name.removeprefix(f"{study}."): read_csv(p) for p in others}
    write_csv(verdict_changes(read_csv(claims), own, named), Path(table))
