"""Names are text, and missing ones empty."""

from __future__ import annotations

import pandas as pd
import pytest

from abspos.claims.names import as_text


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([None, None], ["", ""]),
        ([float("nan"), "a"], ["", "a"]),
        (["0042", "None"], ["0042", "None"]),
        ([], []),
    ],
)
def test_missing_names_are_empty_whatever_the_dtype(cells, text):
    assert as_text(pd.Series(cells)).tolist() == text
    assert as_text(pd.Series(cells, dtype=object)).tolist() == text
