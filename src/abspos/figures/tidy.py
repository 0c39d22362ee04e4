"""Rows of tidy tables: which a figure shows, and what its note says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from abspos.claims.names import as_text

MOST_REVISIONS = 5  # of a model that have a part each in a figure
MOST_RUNS = 8  # of all models, beyond which each has its last revision alone
RUN = ["model", "revision"]


def of(table: pd.DataFrame, run: tuple[str, str] | None = None, **wanted: Any) -> pd.DataFrame:
    """Rows of a table by run and column values; a table without such a column has no such rows."""
    if run is not None:
        wanted = {"model": run[0], "revision": run[1]} | wanted
    for column, value in wanted.items():
        if column not in table:
            return table.iloc[:0]
        table = table[table[column] == value]
    return table


def base(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Rows under bos, and under no-bos of models that have no arm with bos."""
    if "condition" not in table or table.empty:
        return table.iloc[:0]
    with_bos = (table["condition"] == "bos").groupby([table["model"], table["revision"]])
    chosen = with_bos.transform("any").map({True: "bos", False: "no-bos"})
    return of(table[table["condition"] == chosen], **wanted)


def by_kind(table: pd.DataFrame) -> pd.DataFrame:
    """A table in which each kind of layers of a hybrid stands as a model of its own.

    Rows over layers of several kinds decide nothing and go; those that no summary over layers
    makes, such as losses, stand with every kind.
    """
    if "kind" not in table:
        return table
    kinds = as_text(table["kind"])
    mixed = kinds.str.contains("+", regex=False)
    several = table[kinds.ne("")].groupby(RUN)["kind"].nunique()
    hybrid = {
        *several[several > 1].index,
        *table.loc[mixed, RUN].itertuples(index=False, name=None),
    }
    if not hybrid:
        return table
    shared = table[mixed & (as_text(table.get("summary", pd.Series("", table.index))) == "")]
    own = table[~mixed]
    parts = [own]
    for run, rows in shared.groupby(RUN, sort=False):
        model, revision = map(str, run)
        for kind in dict.fromkeys(of(own, (model, revision))["kind"].dropna().astype(str)):
            parts.append(rows.assign(kind=kind))
    found = pd.concat(parts).sort_index(kind="stable")
    pairs = zip(found["model"], found["revision"], as_text(found["kind"]), strict=True)
    named = [f"{m} ({k})" if (m, r) in hybrid and k else m for m, r, k in pairs]
    return found.assign(model=named)


class Runs(list[tuple[str, str]]):
    """(model, revision) of each part of a figure.

    Attributes:
        left_out: how many more there are, which the figure has no room for.
    """

    left_out = 0


def runs(*tables: pd.DataFrame) -> Runs:
    """(model, revision) of each part of a figure of some tables, so few that they can be told apart
    and the figure does not grow with every revision (see revisions)."""
    found = revisions(*tables)
    return found if len(found) <= MOST_RUNS else last_of_each(found)


def revisions(*tables: pd.DataFrame) -> Runs:
    """(model, revision) of some tables, in order of appearance; one dummy if there is none.

    A model with more than MOST_REVISIONS keeps the first, the last, and some evenly between.
    """
    found: dict[tuple[str, str], None] = {}
    for table in tables:
        if set(RUN) <= set(table.columns):
            pairs = zip(table["model"].astype(str), table["revision"].astype(str), strict=True)
            found |= dict.fromkeys(pairs)
    models = dict.fromkeys(model for model, _ in found)
    shown = Runs(run for model in models for run in few([r for r in found if r[0] == model]))
    shown.left_out = len(found) - len(shown)
    return shown if shown else Runs([("no model", "-")])


def last_of_each(found: Runs) -> Runs:
    """The last revision of each model."""
    shown = Runs({model: (model, revision) for model, revision in found}.values())
    shown.left_out = found.left_out + len(found) - len(shown)
    return shown


def few(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most MOST_REVISIONS of them: the first, the last, and others evenly between."""
    places = np.linspace(0, len(found) - 1, min(len(found), MOST_REVISIONS))
    return [found[round(place)] for place in places]


def left_out(found: Sequence[tuple[str, str]]) -> str:
    """Note about revisions that a figure leaves out; empty if it shows all."""
    number = getattr(found, "left_out", 0)
    return f"; {number} further revisions are only in the tables" * bool(number)


def short(revision: str) -> str:
    """A revision as figures show it: commits by their first eight digits, names whole."""
    text = str(revision)
    commit = len(text) >= 12 and set(text.lower()) <= set("0123456789abcdef")
    return text[:8] if commit else text


def title(model: str, revision: str) -> str:
    """Model and short revision, and below them the kind of layers that by_kind added."""
    name, _, kind = model.partition(" (")
    return f"{name} @ {short(revision)}" + (f"\n({kind}" if kind else "")


def inputs(*tables: pd.DataFrame) -> str:
    """N of the rows that are shown, as text."""
    columns = [t["n_inputs"] for t in tables if "n_inputs" in t]
    numbers = pd.concat(columns).dropna() if columns else pd.Series(dtype=float)
    if numbers.empty:
        return "N unknown"
    low, high = int(numbers.min()), int(numbers.max())
    return f"N = {high} inputs" if low == high else f"N = {low} to {high} inputs"


def under(rows: pd.DataFrame) -> str:
    """The condition that rows of ``base`` are under, as text."""
    without = sorted(set(rows[rows["condition"] == "no-bos"]["model"])) if len(rows) else []
    names = ", ".join(without)
    return f"condition bos (no-bos: {names})" if without else "condition bos"


def pooled(rows: pd.DataFrame) -> str:
    """Note about means over layers of several kinds; empty without such means."""
    kinds = rows.get("kind", pd.Series(dtype=str)).astype(str)
    mixed = sorted(set(kinds[kinds.str.contains("+", regex=False)]))
    return f"; means over layers of several kinds: {', '.join(mixed)}" if mixed else ""


def hybrid_sliding(rows: pd.DataFrame) -> list[int]:
    """Sliding layers of variants that have layers of other kinds too."""
    if "kind" not in rows or rows.empty:
        return []
    several = rows.groupby("variant")["kind"].transform("nunique") > 1
    return sorted(set(rows[several & rows["kind"].str.startswith("sliding")]["layer"]))
