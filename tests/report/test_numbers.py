"""Numbers as the report shows them."""

from __future__ import annotations

import numpy as np
import pytest

from abspos.report.numbers import estimate, with_sources


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((0.123456, 0.1, 0.2), "0.123 [0.1, 0.2]"),
        ((-1.5e-5, -2e-5, 3), "-1.5e-05 [-2e-05, 3]"),
        ((1e-6, np.nan, np.nan), "1e-06"),
        ((0.0, np.nan, np.nan), "0"),
        ((np.nan, np.nan, np.nan), ""),
        ((1.0, np.nan, 1.0), "1"),
    ],
)
def test_estimates(values, wanted):
    given = dict(zip(("estimate", "ci_low", "ci_high"), values, strict=True))
    assert estimate(given) == wanted
    assert with_sources(given) == wanted
    sources = given | {"source_low": -0.25, "source_high": np.nan}
    assert with_sources(sources) == wanted


def test_the_interval_over_sources_stands_behind_that_over_inputs():
    values = {"estimate": 0.2, "ci_low": 0.1, "ci_high": 0.3, "source_low": -0.06789}
    row = values | {"source_high": 0.45}
    assert with_sources(row) == "0.2 [0.1, 0.3], sources [-0.0679, 0.45]"
