"""Planted evidence: replicates of a whole study, as the claims read them.

Energies and their noise are chosen, so that every number, interval and verdict is known.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from abspos.claims.evidence import Evidence
from abspos.statistics.replicates import no_halves, stack
from abspos.statistics.store import Arm, ArmReplicates
from abspos.statistics.summary_tests import untested

LENSES, SUMMARIES = ("log", "probability"), ("median", "mean")
N, LAYERS, LENGTH, WINDOW = 128, 6, 64, 12
HEADS = np.array([1.0, 2.0, 6.0])  # times an energy: the median head is 2, the mean 3
OF = {"median": 2.0, "mean": 3.0}
SHARES = {"row": 0.25, "sink": 0.5, "rest": 0.25, "pattern": 0.25}  # of R
READ = {"R": 1.0, "sink": 0.75, "pattern": 0.25}  # of R, what each reading has
PARTS = ("residual", "row+sink", *SHARES)
VARIANTS: dict[str, dict[str, Any]] = {
    "standard": {"rope": None, "window": None, "untrained": False},
    "ntk": {"rope": {"rope_type": "ntk", "factor": 8.0}, "window": None, "untrained": False},
    "window": {"rope": None, "window": WINDOW, "untrained": False},
    "untrained": {"rope": None, "window": None, "untrained": True},
    "untrained-window": {"rope": None, "window": WINDOW, "untrained": True},
}
TOKENS = [" the", ".", " king", "\n"]
NOISE = 0.01  # standard error of every planted energy, as a share of it


def replicates(value, key: str, noise: float = NOISE, number: int = N) -> np.ndarray:
    """(..., replicate): values whose jackknife has the standard error ``noise`` times the value."""
    draw = np.random.default_rng(zlib.crc32(key.encode())).normal(size=number)
    draw = (draw - draw.mean()) / draw.std() / np.sqrt(number - 1)
    value = np.asarray(value, dtype=float)[..., None]
    return no_halves(np.concatenate([value, value * (1 + noise * draw)], -1))


def grown(value: float, slope: float = 0.0) -> np.ndarray:
    """Energies (layer, head) that grow with depth."""
    return (value + slope * np.arange(LAYERS))[:, None] * HEADS


class Plan(dict):
    """Arms of a study by name, each what is planted in it."""

    def arm(self, name: str, mask=1.0, residual=1.0, slope=0.0, loss=3.0, **others: Any) -> Plan:
        self[name] = {"mask": mask, "residual": residual, "slope": slope, "loss": loss} | others
        return self

    def without(self, *names: str) -> Plan:
        return Plan({name: arm for name, arm in self.items() if name not in names})


def study() -> Plan:
    """Every arm of the default study; all claims hold as the paper makes them."""
    plan = Plan()
    plan.arm("standard:bos", residual=2.0, slope=0.01, token=0)
    plan.arm("standard:no-bos", residual=1.5)
    for i, share in enumerate((0.50, 0.55, 0.65, 0.70), 1):
        plan.arm(f"standard:swap-token-{i}", residual=2 * share, cross=2 * share, token=i)
    plan.arm("standard:swap-mean", residual=0.5, cross=1.0)
    plan.arm("standard:ablate-zero", residual=0.02, cross=0.1)
    plan.arm("standard:control-noop", inputs=8)
    plan.arm("ntk:bos", mask=0.9, residual=1.4, loss=3.2)
    plan.arm("window:bos", slope=0.5)
    plan.arm("window:ablate-zero")
    plan.arm("untrained:bos", residual=0.01)
    plan.arm("untrained-window:bos", residual=0.01, slope=0.02)
    return plan


def named(text: str) -> Arm:
    """The arm that a plan names as text."""
    return Arm(*text.split(":"))


def beyond(variant: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Bins beyond windows as the decomposition names them, with their windows."""
    windows = sorted({v["window"] for v in variants.values() if v["window"]})
    windows = [variant["window"]] if variant["window"] else windows
    return {f"beyond-{w}": w for w in windows if w < LENGTH // 2}


def energies(name: str, values: Mapping[str, np.ndarray], noise: float, inputs: int):
    """Energies by component (layer, head), in the probability lens a tenth, as replicates.

    Of one bin all have the same noise, so that every share of R is as noisy as R.
    """
    return stack(
        {
            (lens, component): replicates(
                scale * value, f"{name}{lens}/{component in PARTS}", noise, inputs
            )
            for lens, scale in (("log", 1.0), ("probability", 0.1))
            for component, value in values.items()
        }
    )


def writes(token: int, strength: float, inputs: int) -> xr.Dataset:
    """Writes from position 0 that the token sets, of one size in every text but for noise."""
    rng = np.random.default_rng([1, token])
    same = np.random.default_rng(2)
    heads = ("layer", "head")
    value = same.normal(size=(LAYERS, 3, 6)) + strength * rng.normal(size=(LAYERS, 3, 6))
    share = np.zeros((LAYERS, 3, inputs))
    share[2:, 1] = 0.6  # sink readers: one head of each of the last four layers
    paid = np.clip(0.6 + 0.1 * rng.normal(size=share.shape), 0, 1)
    return xr.Dataset(
        {
            "write0": ((*heads, "hidden"), value),
            "value0": (("layer", "value_head", "feature"), value[:, :1]),
            "to_first": ((*heads, "input"), paid),
            "a_1_64": ((*heads, "input"), share),
            "document": ("input", np.arange(inputs)),
        }
    )


def evidence(
    plan: Mapping[str, Mapping[str, Any]],
    variants: Mapping[str, Mapping[str, Any]] = VARIANTS,
    number: int = N,
    noise: float = NOISE,
    confidence: float = 0.95,
    strength: float = 0.06,
) -> Evidence:
    """Replicates and facts as abspos.statistics.aggregate writes them."""
    arms: dict[Arm, ArmReplicates] = {}
    for name, planned in plan.items():
        inputs = planned.get("inputs", number)
        arm = named(name)
        windows = beyond(variants[arm.variant], variants)
        early = {c: planned[c] for c in ("mask", "residual")}
        early |= {c: share * planned["residual"] for c, share in SHARES.items()}
        values = {"early": {c: grown(energy) for c, energy in early.items()}}
        for which in windows:
            whole = grown(1.0, planned["slope"])
            hidden = {c: share * whole for c, share in SHARES.items() if c != "sink"}
            values[which] = {"residual": whole, **hidden}
        for which in ("half", "half-cross", "cross"):
            if which in planned:
                name_ = which.replace("half", f"among-{number // 2}")
                whole = grown(planned[which])
                shares = zip(("residual", "row+sink", "pattern"), READ.values(), strict=True)
                values[name_] = {joint: share * whole for joint, share in shares}
                values[name_] |= {part: share * whole for part, share in SHARES.items()}
        loss = replicates(planned["loss"], name, noise, inputs)
        facts = {
            "document": list(range(inputs)),
            "inputs": inputs,
            "dtype": "float32",
            "identity_error": 1e-6,
            "closed_error": 1e-5,
            "state_spread": 0.0 if arm.condition == "bos" else 1.0,
            "mask_low": 0.0,
            "sum_error": 1e-7,
            "mask_rise": -1e-9,
            "window": [variants[arm.variant]["window"]] * LAYERS,
            "length": LENGTH,
            "beyond": windows,
        } | planned.get("facts", {})
        token = planned.get("token")
        arms[arm] = ArmReplicates(
            facts,
            {
                which: energies(name, own, noise, number // 2 if "among" in which else inputs)
                for which, own in values.items()
            },
            xr.DataArray(loss, dims="replicate"),
            untested().fillna(1e-4),
            None if token is None else writes(token, strength, inputs),
        )
    return Evidence(arms, TOKENS, variants, confidence, 0)
