"""One reader and one writer of tables: names stay text, blank cells are NaN, all else is kept."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from abspos.calibration import truth
from abspos.claims import (
    architectures,
    choices,
    controlled_effects,
    doses,
    judgement,
    sensitivity,
    swaps,
)
from abspos.csv_tables import TEXT, read_csv, write_csv
from abspos.report import checkpoints

SOURCE = Path(__file__).parents[1] / "src/abspos"

ODD = ("0042", "None", "1e5", "NA", "nan", "NaN", "true", "null", "", " x ", "#", 'a "b", c', "-")
#: No NUL, which no table format holds, and no half of a surrogate pair, which no file does.
labels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def round_trip(given: pd.DataFrame) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(given, Path(folder) / "t.csv")
        return read_csv(Path(folder) / "t.csv")


@given(st.lists(labels, min_size=1, max_size=4))
@example(list(ODD))
@example(["\r", "\n", "\r\n", "a\rb", '"', ","])
@example(["007"])
def test_labels_are_read_as_they_were_written(texts):
    found = round_trip(pd.DataFrame({"model": texts, "token": texts[::-1], "energy": 0.5}))
    wanted = [text or np.nan for text in texts]
    pd.testing.assert_series_equal(found["model"], pd.Series(wanted, dtype=str, name="model"))
    assert list(found["token"].fillna("")) == texts[::-1]
    assert (found["energy"] == 0.5).all()


@given(
    st.lists(st.none() | st.floats(allow_nan=False, width=32), min_size=1, max_size=5).filter(any)
)
def test_numbers_keep_nine_digits_and_blanks_are_nan(values):
    found = round_trip(pd.DataFrame({"model": "m", "energy": pd.Series(values, dtype=float)}))
    np.testing.assert_allclose(found["energy"], np.array(values, float), rtol=5e-9)


def test_a_table_without_carriage_returns_has_no_needless_quotes(tmp_path):
    write_csv(pd.DataFrame({"model": ["a"], "note": ["b\nc"], "energy": [1 / 3]}), tmp_path / "t")
    assert (tmp_path / "t").read_text() == 'model,note,energy\na,"b\nc",0.333333333\n'


def test_token_counts_are_whole_and_flags_are_flags():
    given = pd.DataFrame({"tokens": [10**15 + 1, None], "primary": [True, False]})
    found = round_trip(given.astype({"tokens": "Int64"}))
    assert found["tokens"].tolist() == [10**15 + 1, pd.NA]
    assert found["primary"].dtype == bool


#: Columns of numbers and flags. (tests/workflow/test_run.py looks at the tables of a whole run.)
NUMBERS = {
    *("estimate", "ci_low", "ci_high", "n_inputs", "primary", "preliminary", "covered", "truth"),
    *("p_value", "p_adjusted", "influence", "published_estimate", "factor", "window"),
    *("layer", "head", "tokens", "level", "decided_low", "decided_high", "n_decides"),
    *("source_low", "source_high", "n_runs", "run_low", "run_high"),
}


@pytest.mark.parametrize(
    "columns",
    [
        *(judgement.COLUMNS, swaps.COLUMNS, doses.COLUMNS, choices.COLUMNS),
        controlled_effects.COLUMNS,
        architectures.COLUMNS,
        *(sensitivity.COLUMNS, checkpoints.COLUMNS),
        *(truth.TRUTH_COLUMNS, truth.NUMBER_COLUMNS),
    ],
)
def test_declared_columns_are_text_or_numbers(columns):
    assert set(columns) - TEXT <= NUMBERS
    assert not TEXT & NUMBERS


def test_no_other_module_reads_or_writes_tables():
    for path in SOURCE.rglob("*.py"):
        names = {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "attr")
        }
        if path.name != "csv_tables.py":
            assert not {"read_csv", "to_csv", "read_table"} & names, path
