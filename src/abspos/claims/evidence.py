"""Evidence for claims: replicates and facts of one model.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from abspos.claims.verdicts import SHARE
from abspos.components.readings import BY_NAME
from abspos.statistics.replicates import SUMMARIES, over_model, pooled, replicate_interval
from abspos.statistics.store import Arm, Replicates

#: The arm that most claims compare with.
BOS = Arm("standard", "bos")

Asked = ParamSpec("Asked")
Made = TypeVar("Made")


def once(
    function: Callable[Concatenate[Evidence, Asked], Made],
) -> Callable[Concatenate[Evidence, Asked], Made]:
    """Make what a function of evidence, or a method of it, gives once for equal arguments.

    Many rows divide by the same energies. The key is made of all arguments: none can be forgotten.
    """
    name = f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def kept(evidence: Evidence, *args: Asked.args, **kwargs: Asked.kwargs) -> Made:
        key = (name, args, tuple(sorted(kwargs.items())))
        if key not in evidence._made:
            evidence._made[key] = function(evidence, *args, **kwargs)
        return evidence._made[key]

    return kept


@dataclass(frozen=True)
class Evidence:
    """Replicates and facts of one model, by arm.

    Attributes:
        arms: replicates and facts of every arm.
        swap_tokens: texts of the listed replacements.
        variants: the config's variants by name.
        confidence: level of the intervals.
        seed: of the split into halves.
        base: what stands at position 0 where a claim names nothing else: ``bos``, or ``no-bos``
            for a model without BOS.
        random: whether the model's own weights are random.
        primary: the reading that decides the claims on this model (abspos.components.readings).
        layers: which layers count (layer) bool, or None for all (see by_kind).
        kind: of these layers in the first arm; empty where ``layers`` is None.
        summaries: over heads, of which rows are made.
    """

    arms: Replicates
    swap_tokens: Sequence[str]
    variants: Mapping[str, Mapping[str, Any]]
    confidence: float
    seed: int
    base: str = "bos"
    random: bool = False
    primary: str = "R"
    layers: np.ndarray | None = None
    kind: str = ""
    summaries: Sequence[str] = SUMMARIES
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def facts(self) -> dict[Arm, dict[str, Any]]:
        """Facts of every arm (see abspos.statistics.store.facts_of)."""
        return {arm: own.facts for arm, own in self.arms.items()}

    def arm(self, variant: str) -> Arm:
        """A variant with what stands at position 0 where a claim names nothing else."""
        return Arm(variant, self.base)

    def has(self, *arms: Arm) -> bool:
        """Whether all these arms were run, on all inputs."""
        most = max(own.inputs for own in self.arms.values())
        return all(arm in self.arms and self.arms[arm].inputs == most for arm in arms)

    def trained(self) -> list[str]:
        """Names of the variants with trained weights."""
        return [name for name, variant in self.variants.items() if not variant.get("untrained")]

    def untrained(self, *arms: Arm) -> bool:
        """Whether all these arms have weights that no training has touched."""
        return self.random or all(self.variants[arm.variant].get("untrained") for arm in arms)

    def twins(self, window: int | None) -> list[Arm]:
        """Arms of untrained weights with a variant's window, or with none but the model's own."""
        return [
            self.arm(name)
            for name, variant in self.variants.items()
            if variant.get("untrained")
            and variant.get("window") == window
            and not variant.get("rope")
        ]

    def share(self, arm: Arm, lens: str, summary: str, energies: xr.DataArray) -> xr.DataArray:
        """Share (replicate) of mask + R, early, that energies of a component have in an arm.

        Args:
            arm: whose mask and R.
            lens: of the energies.
            summary: over heads, taken of each energy before they are divided.
            energies: (layer, head, replicate).
        """
        return over_model(energies, summary) / self.whole(arm, lens, summary)

    @once
    def whole(self, arm: Arm, lens: str, summary: str) -> xr.DataArray:
        """Early mask + R (replicate) of an arm, NaN where that is not positive."""
        mask, residual = (
            over_model(self.energies(arm, "early", lens, part), summary)
            for part in ("mask", "residual")
        )
        whole = mask + residual
        return whole.where(whole > 0)

    @once
    def reference(self, arm: Arm, lens: str, summary: str, reading: str) -> Reference:
        """The early energy of a reading in an arm, as what a number is a share of."""
        energies = self.reading(arm, "early", lens, reading)
        return Reference(f"{reading} energy of {arm}", self.share(arm, lens, summary, energies))

    def energies(
        self, arm: Arm, which: str, lens: str, component: str = "residual"
    ) -> xr.DataArray:
        """Energies (layer, head, replicate) of one bin, lens and component; KeyError if none.

        NaN in layers that do not count, which means over layers leave out.
        """
        found = self.arms[arm].bins[which].sel(lens=lens, component=component, drop=True)
        if self.layers is None:
            return found
        # As xarray's `where`, which took a fifth of the time of all claims to align one axis.
        return found.copy(data=np.where(self.layers[:, None, None], found.values, np.nan))

    def reading(self, arm: Arm, which: str, lens: str, reading: str) -> xr.DataArray:
        """Energies (layer, head, replicate) of one reading in one bin and lens.

        Beyond a window position 0 is out of sight: of the reading ``sink`` the row part alone is
        left, and in the probability lens, where that is 0 by construction, NaN.
        """
        there = self.arms[arm].bins[which]["component"].values
        parts = [part for part in BY_NAME[reading].parts if part in there]
        first, *others = (self.energies(arm, which, lens, part) for part in parts)
        return sum(others, first)

    def crossed(self, arm: Arm, lens: str, reading: str, which: str = "cross") -> xr.DataArray:
        """Inner products U(b, s) (layer, head, replicate) of one reading's early fields with those
        of bos; with ``half-cross`` on the half of the inputs that no head is chosen on."""
        return self.energies(arm, which, lens, BY_NAME[reading].joint)

    def loss(self, arm: Arm) -> np.ndarray:
        """Next-token loss (replicate) of one arm in nats per token."""
        loss = self.arms[arm].loss
        assert loss is not None
        return loss.values

    def p_value(self, arm: Arm, lens: str, component: str, summary: str) -> float:
        """Sign-flip test of an early summary over heads: of the mask, or of a reading by its joint
        component (abspos.components.readings). NaN where these layers were not tested as one."""
        p_values = self.arms[arm].p_values
        assert p_values is not None
        kind = pooled(self.kinds(arm))
        if kind not in p_values["kind"]:
            return float("nan")
        return float(p_values.sel(kind=kind, lens=lens, component=component, summary=summary))

    def conditions(self, variant: str) -> list[str]:
        """Conditions of a variant that were run on all inputs."""
        return [arm.condition for arm in self.arms if arm.variant == variant and self.has(arm)]

    def beyond(self, arm: Arm, window: int) -> str | None:
        """The bin of an arm's queries that a window of so many keys keeps from position 0, if any.

        A windowed arm has its own bin alone, others one for each window of the study and of
        their own layers.
        """
        beyond = self.arms[arm].facts["beyond"].items()
        return next((which for which, keys in beyond if keys == window), None)

    def kinds(self, arm: Arm) -> list[str]:
        """The kind of each layer of an arm that counts."""
        every = np.array(self.arms[arm].facts.get("kind", []))
        return list(map(str, every[self.counting(len(every))]))

    @property
    def all_kinds(self) -> str:
        """The kind of the layers that count, in the first arm; several joined by ``+``."""
        return self.kind or pooled(self.kinds(next(iter(self.arms))))

    def counting(self, number: int) -> np.ndarray:
        """Which of so many layers count (layer) bool."""
        return np.ones(number, dtype=bool) if self.layers is None else self.layers

    @once
    def by_kind(self) -> list[Evidence]:
        """The evidence on the layers of each kind; empty where all layers are of one.

        Layers share a kind if they do in every arm, and have the name that it has in the first: no
        window or RoPE of a variant puts layers together that the model keeps apart.
        """
        kinds = [own.facts.get("kind", []) for own in self.arms.values()]
        together = list(zip(*kinds, strict=True))
        if len(set(together)) < 2:
            return []
        return [
            replace(self, layers=np.array([kind == one for kind in together]), kind=one[0])
            for one in sorted(set(together))
        ]


@dataclass(frozen=True)
class Reference:
    """An energy that a number is a share of.

    Attributes:
        name: in words, with its arm.
        share: its own share of mask + R (replicate), see `Evidence.share`.
    """

    name: str
    share: xr.DataArray

    def negligible(self, confidence: float, summary: str) -> str:
        """Why there is nothing to compare with: the interval is not clear of 1 %; else empty."""
        values = np.asarray(self.share, dtype=np.float64)
        found = replicate_interval(values, confidence, summary)
        if float(found.low) > SHARE.least:
            return ""
        share, low, high = (
            f"{100 * float(x):.2g}" for x in (found.estimate, found.low, found.high)
        )
        return (
            f"{self.name} is {share} % [{low}, {high}] of mask + R, "
            f"not clear of {100 * SHARE.least:g} %: nothing to compare with"
        )
