"""The factorial of a shift pair: how much of R its queries, its ordinary keys and key 0 make.

The energies E(S) of combinations with the factors S taken from bos and the others from the shifted
arm split, by inclusion and exclusion, into main effects and interactions:

    effect(S) = sum over T in S of (-1)^(|S| - |T|) E(T),      E(all) = sum of all effects

Source: docs/method.md, section 1 (abspos.components.pairs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, combinations
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from abspos.components.lenses import LENSES
from abspos.statistics import replicates as sl
from abspos.statistics.energies import packed_replicates

#: What is taken from one arm or the other, in the order of a combination's letters; the pattern
#: has no key 0.
FACTORS = ("queries", "keys", "key 0")
COMPONENTS: Mapping[str, tuple[str, ...]] = {"residual": FACTORS, "pattern": FACTORS[:2]}

COLUMNS = (
    "layer",
    "lens",
    "component",
    "summary",
    "effect",
    "energy",
    "share",
    "ci_low",
    "ci_high",
    "kind",
    "n_inputs",
)

#: Energy of all up to which there is nothing to share, in nats squared or probability squared: in
#: layer 0 the pattern of the same words is rounding.
NOTHING = 1e-9

Energies = TypeVar("Energies", float, np.ndarray, xr.DataArray)


def subsets(factors: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets but the empty one, small ones first."""
    sizes = range(1, len(factors) + 1)
    return list(chain.from_iterable(combinations(factors, size) for size in sizes))


def combination_of(chosen: tuple[str, ...], factors: tuple[str, ...]) -> str:
    """The combination with these factors taken from bos: ``AAB`` for queries and keys."""
    return "".join("A" if factor in chosen else "B" for factor in factors)


def effects(
    energies: Mapping[str, Energies], factors: tuple[str, ...] = FACTORS
) -> dict[str, Energies]:
    """Main effects and interactions, named by their factors (``queries x keys``); they add up to
    the energy of bos itself.

    Args:
        energies: of every combination but the one with nothing from bos, whose energy is 0.
        factors: in the order of a combination's letters.
    """
    found: dict[str, Energies] = {}
    for chosen in subsets(factors):
        # All that its energy has and no smaller set of its factors makes.
        smaller = [" x ".join(other) for other in subsets(chosen)[:-1]]
        found[" x ".join(chosen)] = energies[combination_of(chosen, factors)] - sum(
            found[name] for name in smaller
        )
    return found


def with_sums(
    energies: Mapping[str, Energies], factors: tuple[str, ...] = FACTORS
) -> dict[str, Energies]:
    """All effects, and beside them the sums that a reader asks for: ``all``, all ``interactions``,
    and ``all but key 0``."""
    found = effects(energies, factors)
    whole = energies["A" * len(factors)]
    sums = {"all": whole, "interactions": whole - sum(found[factor] for factor in factors)}
    if "key 0" in factors:
        sums["all but key 0"] = energies["AAB"]
    return found | sums


def combination_energies(store: xr.Dataset, component: str, lens: str) -> dict[str, xr.DataArray]:
    """Early energies (layer, head, replicate) of the combinations of a pair.

    Args:
        store: a component store of a pair.
        component: residual or pattern.
        lens: log or probability.
    """
    axis = f"combination_{component}"
    packed, documents = store[f"factorial_{component}"].sel(lens=lens), sl.documents_of(store)
    return {
        str(name): xr.DataArray(
            packed_replicates(packed.sel({axis: name}).values, documents),
            dims=("layer", "head", "replicate"),
        )
        for name in packed[axis].values
    }


def factorial(
    stores: Mapping[tuple[str, str], xr.Dataset], keys: Mapping[str, Any], confidence: float
) -> pd.DataFrame:
    """The table of every pair of a model: effects by layer, and of the model (no layer).

    A share is an effect over the energy of all; both are summaries over heads first. NaN where the
    latter is not above NOTHING.

    Args:
        stores: component stores by (variant, condition).
        keys: model and revision, the table's first columns.
        confidence: level of the intervals of shares.
    """
    frames = [
        pd.DataFrame({**keys, "variant": variant, "condition": condition, **columns})
        for (variant, condition), store in stores.items()
        if "factorial_residual" in store
        for columns in rows_of(store, confidence)
    ]
    names = [*keys, "variant", "condition", *COLUMNS]
    if not frames:
        return pd.DataFrame(columns=names)
    return pd.concat(frames, ignore_index=True).astype({"layer": "Int64"})[names]


def rows_of(store: xr.Dataset, confidence: float) -> Iterator[dict[str, Any]]:
    """Columns of the rows of one pair, by component, lens, summary, place and effect."""
    kinds = np.array(store.attrs["kind"])
    for component, factors in COMPONENTS.items():
        for lens in LENSES:
            energies = combination_energies(store, component, lens)
            for summary in sl.SUMMARIES:
                by_layer = {n: sl.over_heads(e, summary) for n, e in energies.items()}
                places = [(np.arange(len(kinds)), kinds, by_layer)]
                for name, chosen in sl.by_kind(kinds).items():
                    mean = {
                        n: e.isel(layer=chosen).mean("layer", keepdims=True)
                        for n, e in by_layer.items()
                    }
                    places.append((np.array([pd.NA]), np.array([name]), mean))
                for layer, kind, own in places:
                    for effect, energy in with_sums(own, factors).items():
                        whole = own["A" * len(factors)]
                        share = energy / whole.where(whole > NOTHING)
                        found = sl.replicate_interval(share, confidence, summary)
                        yield {
                            "layer": layer,
                            "lens": lens,
                            "component": component,
                            "summary": summary,
                            "effect": effect,
                            "energy": energy.isel(replicate=0).values,
                            "share": found.estimate,
                            "ci_low": found.low,
                            "ci_high": found.high,
                            "kind": kind,
                            "n_inputs": store.sizes["input"],
                        }
