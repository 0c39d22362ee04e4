"""Names in tables of claims, as text whatever a table was made of.

Apart from abspos.csv_tables, which stages read that take hours: no edit here reruns them.
"""

from __future__ import annotations

import pandas as pd


def as_text(column: pd.Series) -> pd.Series:
    """A column of names as text, its missing cells empty, whatever its dtype: a table made of rows
    that all lack a name has a column of float NaN."""
    return column.astype(object).where(column.notna(), "").astype(str)
