"""Sentences that state a result, each with the rows of the tables that carry it.

A sentence is printed only if its condition is true of those rows, so that none outlives its
numbers. The sentences themselves are in abspos.report.in_words.
Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

import pandas as pd

from abspos.claims import verdicts

#: Tables of one model and revision, by name.
Tables = Mapping[str, pd.DataFrame]


class Shown:
    """One row of a table, as sentences show it.

    ``{row:%}`` is its number with its interval in per cent, ``{row:-%}`` the same with the other
    sign, ``{row:n}`` to three digits; ``{row.note}`` is a column. Of a reduction, ``{row:by}`` is
    what it removes, or adds where it is negative, and ``{row:of}`` goes on to what.
    """

    def __init__(self, row: Mapping[Any, Any], number: str = "estimate") -> None:
        self.row, self.number = row, number

    def __getattr__(self, column: str) -> Any:
        try:
            return self.row[column]
        except KeyError:
            raise AttributeError(column) from None

    def __format__(self, form: str) -> str:
        values = [float(self.row[name]) for name in (self.number, "ci_low", "ci_high")]
        if form in ("by", "of"):
            adds = values[0] < 0
            verb, to = ("adds", " to") if adds else ("removes", " of")
            return f"{verb} {self:{'-%' if adds else '%'}}{to if form == 'of' else ''}"
        if form == "-%":
            values = [-values[0], -values[2], -values[1]]
        if form.endswith("%"):
            value, low, high = (f"{round(100 * x, 1) + 0:.1f}" for x in values)
            return f"{value} % [{low}, {high}]"
        value, low, high = (f"{x:.3g}" for x in values)
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Sentence:
    """One sentence.

    Attributes:
        text: with the names of ``rows`` as fields (see Shown).
        rows: which rows carry it, by name: each a choice from the tables. A field shows the first.
        holds: what must be true of these rows; they are never empty.
        number: the column that holds their numbers.
        always_r: whether it is of R on every model, whatever reading decides the claims.
    """

    text: str
    rows: Mapping[str, Callable[[Tables], pd.DataFrame]]
    holds: Callable[..., bool]
    number: str = "estimate"
    always_r: bool = False

    def stated(self, tables: Tables) -> str:
        """The sentence on these tables; empty if a row is missing or it does not hold."""
        found = {name: choose(tables) for name, choose in self.rows.items()}
        if any(part.empty for part in found.values()) or not self.holds(**found):
            return ""
        shown = {name: Shown(part.iloc[0].to_dict(), self.number) for name, part in found.items()}
        return self.text.format(**shown)


def chosen(table: str, **values: Any) -> Callable[[Tables], pd.DataFrame]:
    """Rows of a table with these values; ``*`` in a text stands for any other text."""

    def choose(tables: Tables) -> pd.DataFrame:
        rows = tables.get(table, pd.DataFrame(columns=list(values)))
        for column, value in values.items():
            if isinstance(value, str) and "*" in value:
                rows = rows[
                    rows[column].map(lambda text, of=value: fnmatchcase(str(text), of)).astype(bool)
                ]
            else:
                rows = rows[rows[column] == value]
        return rows

    return choose


def deciding(claim: str, **values: Any) -> Callable[[Tables], pd.DataFrame]:
    """The primary rows of a claim with a verdict."""
    rows = chosen("claims", claim=claim, primary=True, **values)

    def choose(tables: Tables) -> pd.DataFrame:
        found = rows(tables)
        return found[found["verdict"].isin(verdicts.VERDICTS)]

    return choose


def probability(claim: str) -> Callable[[Tables], pd.DataFrame]:
    """The deciding numbers of a claim in the probability lens."""
    keys = ["arms", "number", "summary", "reading"]

    def choose(tables: Tables) -> pd.DataFrame:
        found = deciding(claim)(tables)
        rows = chosen("claims", claim=claim, lens="probability")(tables)
        on = [key for key in keys if key in rows]
        return rows.merge(found[on], on=on)

    return choose


def factorial(effect: str) -> Callable[[Tables], pd.DataFrame]:
    """An effect of the shift pair on R, as a share of it: over layers, log lens, median head."""
    rows = chosen("factorial", component="residual", lens="log", summary="median", effect=effect)

    def choose(tables: Tables) -> pd.DataFrame:
        found = rows(tables)
        return found[found["layer"].isna()] if len(found) else found

    return choose


def beside_controls(condition: str) -> Callable[[Tables], pd.DataFrame]:
    """How far a condition moves R, in the table of effects beside their controls: the energy of the
    difference of the mean fields as a share of R's, log lens, median head."""
    return chosen(
        "controlled_effects",
        condition=condition,
        number="difference share",
        lens="log",
        summary="median",
        reading="R",
    )


