"""The store of slots: what claims are judged on, by arm, with the facts that theorems need.

Source: docs/method.md, sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr


def mean_mask(store: xr.Dataset) -> np.ndarray:
    """mask_i averaged over inputs (layer, head, query)."""
    denominator = store["denominator"].values.astype(np.float64).mean(-2)
    return denominator[..., -1:] - denominator


def facts_of(store: xr.Dataset) -> dict[str, Any]:
    """What a component store says of its arm, as plain values."""
    mask, attrs = mean_mask(store), store.attrs
    return {
        "document": store["document"].values.tolist(),
        "inputs": store.sizes["input"],
        "identity_error": max(attrs["identity_error"]),
        "closed_error": max(attrs["closed_trajectory"]),
        "state_variance": float(store["state_variance"].max()),
        "mask_low": float(mask.min()),
        "sum_error": float(np.abs(store["predicted"].sum("offset").values[..., 1:] - 1).max()),
        "mask_rise": float(np.diff(mask, axis=-1).max()),
        "exchanged": int(np.sum(attrs.get("exchanged") or 0)),
        **{
            name: attrs[name]
            for name in ("dtype", "window", "length", "bins", "kind", "inert_window")
        },
    }


def named(arm: str, slots: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Slots of an arm by bin, under the names that they have among those of all arms.

    Arms differ in bins, components and numbers of inputs: each keeps its own axes.
    """
    return {
        f"{arm}:{which}": array.rename({d: f"{arm}:{which}:{d}" for d in array.dims})
        for which, array in slots.items()
    }


def slots_dataset(
    arms: Iterable[tuple[str, xr.Dataset, Mapping[str, xr.DataArray], Mapping[str, float]]],
) -> xr.Dataset:
    """The slots of every arm, and what theorems and the fingerprint need, as one dataset.

    Args:
        arms: name, component store, slots by bin, and p-values of each arm.
    """
    data: dict[str, xr.DataArray] = {}
    facts: dict[str, Any] = {}
    for name, store, slots, p_values in arms:
        data |= named(name, slots)
        facts[name] = facts_of(store) | {"p_values": dict(p_values)}
        if "gram_write" in store:
            data[f"{name}:write"] = store["gram_write"].rename(pair=f"{name}:write:pair")
            data[f"{name}:a_1_64"] = store["a_1_64"].rename(input=f"{name}:input")
    return xr.Dataset(data, attrs={"facts": facts})
