"""The table of checkpoints: all that a study names, with commit, training tokens, and gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.stores import write_atomically

COLUMNS = ["model", "revision", "repo", "commit", "tokens", "gap"]


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of ``abspos.layout.Layout.checkpoints`` as a table; tokens whole, empty if unknown."""
    return pd.DataFrame(list(rows), columns=COLUMNS).astype({"tokens": "Int64"})


def read(path: Path) -> pd.DataFrame:
    """The table of a file; names stay text."""
    return pd.read_csv(path, dtype=dict.fromkeys(COLUMNS, str) | {"tokens": "Int64"})


def write(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write the table.

    Args:
        rows: of ``abspos.layout.Layout.checkpoints``.
        out: where it goes, a CSV.
    """
    write_atomically(Path(out), table(rows).to_csv(index=False))