def sorted_by_verdict(claim: str) -> Callable[[Tables], pd.DataFrame]:
    """The deciding rows of a claim, weakest first."""
    return lambda tables: deciding(claim)(tables).sort_values(
        "verdict", key=lambda column: column.map(verdicts.VERDICTS.index)
    )


def covering_forty(tables: Tables) -> pd.DataFrame:
    """Numbers of bos-swap that can be tested and whose intervals cover the claimed size."""
    rows = chosen("swaps")(tables)
    if rows.empty:
        return rows
    rows = rows[rows["verdict"] != verdicts.NOT_TESTABLE]
    return rows[(rows["ci_low"] <= verdicts.SWAP_SHARE) & (rows["ci_high"] >= verdicts.SWAP_SHARE)]


def weakest(rows: pd.DataFrame) -> str:
    """The weakest verdict of some rows."""
    return min(rows["verdict"], key=verdicts.VERDICTS.index)


def by_verdict(
    texts: Mapping[str, str], rows: Mapping[str, Callable[[Tables], pd.DataFrame]]
) -> list[Sentence]:
    """One sentence for each verdict of the deciding row, which is the first and must be one."""
    first = next(iter(rows))

    def held(verdict: str) -> Callable[..., bool]:
        return lambda **found: len(found[first]) == 1 and weakest(found[first]) == verdict

    return [Sentence(text, rows, held(verdict)) for verdict, text in texts.items()]


def exchanged(number: str, text: str) -> Iterator[Sentence]:
    """What an exchange in sink readers does beyond one in all other heads, in words by verdict.

    Args:
        number: of the claim sink-readers.
        text: with the fields ``how``, more or less, and ``by``, how much.
    """
    more = {"how": "more", "by": "the difference is {less:%}"}
    texts = {
        verdicts.REPRODUCED: more,
        verdicts.DIRECTION_ONLY: more,
        verdicts.OPPOSITE: {"how": "less", "by": "the difference is {less:-%}"},
        verdicts.ABSENT: {"how": "no more", "by": "the difference is {less:%}"},
        verdicts.INCONCLUSIVE: {"how": "perhaps more", "by": "the difference is {less:%}"},
    }
    rows = {"less": deciding("sink-readers", number=f"readers less others: {number}")}
    yield from by_verdict({verdict: text.format(**own) for verdict, own in texts.items()}, rows)


#: Where a balance lies: clear of one half, or with an interval that covers it.
ABOVE, LEVEL, BELOW = "above", "level", "below"


def over_anchors(variant: str) -> Callable[[Tables], pd.DataFrame]:
    """The balance of a variant over anchors, log lens, in their order.

    Under bos, or under no-bos for a model without BOS.
    """

    def choose(tables: Tables) -> pd.DataFrame:
        rows = chosen("balance", variant=variant, lens="log")(tables)
        for condition in ("bos", "no-bos"):
            under = rows[rows["condition"] == condition] if len(rows) else rows
            if len(under):
                return under.sort_values("anchor")
        return rows[:0]

    return choose


def balances(variant: str, *names: str) -> dict[str, Callable[[Tables], pd.DataFrame]]:
    """Rows of a variant's balance over anchors, by name: ``every`` in their order; and of these
    names, with the row that a sentence shows in front, ``least``, ``most`` and ``last``; ``above``,
    the last anchor above one half; ``level`` and ``below``, the first that is."""
    every = over_anchors(variant)
    ways: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "least": lambda rows: rows.sort_values("balance"),
        "most": lambda rows: rows.sort_values("balance", ascending=False),
        "last": lambda rows: rows[::-1],
        ABOVE: lambda rows: rows[sides(rows) == ABOVE][::-1],
        LEVEL: lambda rows: rows[sides(rows) == LEVEL],
        BELOW: lambda rows: rows[sides(rows) == BELOW],
    }

    def way(name: str) -> Callable[[Tables], pd.DataFrame]:
        def choose(tables: Tables) -> pd.DataFrame:
            rows = every(tables)
            return ways[name](rows) if len(rows) else rows

        return choose

    return {"every": every, **{name: way(name) for name in names}}


def sides(rows: pd.DataFrame) -> pd.Series:
    """Where each balance lies: above one half, level with it, or below."""
    found = pd.Series(LEVEL, rows.index)
    return found.mask(rows["ci_low"] > 0.5, ABOVE).mask(rows["ci_high"] < 0.5, BELOW)


def course(every: pd.DataFrame) -> tuple[str, ...]:
    """Where the balance lies as the anchor grows, each change once: above, then level, say."""
    return tuple(name for name, _ in groupby(sides(every)))
