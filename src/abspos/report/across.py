"""Claims across architectures as every page shows them.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from abspos.claims import verdicts
from abspos.claims.names import as_text
from abspos.report.numbers import estimate

#: What the comparison is, beside what natural models can show.
ABOUT = (
    "Models that were trained alike, from the same weights on the same texts, each under one "
    "architecture. They are compared with the control, which was trained without a change, at the "
    "same step and on the same inputs. They differ in nothing else but the chance in training, of "
    "which one run of each shows nothing; models that others trained differ in more, and a "
    "difference between them is descriptive."
)
#: What identifies a line, whose columns are steps.
LINE = ["model", "claim", "number", "arms"]


def by_step(found: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The numbers that decide each claim across architectures: a line each, a column a step.

    Args:
        found: architectures.csv.

    Returns:
        Head and rows of a table; empty rows where nothing was trained alike.
    """
    rows = found[found["primary"].astype(bool) & found["verdict"].isin(verdicts.VERDICTS)]
    rows = rows.assign(
        text=[shown(row) for row in rows.to_dict("records")],
        **{name: as_text(rows[name]) for name in LINE},
    )
    several = rows["model"].nunique() > 1
    line = LINE if several else LINE[1:]
    steps = list(dict.fromkeys(rows["revision"]))
    head = [*line, *steps, "N", "runs"]
    table = []
    for key, own in rows.groupby(line, sort=False):
        texts = dict(zip(own["revision"], own["text"], strict=False))
        counts = [counted(own[name]) for name in ("n_inputs", "n_runs")]
        table.append([*map(str, key), *(texts.get(step, "") for step in steps), *counts])
    return head, table


def shown(row: Mapping[Any, Any]) -> str:
    """A number with its interval and its verdict; of one that is not testable, why."""
    number = estimate(row)
    verdict = f"{row['verdict']} (preliminary)" if row["preliminary"] else row["verdict"]
    return f"{verdict}: {number}" if number else f"{verdict}: {row['note']}"


def counted(column: pd.Series) -> str:
    """The numbers in a column: one, or the smallest and the largest."""
    numbers = sorted({int(x) for x in column.dropna()})
    return "-".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))) if numbers else ""
