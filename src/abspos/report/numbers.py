"""Numbers of the claims as every page shows them: an estimate with its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

#: What the second interval of a number covers.
SOURCES = (
    "An interval behind *sources* takes the sources of text as units: it covers what other sources "
    "of this variety would give, and decides no verdict."
)


def estimate(row: Mapping[Any, Any]) -> str:
    """An estimate with its interval, to three digits."""
    if pd.isna(row["estimate"]):
        return ""
    if pd.isna(row["ci_low"]):
        return f"{row['estimate'] + 0.0:.2g}"
    return f"{row['estimate']:.3g} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"


def with_sources(row: Mapping[Any, Any]) -> str:
    """An estimate with its interval over inputs and, where there is one, that over sources."""
    text = estimate(row)
    low, high = (row.get(end, float("nan")) for end in ("source_low", "source_high"))
    if not text or pd.isna(low) or pd.isna(high):
        return text
    return f"{text}, sources [{low:.3g}, {high:.3g}]"
