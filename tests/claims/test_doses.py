"""Variants beside the standard model, on planted energies."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from abspos.claims import doses
from abspos.claims.evidence import Evidence
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import no_halves, stack
from abspos.statistics.store import Arm, ArmReplicates

HEADS = np.array([1.0, 2.0, 6.0])  # the median head is 2, the mean 3
N = 16


def replicates(value: float) -> np.ndarray:
    """(layer, head, replicate) of energies with a little noise over inputs."""
    noise = 1 + 0.01 * np.random.default_rng(int(1000 * abs(value))).normal(size=N + 1)
    noise[0] = 1
    return no_halves(value * HEADS[None, :, None] * np.ones((2, 1, 1)) * noise)


def parts(whole: float) -> dict[str, float]:
    """R and its parts; the pattern is what row and sink leave."""
    return {"residual": whole, "row": 0.3 * whole, "sink": 0.6 * whole, "pattern": 0.1 * whole}


def evidence(**arms: dict) -> Evidence:
    """Arms under bos: energies of R, mask and beyond, the loss, the variant, its bins."""
    found, variants = {}, {}
    for name, arm in arms.items():
        bins = {"early": parts(arm["R"]) | {"mask": arm["mask"]}}
        bins |= {b: parts(v) for b, v in arm.get("beyond", {}).items()}
        loss = arm["loss"] + 0.01 * np.arange(N + 1) * (np.arange(N + 1) > 0)
        found[Arm(name, "bos")] = ArmReplicates(
            {"inputs": N, "beyond": {which: 8 for which in bins if which != "early"}},
            {
                which: stack({(lens, c): replicates(v) for lens in LENSES for c, v in own.items()})
                for which, own in bins.items()
            },
            xr.DataArray(no_halves(loss), dims="replicate"),
        )
        variants[name] = {"rope": None, "window": None, "untrained": False} | arm.get("is", {})
    return Evidence(found, [], variants, 0.95, 0)


STANDARD = {"R": 2.0, "mask": 1.0, "loss": 3.0, "beyond": {"beyond-8": 0.5}}


def found(number, reading="R", **arms):
    """Rows of one number and reading by (bin, lens, summary)."""
    rows = list(doses.changes(evidence(standard=STANDARD, **arms)))
    chosen = [r for r in rows if r["number"] == number and r["reading"] in ("", reading)]
    return {(r["bin"], r["lens"], r["summary"]): r for r in chosen}


def test_reductions_are_shares_of_the_standard_model():
    ntk = {"R": 1.5, "mask": 1.2, "loss": 3.25, "is": {"rope": {"rope_type": "ntk", "factor": 4.0}}}
    rows = found("reduction of residual energy", ntk=ntk)
    assert set(rows) == {("early", lens, s) for lens in LENSES for s in ("median", "mean")}
    for row in rows.values():
        assert row["estimate"] == pytest.approx(0.25)
        assert row["ci_low"] < 0.25 < row["ci_high"]
        assert (row["rope_type"], row["factor"], row["window"]) == ("ntk", 4.0, None)
    masks = found("reduction of mask energy", ntk=ntk).values()
    assert [r["estimate"] for r in masks] == pytest.approx([-0.2] * 4)
    (loss,) = found("rise of loss [nats per token]", ntk=ntk).values()
    assert loss["estimate"] == pytest.approx(0.25)


@pytest.mark.parametrize("reading", ["R", "pattern"])
def test_beyond_a_window_each_window_has_its_bin(reading):
    window = {"R": 1.0, "mask": 0.5, "loss": 4.0, "beyond": {"beyond-8": 0.2}, "is": {"window": 8}}
    rows = found("reduction of residual energy", reading, window=window)
    row = rows["beyond", "log", "median"]
    assert row["estimate"] == pytest.approx(0.6, rel=0.02)
    assert row["note"] == ""


@pytest.mark.parametrize("reading", ["R", "sink", "pattern"])
def test_every_reading_is_reduced(reading):
    ntk = {"R": 1.5, "mask": 1.2, "loss": 3.25, "is": {"rope": {"rope_type": "ntk", "factor": 4.0}}}
    rows = found("reduction of residual energy", reading, ntk=ntk)
    assert [row["estimate"] for row in rows.values()] == pytest.approx([0.25] * 4)
    assert {row["fixed"] for row in rows.values()} == {
        "beforehand" if reading == "R" else "post hoc"
    }


def test_beyond_a_window_there_is_no_sink():
    window = {"R": 1.0, "mask": 0.5, "loss": 4.0, "beyond": {"beyond-8": 0.2}, "is": {"window": 8}}
    rows = found("reduction of residual energy", "sink", window=window)
    assert {which for which, _, _ in rows} == {"early"}


def test_an_empty_bin_gives_no_number_but_says_so():
    wide = {"R": 1.0, "mask": 0.5, "loss": 4.0, "is": {"window": 64}}
    row = found("reduction of residual energy", wide=wide)["beyond", "log", "median"]
    assert np.isnan([row["estimate"], row["ci_low"], row["ci_high"]]).all()
    assert row["note"] == "not testable: no early query lies beyond 64 keys"


def test_nothing_can_be_taken_from_what_is_not_there():
    made = evidence(
        standard=STANDARD | {"R": -0.1}, ntk=STANDARD | {"is": {"rope": {"rope_type": "ntk"}}}
    )
    rows = [r for r in doses.changes(made) if r["number"].endswith("residual energy")]
    assert all(np.isnan(r["estimate"]) and r["note"].startswith("not testable") for r in rows)


def test_untrained_and_other_conditions_stay_out():
    untrained = STANDARD | {"is": {"untrained": True}}
    assert not list(doses.changes(evidence(standard=STANDARD, untrained=untrained)))
    assert not list(doses.changes(evidence(ntk=STANDARD)))
