"""The table of all checkpoints of a study, with commit, training tokens and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.csv_tables import write_csv

COLUMNS = ["model", "revision", "repo", "commit", "tokens", "gap"]


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of ``abspos.planning.layout.Layout.checkpoints`` as a table; tokens whole, empty if
    unknown."""
    return pd.DataFrame(list(rows), columns=COLUMNS).astype({"tokens": "Int64"})


def write(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write the table.

    Args:
        rows: of ``abspos.planning.layout.Layout.checkpoints``.
        out: path of the CSV.
    """
    write_csv(table(rows), Path(out))
