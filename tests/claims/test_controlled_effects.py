"""Controls of position beside the effects they control, on planted energies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from abspos.claims.controlled_effects import COLUMNS, controlled_effects
from abspos.claims.evidence import BOS, Evidence
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import no_halves, stack
from abspos.statistics.store import Arm, ArmReplicates

N = 16
SHARES = {
    "early": {"mask": 1.0, "residual": 1.0, "row": 0.25, "sink": 0.5, "pattern": 0.25},
    "cross": {"residual": 1.0, "row+sink": 0.75, "pattern": 0.25},
}


def evidence(
    few: dict[str, float] | None = None, energy: float = 1.0, **crosses: float
) -> Evidence:
    """Arms of standard whose R has one energy and these inner products with that of bos.

    Args:
        few: arms on half of the inputs, on which R has twice the energy under bos.
        energy: of R under bos on all inputs.
        crosses: arms on all inputs.
    """
    arms = {}
    for name, cross in {"bos": None, **crosses, **(few or {})}.items():
        values = {"early": 1.0, "cross": cross}
        bins = {
            which: stack(
                {
                    (lens, part): no_halves(np.full((2, 3, N + 1), share * value))
                    for lens in LENSES
                    for part, share in SHARES[which].items()
                }
            )
            for which, value in values.items()
            if value is not None
        }
        if name == "bos":
            bins["early"] = bins["early"].where(
                bins["early"].component == "mask", energy * bins["early"]
            )
        if few and name == "bos":
            bins[f"first-{N // 2}"] = 2 * bins["early"]
        inputs = N // 2 if name in (few or {}) else N
        arms[Arm("standard", name.replace("_", "-"))] = ArmReplicates({"inputs": inputs}, bins)
    return Evidence(arms, [], {"standard": {}}, 0.95, 0)


def test_a_control_stands_beside_its_effect():
    given = evidence(swap_token_1=0.7, swap_random=0.5, control_shift=1.0, control_later=0.95)
    rows = [r for r in controlled_effects(given) if r["number"] == "difference share"]
    assert list(dict.fromkeys(r["condition"] for r in rows)) == [
        "swap-token-1",
        "swap-random",
        "control-later",
        "control-shift",
    ]
    keys = ("condition", "lens", "summary", "reading")
    shares = {tuple(r[key] for key in keys): r["estimate"] for r in rows}
    for cell in product(LENSES, ("median", "mean"), ("R", "sink", "pattern")):
        assert shares["swap-token-1", *cell] == pytest.approx(0.6)
        assert shares["control-later", *cell] == pytest.approx(0.1)
        assert shares["control-shift", *cell] == pytest.approx(0.0)
    roles = {r["condition"]: r["role"] for r in rows}
    assert roles["swap-random"] == "effect"
    assert roles["control-shift"] == "control"
    assert set(rows[0]) | {"model", "revision", "kind"} == set(COLUMNS)


def test_a_control_on_some_inputs_is_compared_with_bos_on_the_same():
    given = evidence(few={"control_shuffle": 1.4}, swap_token_1=0.7)
    rows = [r for r in controlled_effects(given) if r["number"] == "difference share"]
    shares = {r["condition"]: r["estimate"] for r in rows if r["reading"] == "R"}
    assert shares["control-shuffle"] == pytest.approx((2 + 1 - 2 * 1.4) / 2)
    assert shares["swap-token-1"] == pytest.approx(0.6)
    inputs = {r["condition"]: r["n_inputs"] for r in rows}
    assert inputs == {"swap-token-1": N, "control-shuffle": N // 2}


def test_an_effect_on_some_inputs_is_left_out():
    """It has no inner products with bos, whose bin on these inputs is there for the control."""
    given = evidence(few={"control_shuffle": 1.4, "swap_token_1": 0.7})
    bins = given.arms[Arm("standard", "swap-token-1")].bins
    del bins["cross"]
    assert {r["condition"] for r in controlled_effects(given)} == {"control-shuffle"}


@pytest.mark.parametrize("energy", [0.0, 1e-3, -0.1])
def test_there_is_no_share_of_next_to_nothing(energy):
    assert not list(controlled_effects(evidence(energy=energy, control_shift=energy)))


def test_a_control_on_inputs_that_bos_has_no_energies_of_is_left_out():
    given = evidence(few={"control_shuffle": 1.4}, control_shift=1.0, swap_token_1=0.7)
    del given.arms[BOS].bins[f"first-{N // 2}"]
    assert {r["condition"] for r in controlled_effects(given)} == {"swap-token-1", "control-shift"}


def test_without_a_control_there_is_nothing_to_show():
    assert not list(controlled_effects(evidence(swap_token_1=0.7)))
