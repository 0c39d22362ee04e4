"""The table of checkpoints keeps names as text and numbers of tokens whole."""

from __future__ import annotations

import pandas as pd

from abspos.csv_tables import read_csv
from abspos.report import checkpoints


def test_a_table_reads_as_it_was_written(tmp_path):
    rows = [
        {
            "model": "a",
            "revision": "0123",
            "repo": "org/a",
            "commit": "1" * 40,
            "tokens": 299_892_736_000,
            "gap": None,
        },
        {
            "model": "a",
            "revision": "step7",
            "repo": "org/a",
            "commit": None,
            "tokens": None,
            "gap": "no such revision",
        },
        {"model": "packaged", "revision": "0e10"},
    ]
    checkpoints.write(rows, tmp_path / "checkpoints.csv")
    found = read_csv(tmp_path / "checkpoints.csv")
    assert list(found.columns) == checkpoints.COLUMNS
    assert list(found["revision"]) == ["0123", "step7", "0e10"]
    assert found["tokens"][0] == 299_892_736_000
    assert found["tokens"].isna().tolist() == [False, True, True]
    assert found["commit"][0] == "1" * 40
    assert list(found["gap"].dropna()) == ["no such revision"]
    pd.testing.assert_frame_equal(found, checkpoints.table(rows), check_dtype=False)
