"""Evidence keeps what it has made under all that it was asked for."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import xarray as xr

from abspos.claims.evidence import BOS, Evidence
from abspos.statistics.store import Arm, ArmReplicates

ARMS = (BOS, Arm("ntk", "bos"))
LENSES, SUMMARIES, READINGS = ("log", "probability"), ("median", "mean"), ("R", "sink")


@pytest.fixture
def evidence():
    """Two arms whose energies all differ."""
    rng = np.random.default_rng(0)
    components = ["mask", "residual", "sink"]
    dims = ("layer", "head", "replicate", "lens", "component")

    def arm():
        energies = rng.uniform(1, 2, (2, 5, 3, len(LENSES), len(components)))
        labels = {"lens": list(LENSES), "component": components}
        bins = {"early": xr.DataArray(energies, labels, dims)}
        return ArmReplicates({}, bins, xr.DataArray(np.zeros(3), dims="replicate"), xr.Dataset())

    return Evidence({one: arm() for one in ARMS}, [], {"standard": {}, "ntk": {}}, 0.95, 0)


def test_what_is_kept_is_of_what_is_asked_for(evidence):
    asked = list(product(ARMS, LENSES, SUMMARIES))
    whole = [evidence.whole(*one) for one in asked]
    assert all(not np.array_equal(one, other) for one, other in pairwise(whole))
    asked = list(product(ARMS, LENSES, SUMMARIES, READINGS))
    shares = [evidence.reference(*one).share for one in asked]
    assert len({float(share.sum()) for share in shares}) == len(asked)
    again = [evidence.reference(*one).share for one in asked]
    assert all(one is other for one, other in zip(shares, again, strict=True))


def test_what_is_kept_is_of_its_own_evidence(evidence):
    other = Evidence(dict(reversed(evidence.arms.items())), [], {}, 0.95, 0)
    assert other.whole(BOS, "log", "mean") is not evidence.whole(BOS, "log", "mean")
