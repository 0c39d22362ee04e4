"""Evidence for claims: replicates and facts of one model, and rows made from numbers.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from abspos.claims import verdicts
from abspos.claims.verdicts import POSITIVE, SHARE, Claimed
from abspos.components.readings import BY_NAME, fixed
from abspos.statistics.replicates import over_model, pooled, replicate_interval
from abspos.statistics.store import Arm, Replicates

#: Of fewer inputs, five carry half of the influence whatever they are.
INFLUENCE_INPUTS = 64
#: Note of numbers that no verdict is passed on.
BESIDE = "shown beside the claim"
#: Note of ratios that have no value, be it with one document left out.
UNDEFINED = "not finite: an energy in it is not positive"

#: Note of numbers of weights that no training has touched: no claim is about them.
UNTRAINED = "untrained weights: no verdict"

#: The arm that most claims compare with.
BOS = Arm("standard", "bos")

Row = dict[str, Any]
#: What a row holds besides columns: its Claimed, and standard error with degrees of freedom. From
#: these it can be decided at another level.
WANTED, SPREAD = "wanted", "spread"


@dataclass(frozen=True)
class Evidence:
    """Replicates and facts of one model, by arm.

    Attributes:
        arms: replicates and facts of every arm.
        tokens: text tokens at position 0 by input, before any replacement.
        swap_tokens: texts of the listed replacements.
        variants: the config's variants by name.
        confidence: level of the intervals.
        seed: of the split into halves.
        base: what stands at position 0 where a claim names nothing else: ``bos``, or ``no-bos``
            for a model without BOS.
        exchanged: whether the halves that choose and measure sink readers are exchanged.
        random: whether the model's own weights are random.
        primary: the reading that decides the claims on this model (abspos.components.readings).
        layers: which layers count (layer) bool, or None for all (see by_kind).
        kind: of these layers in the first arm; empty where ``layers`` is None.
    """

    arms: Replicates
    tokens: np.ndarray
    swap_tokens: Sequence[str]
    variants: Mapping[str, Mapping[str, Any]]
    confidence: float
    seed: int
    base: str = "bos"
    exchanged: bool = False
    random: bool = False
    primary: str = "R"
    layers: np.ndarray | None = None
    kind: str = ""

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
        mask, residual = (
            over_model(self.energies(arm, "early", lens, part), summary)
            for part in ("mask", "residual")
        )
        whole = mask + residual
        return over_model(energies, summary) / whole.where(whole > 0)

    def reference(self, arm: Arm, lens: str, summary: str, reading: str) -> Reference:
        """The early energy of a reading in an arm, as what a number is a share of."""
        share = self.share(arm, lens, summary, self.reading(arm, "early", lens, reading))
        return Reference(f"{reading} energy of {arm}", share)

    def energies(
        self, arm: Arm, which: str, lens: str, component: str = "residual"
    ) -> xr.DataArray:
        """Energies (layer, head, replicate) of one bin, lens and component; KeyError if none.

        NaN in layers that do not count, which means over layers leave out.
        """
        found = self.arms[arm].bins[which].sel(lens=lens, component=component, drop=True)
        if self.layers is None:
            return found
        return found.where(xr.DataArray(self.layers, dims="layer"))

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


def measured(
    evidence: Evidence,
    arms: Sequence[Arm],
    number: str,
    replicates: xr.DataArray | np.ndarray,
    claimed: Claimed | None,
    *,
    lens: str = "",
    summary: str = "",
    reading: str = "",
    primary: bool = False,
    note: str = "",
    layers: str = "",
    reference: Reference | None = None,
) -> Row:
    """One row with an estimate, its interval and its verdict.

    A number without a claimed value accompanies a claim and has no verdict, and neither has one of
    untrained weights alone. A ratio to a negligible energy is not testable. The note of a summary
    over layers of several kinds names them, unless ``layers`` does.

    Args:
        evidence: of the model.
        arms: that the number is of, the last being what the others are compared with.
        number: its name, with a unit in brackets.
        replicates: (replicate).
        claimed: of the number, or None.
        lens: of its energies.
        summary: over heads.
        reading: that the number is of; only that which decides on this model can be primary.
        primary: whether it was named beforehand.
        note: in words.
        layers: which layers it is over.
        reference: the energy that the number is a share of.
    """
    if claimed is None:
        note = BESIDE
    elif evidence.untrained(*arms):
        claimed, note = None, UNTRAINED
    if summary:
        note = "; ".join(filter(None, (note, layers or mixture(evidence, arms))))
    values = np.asarray(replicates, dtype=np.float64)
    found = replicate_interval(values, evidence.confidence, summary)
    estimate, low, high = (float(x) for x in (found.estimate, found.low, found.high))
    inputs = min(evidence.facts[a]["inputs"] for a in arms)
    if found.influence > 0.5 and inputs >= INFLUENCE_INPUTS:
        share = f"five inputs carry {float(found.influence):.0%} of the influence"
        note = "; ".join(filter(None, (note, share)))
    if claimed is not None and not np.isfinite([low, high]).all():
        note = "; ".join(filter(None, (note, UNDEFINED)))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(found.freedom, -abs(estimate / found.se))
    stated = "" if claimed is None else str(claimed)
    negligible = reference.negligible(evidence.confidence, summary) if claimed and reference else ""
    if negligible:
        claimed, p = None, np.nan
        note = "; ".join(filter(None, (note, negligible)))
    row = {
        "arms": compared(arms),
        "number": number,
        "lens": lens,
        "summary": summary,
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
        "claimed": stated,
        "verdict": verdicts.NOT_TESTABLE if negligible else "",
        "primary": primary and reading in ("", evidence.primary),
        "n_inputs": inputs,
        "note": note,
        "p_value": float(p),
        "influence": float(found.influence),
        **of_reading(evidence, reading),
        WANTED: claimed,
        SPREAD: (float(found.se), found.freedom),
    }
    return decided(row, evidence.confidence)


def decided(row: Row, level: float) -> Row:
    """A row with its verdict, by the interval of one level; as it is where none is passed on it.

    Args:
        row: as `measured` made it.
        level: of confidence.
    """
    claimed = row.get(WANTED)
    if claimed is None:
        return row
    se, freedom = row[SPREAD]
    reach = float(special.stdtrit(freedom, (1 + level) / 2)) * se
    low, high = row["estimate"] - reach, row["estimate"] + reach
    return row | {
        "verdict": verdicts.verdict(low, high, claimed),
        "level": level,
        "decided_low": low,
        "decided_high": high,
        "n_decides": verdicts.n_decides(low, high, row["n_inputs"], claimed),
        "excludes_claimed": verdicts.excludes(low, high, claimed),
    }


def of_reading(evidence: Evidence, reading: str) -> Row:
    """A row's reading, and when it was fixed; both empty for numbers without one."""
    return {"reading": reading, "fixed": reading and fixed(reading, evidence.primary)}


