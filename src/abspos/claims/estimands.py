"""The claims as numbers: each estimand of docs/method.md section 5, over replicates.

Every function takes energies over a last axis of replicates (see abspos.statistics.replicates) and
gives a number over the same axis, so that one function gives the intervals of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from abspos.statistics.energies import slope
from abspos.statistics.replicates import over_heads, over_model


def reduction(treated: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """1 - E_s / E_b; NaN where E_b is not positive, since there is nothing to reduce."""
    return 1 - treated / reference.where(reference > 0)


def swap_numbers(
    treated: xr.DataArray, reference: xr.DataArray, cross: xr.DataArray, difference: xr.DataArray
) -> dict[str, xr.DataArray]:
    """The four numbers of bos-swap from model-level energies (replicate); NaN unless E_b > 0.

    Args:
        treated: E_s, energy of R with the replacement.
        reference: E_b, energy of R with BOS.
        cross: U(b, s), inner product of the two mean fields.
        difference: E_b + E_s - 2 U(b, s), energy of the difference of the two mean fields.
    """
    reference = reference.where(reference > 0)
    with np.errstate(invalid="ignore"):
        amplitude = 1 - (treated / reference) ** 0.5
    return {
        "energy reduction": reduction(treated, reference),
        "aligned reduction": 1 - cross / reference,
        "difference share": difference / reference,
        "amplitude reduction": amplitude,
    }


def swap_replicates(
    treated: xr.DataArray, reference: xr.DataArray, cross: xr.DataArray, summary: str
) -> dict[str, xr.DataArray]:
    """The four numbers of bos-swap (replicate) from energies by head (layer, head, replicate).

    The difference is an energy of its own and summarised as one: from the medians of its three
    parts, which may be three different heads, it could come out negative.
    """
    difference = reference + treated - 2 * cross
    parts = (treated, reference, cross, difference)
    return swap_numbers(*(over_model(x, summary) for x in parts))


def carried(
    exchanged: Mapping[str, xr.DataArray], swapped: Mapping[str, xr.DataArray]
) -> dict[str, xr.DataArray]:
    """Shares of energy, and of its change under bos-swap, that an exchange in some heads carries.

    Args:
        exchanged: the four numbers (replicate) of the exchange against bos (see swap_numbers).
        swapped: those of replacing BOS by the same token.
    """
    whole = swapped["difference share"]
    return {
        "share of energy": exchanged["energy reduction"],
        "share of the bos-swap change": exchanged["difference share"] / whole.where(whole > 0),
    }


def reachable(windows: Sequence[int | None], half: int) -> np.ndarray:
    """Layers that position 0 can have reached by the last early query.

    Each layer carries it W - 1 positions on, one without a window as far as it likes: with the same
    window in all layers, (l + 1)(W - 1) >= half - 1.

    Args:
        windows: W of each layer, or None.
        half: T // 2.

    Returns:
        (layer) bool.
    """
    steps = [half - 1 if window is None else window - 1 for window in windows]
    return np.cumsum(steps) >= half - 1


def accumulation(beyond: xr.DataArray, layers: np.ndarray, summary: str) -> xr.DataArray:
    """Slope (replicate) of the layers' beyond energy of R with depth, over chosen layers.

    Args:
        beyond: (layer, head, replicate).
        layers: (layer) bool.
        summary: median or mean head.
    """
    by_layer = over_heads(beyond, summary).isel(layer=layers).transpose("replicate", "layer")
    depth = np.flatnonzero(layers)
    return xr.DataArray(slope(depth, by_layer.values), dims="replicate")
