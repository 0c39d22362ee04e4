"""The store of replicates: what claims are judged on, by arm, with the facts that theorems need.

On disk an arm is a group ``variant/condition`` whose attributes are its facts; below it each bin is
a group of its own. Source: docs/method.md, sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from abspos.arrays import open_groups, save_groups


class Arm(NamedTuple):
    """A variant of a model under a condition; as text ``variant/condition``."""

    variant: str
    condition: str

    def __str__(self) -> str:
        return f"{self.variant}/{self.condition}"


@dataclass(frozen=True)
class ArmReplicates:
    """Evidence of one arm for claims.

    Attributes:
        facts: plain values that theorems, windows and notes need (see facts_of).
        bins: energies by bin of queries, each (lens, component, layer, head, replicate). ``cross``
            has the inner products of early R with that of bos; ``among-n`` and ``among-n-cross``
            are of the n inputs that arms with chosen heads have, ``first-n`` of the first n, which
            controls on some of the inputs have.
        loss: next-token loss (replicate) in nats per token.
        p_values: sign-flip tests (kind, lens, component, summary) of early summaries over heads,
            over all layers and in hybrids over those of each kind.
        writes: of arms that differ in the token at position 0 alone, what the crossed design reads
            (abspos.statistics.fingerprint.READ).
    """

    facts: dict[str, Any]
    bins: Mapping[str, xr.DataArray]
    loss: xr.DataArray | None = None
    p_values: xr.DataArray | None = None
    writes: xr.Dataset | None = None

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.facts["inputs"])


Replicates = dict[Arm, ArmReplicates]


def among(number: int) -> str:
    """The bin of early queries of so many inputs that no head is chosen on."""
    return f"among-{number}"


def first(number: int) -> str:
    """The bin of early queries of the first inputs, so many."""
    return f"first-{number}"


def mean_mask(store: xr.Dataset) -> np.ndarray:
    """mask_i averaged over inputs (layer, head, query)."""
    denominator = store["denominator"].values.astype(np.float64).mean(-2)
    return denominator[..., -1:] - denominator


def state_spread(store: xr.Dataset) -> float:
    """Spread of the state at position 0 over inputs, relative to its norm: the largest by depth."""
    squared_norm = (store["state_norm"].astype(np.float64) ** 2).mean("input")
    return float(np.sqrt(store["state_variance"] / squared_norm).max())


def facts_of(store: xr.Dataset) -> dict[str, Any]:
    """Facts of a component store's arm, as plain values.

    ``beyond`` has the window in keys of each bin whose queries do not see position 0 through it.
    """
    mask, attrs = mean_mask(store), store.attrs
    return {
        "document": store["document"].values.tolist(),
        "inputs": store.sizes["input"],
        "identity_error": max(attrs["identity_error"]),
        "closed_error": max(attrs["closed_trajectory"]),
        "state_spread": state_spread(store),
        "mask_low": float(mask.min()),
        "sum_error": float(np.abs(store["predicted"].sum("offset").values[..., 1:] - 1).max()),
        "mask_rise": float(np.diff(mask, axis=-1).max()),
        "substituted": int(np.sum(attrs.get("substituted") or 0)),
        **{
            name: attrs[name]
            for name in ("dtype", "window", "length", "beyond", "kind", "inert_window")
        },
    }


#: Groups of an arm that are no bins.
LOSS, P_VALUES, WRITES = "loss", "p_values", "writes"


def save_replicates(arms: Mapping[Arm, ArmReplicates], target: Path, manifest: Path) -> None:
    """Write the replicates of every arm of a model, in their order, as one store."""
    groups = {"/": xr.Dataset(attrs={"arms": list(arms)})}
    for arm, own in arms.items():
        groups[str(arm)] = xr.Dataset(attrs=own.facts)
        arrays = {**own.bins, LOSS: own.loss, P_VALUES: own.p_values}
        groups |= {f"{arm}/{n}": a.to_dataset(name=n) for n, a in arrays.items() if a is not None}
        if own.writes is not None:
            groups[f"{arm}/{WRITES}"] = own.writes
    save_groups(groups, target, manifest)


def open_replicates(store: Path, manifest: Path | None = None) -> Replicates:
    """Open a store of replicates: in memory, for claims read each of them many times.

    Raises:
        StoreError: it is missing, or differs from its manifest.
    """
    groups = open_groups(store, manifest)
    found: Replicates = {}
    for arm in (Arm(*names) for names in groups["/"].attrs["arms"]):
        root = f"/{arm}/"
        own = {
            path.removeprefix(root): group
            for path, group in groups.items()
            if path.startswith(root)
        }
        writes = own.pop(WRITES, None)
        arrays = {name: group[name].load() for name, group in own.items()}
        loss, p_values = arrays.pop(LOSS, None), arrays.pop(P_VALUES, None)
        facts = groups[f"/{arm}"].attrs
        found[arm] = ArmReplicates(facts, arrays, loss, p_values, writes)
    return found