def mixture(evidence: Evidence, arms: Sequence[Arm]) -> str:
    """How many layers of each kind a number is over, where they are of several; else empty."""
    mixed = [arm for arm in arms if len(set(evidence.kinds(arm))) > 1]
    return f"over {counted(evidence.kinds(mixed[0]))} layers" if mixed else ""


def counted(kinds: Sequence[str]) -> str:
    """Kinds with their numbers of layers: ``6 full and 20 sliding``."""
    return " and ".join(f"{number} {kind}" for kind, number in sorted(Counter(kinds).items()))


def compared(arms: Sequence[Arm]) -> str:
    """Arms as text, the last being what the others are compared with: ``v/a, v/b vs v/bos``."""
    *treated, last = map(str, arms)
    return f"{', '.join(treated)} vs {last}" if treated else last


def not_testable(
    why: str, lens: str = "", claimed: object = POSITIVE, arms: Sequence[Arm] = ()
) -> Row:
    """One row of a claim, or of its part on some arms, that this study cannot test, and why."""
    return {
        "arms": compared(arms) if arms else "",
        "lens": lens,
        "claimed": str(claimed),
        "verdict": verdicts.NOT_TESTABLE,
        "primary": lens != "probability",
        "note": why,
    }


def constructed(
    evidence: Evidence, number: str, error: float, tolerance: float, lens: str = ""
) -> Row:
    """One row of a theorem: the largest error over all arms, and the tolerance it is held to."""
    return {
        "arms": "all",
        "number": number,
        "lens": lens,
        "estimate": error,
        "claimed": f"<= {tolerance:g}",
        "verdict": verdicts.theorem(error, tolerance),
        "primary": True,
        "n_inputs": max(f["inputs"] for f in evidence.facts.values()),
        "note": "a theorem: tests the implementation, not the model",
    }
