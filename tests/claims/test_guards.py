"""Controls of position beside the effects they guard, on planted energies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import xarray as xr

from abspos.claims.evidence import LENSES, Evidence
from abspos.claims.guards import COLUMNS, guards
from abspos.statistics.replicates import no_halves

N = 16


def evidence(**crosses: float) -> Evidence:
    """Arms of standard whose R has energy 1 and these inner products with that of bos."""
    data, facts = {}, {}
    for condition, cross in {"bos": None, **crosses}.items():
        arm = f"standard:{condition.replace('_', '-')}"
        for which, value in (("early", 1.0), ("cross", cross)):
            if value is None:
                continue
            pairs = [f"{lens}/residual" for lens in LENSES]
            dims = [f"{arm}:{which}:{d}" for d in ("pair", "layer", "head", "slot")]
            array = no_halves(np.full((len(pairs), 2, 3, N + 1), value))
            data[f"{arm}:{which}"] = xr.DataArray(array, dims=dims, coords={dims[0]: pairs})
        facts[arm] = {"inputs": N, "bins": ["early"]}
    data = xr.Dataset(data, attrs={"facts": facts})
    return Evidence(data, np.zeros(N), [], {"standard": {}}, 0.95, 0)


def test_a_control_stands_beside_its_effect():
    given = evidence(swap_token_1=0.7, swap_random=0.5, control_shift=1.0, control_later=0.95)
    rows = [r for r in guards(given) if r["number"] == "difference share"]
    assert list(dict.fromkeys(r["condition"] for r in rows)) == [
        "swap-token-1",
        "swap-random",
        "control-later",
        "control-shift",
    ]
    shares = {(r["condition"], r["lens"], r["summary"]): r["estimate"] for r in rows}
    for lens, summary in product(LENSES, ("median", "mean")):
        assert shares["swap-token-1", lens, summary] == pytest.approx(0.6)
        assert shares["control-later", lens, summary] == pytest.approx(0.1)
        assert shares["control-shift", lens, summary] == pytest.approx(0.0)
    roles = {r["condition"]: r["role"] for r in rows}
    assert roles["swap-random"] == "effect"
    assert roles["control-shift"] == "control"
    assert set(rows[0]) | {"model", "revision"} == set(COLUMNS)


def test_without_a_control_there_is_nothing_to_show():
    assert not list(guards(evidence(swap_token_1=0.7)))
