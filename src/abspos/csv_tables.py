"""CSV tables: one writer and one reader, so that names stay text and files are whole."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abspos.stores import write_atomically

if TYPE_CHECKING:
    import pandas as pd

#: Columns of names and labels. They stay text whatever they look like: a model may be called 0042,
#: a variant None, a swap token 1e5.
TEXT = frozenset(
    {
        *("model", "revision", "variant", "condition", "token", "repo", "commit", "gap", "source"),
        *("claim", "arms", "arm", "number", "lens", "summary", "claimed", "verdict", "published"),
        *("note", "choice", "change", "bin", "component", "part", "kind", "control", "check"),
        *("reading", "effect", "world", "quantity", "tails", "rope_type", "replacement", "role"),
        *("says", "fixed", "excludes_claimed", "members"),
    }
)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that it is whole or absent, with enough digits to be compared."""
    # Unquoted, a carriage return would end a row.
    returns = any("\r" in str(v) for name in TEXT.intersection(table) for v in table[name].unique())
    text = table.to_csv(
        index=False,
        float_format="%.9g",
        quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL,
    )
    write_atomically(path, text)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table of `write_csv`.

    Returns:
        Columns of TEXT as text, as they were written; token counts as whole numbers; NaN where a
        cell is empty.
    """
    import pandas as pd

    columns = list(pd.read_csv(path, nrows=0).columns)
    text = TEXT.intersection(columns)
    dtypes: dict[str, Any] = dict.fromkeys(text, str)
    if "tokens" in columns:
        dtypes["tokens"] = "Int64"
    return pd.read_csv(
        path,
        dtype=dtypes,
        keep_default_na=False,
        na_values={name: [""] if name in text else ["", "nan", "NaN"] for name in columns},
    )
