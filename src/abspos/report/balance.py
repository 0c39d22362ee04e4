"""The balance over the anchor as a section of docs/studies.md.

    python -m abspos.report.balance results/long

Its sentences are those of the report (abspos.report.in_words). No number in it is typed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.csv_tables import read_csv
from abspos.report.in_words import SENTENCES
from abspos.report.results import circumstances, command, markdown_table
from abspos.report.sentences import Shown


def sentences(balance: pd.DataFrame) -> list[str]:
    """What the report states about the balance of one model.

    Args:
        balance: as in balance.csv.
    """
    own = [one for one in SENTENCES if one.number == "balance"]
    return [text for one in own if (text := one.stated({"balance": balance}))]


def table(balance: pd.DataFrame) -> str:
    """The balance in the log lens: a row an anchor, a column a variant.

    Args:
        balance: as in balance.csv, of one model under one condition.
    """
    rows = balance[balance["lens"] == "log"]
    cells = rows.assign(text=[shown(row) for row in rows.to_dict("records")])
    wide = cells.pivot_table("text", "anchor", "variant", aggfunc="first", sort=False)
    numbers = rows.groupby("variant", sort=False)["n_inputs"].first()
    head = [f"{name}, N = {numbers[name]}" for name in wide.columns]
    return markdown_table(["anchor", *head], wide.reset_index().to_numpy().tolist())


def shown(row: Mapping[Any, Any]) -> str:
    """A balance with its interval, in per cent."""
    return f"{Shown(row, 'balance'):%}"


def section(folder: Path) -> str:
    """The section.

    Args:
        folder: ``results/<study>``, of one model under one condition.
    """
    balance, made = read_csv(folder / "statistics" / "balance.csv"), circumstances(folder)
    said = "\n".join(f"- {text}" for text in sentences(balance))
    return f"""## The balance over the anchor

    .venv/bin/{command(folder)}

Made by `python -m abspos.report.balance {folder.as_posix()}`; run on {made["date"]},
{made["machine"]}, torch {made["torch"]}.
The table has R / (R + mask) for early queries: log lens, median head, 95 % intervals over inputs.
At one anchor it differs between lengths, because the reference queries differ.

{said}

![Share of the residual stream by anchor](figures/balance.svg)

{table(balance)}
"""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m abspos.report.balance results/<study>")
    sys.stdout.write(section(Path(sys.argv[1])))
