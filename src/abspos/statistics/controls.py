"""Arms that must do nothing, and whether they did.

Source: docs/method.md, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from abspos.components.lenses import LENSES
from abspos.statistics.energies import benjamini_hochberg
from abspos.study.conditions import condition_of

#: Attention may differ by so much between two forward passes that are the same but for rounding,
#: which grows through their depth (docs/method.md, section 6).
ROUNDING = {"float32": 1e-3, "bfloat16": 1e-1}

#: Whether BOS stands before the repeated token, by check.
REPEATS = {"repeat": False, "repeat with BOS": True}


def repeat_check(
    energies: pd.DataFrame, lens: str, bos: bool, nothing: float
) -> tuple[str, float, bool]:
    """What one repeated token shows in a lens: the check, its value, and whether it passed.

    Keys of one token at all positions differ by nothing, so that every query attends to all of its
    keys alike and R is 0 in every head. With BOS before them it is not, in any layer: or the check
    could not fail.

    Args:
        energies: of the arm.
        lens: log or probability.
        bos: whether BOS stands before the token.
        nothing: energy of R up to which there is none, the square of what rounding moves in an
            attention.
    """
    rows = energies[(energies["lens"] == lens) & (energies["component"] == "residual")]
    early = rows[rows["bin"] == "early"].groupby("layer")["energy"]
    size = np.array([np.abs(heads.to_numpy()).max() for _, heads in early])  # NaN if any is
    if bos:
        value = float(size.min())
        name = f"smallest over layers of the largest energy of R, above {nothing:g}, {lens}"
        return name, value, value > nothing
    value = float(size.max())
    return f"largest energy of R, at most {nothing:g}, {lens}", value, value <= nothing


def noop_difference(store: xr.Dataset, bos: xr.Dataset) -> float:
    """Largest difference of an arm from bos, on the inputs they share; 0 where they are one.

    Compared are attention to position 0, denominators, states and losses of each input.
    """
    number = store.sizes["input"]
    names = ("a_1", "sink_excess", "denominator", "state_norm", "loss")
    shared = bos.isel(input=slice(0, number))
    differences = [np.abs(store[n].values - shared[n].values).max() for n in names]
    return float(np.max(differences))  # NaN if any is


def shift_difference(store: xr.Dataset, bos: xr.Dataset) -> float:
    """Largest difference of an arm from bos in any head's attention to position 0.

    An attention is at most 1; RoPE knows offsets alone, so what differs is rounding that grew
    through the depth of two forward passes.
    """
    number = min(store.sizes["input"], bos.sizes["input"])
    a, b = (s["a_1"].isel(input=slice(0, number)).values for s in (store, bos))
    return float(np.max(np.abs(a - b)))


def controls(
    stores: Mapping[tuple[str, str], xr.Dataset], energies: pd.DataFrame, keys: Mapping[str, Any]
) -> pd.DataFrame:
    """Null controls: what was measured, and whether it is nothing (abspos.study.conditions).

    Raises:
        ValueError: an arm that must be identical with bos differs from it.
    """
    rows: list[tuple[str, str, str, float, bool]] = []
    for (variant, condition), store in stores.items():
        null = condition_of(condition).null
        if null is None:
            continue
        if null.check == "identical":
            value = noop_difference(store, stores[variant, "bos"])
            rows.append((variant, condition, "largest difference from bos", value, value == 0))
            if value != 0:
                raise ValueError(
                    f"{variant}/{condition}: differs from bos by {value:.3g}, must be exactly 0; "
                    "the run is not deterministic, or the intervention has a side effect"
                )
        elif null.check == "rounding":
            value = shift_difference(store, stores[variant, "bos"])
            allowed = ROUNDING[store.attrs["dtype"]]
            name = f"largest difference from bos in attention to position 0, at most {allowed:g}"
            rows.append((variant, condition, name, value, value <= allowed))
        elif null.check in REPEATS:
            chosen = (energies["condition"] == condition) & (energies["variant"] == variant)
            nothing = ROUNDING[store.attrs["dtype"]] ** 2
            for lens in LENSES:
                one = repeat_check(energies[chosen], lens, REPEATS[null.check], nothing)
                rows.append((variant, condition, *one))
        else:
            chosen = (energies["condition"] == condition) & (energies["variant"] == variant)
            layer0 = energies[chosen & (energies["layer"] == 0) & (energies["bin"] == "early")]
            for lens in LENSES:
                of_lens = layer0[layer0["lens"] == lens]
                p = of_lens[of_lens["component"] == "residual"]["p_value"]
                smallest = float(np.min(benjamini_hochberg(p.to_numpy())))
                name = f"layer 0: smallest adjusted p of R = 0, {lens}"
                rows.append((variant, condition, name, smallest, smallest > 0.05))
    frame = pd.DataFrame(rows, columns=["variant", "condition", "check", "value", "passed"])
    for position, (name, value) in enumerate(keys.items()):
        frame.insert(position, name, value)
    return frame
