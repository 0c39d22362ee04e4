"""What claims are judged on: slots and facts of one model, and how a number becomes a row.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from abspos.claims import verdicts
from abspos.claims.verdicts import Claimed
from abspos.statistics.replicates import slot_interval

LENSES = ("log", "probability")
#: Of fewer inputs, five carry half of the influence whatever they are.
INFLUENCE_INPUTS = 64
#: Note of numbers that no verdict is passed on.
BESIDE = "shown beside the claim"
#: Note of ratios that have no value, be it with one document left out.
UNDEFINED = "not finite: an energy in it is not positive"

Row = dict[str, Any]


@dataclass
class Evidence:
    """Slots and facts of one model, by arm.

    Attributes:
        data: slots of all arms.
        tokens: text tokens at position 0 by input, before any replacement.
        swap_tokens: texts of the listed replacements.
        variants: the config's variants by name.
        confidence: level of the intervals.
        seed: of the split into halves.
        base: what stands at position 0 where a claim names nothing else: ``bos``, or ``no-bos``
            for a model without BOS.
    """

    data: xr.Dataset
    tokens: np.ndarray
    swap_tokens: Sequence[str]
    variants: Mapping[str, Mapping[str, Any]]
    confidence: float
    seed: int
    base: str = "bos"
    facts: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.facts = self.data.attrs["facts"]

    def has(self, *arms: str) -> bool:
        """Whether all these arms were run, on all inputs."""
        most = max(f["inputs"] for f in self.facts.values())
        return all(a in self.facts and self.facts[a]["inputs"] == most for a in arms)

    def slots(self, arm: str, which: str, lens: str, component: str = "residual") -> xr.DataArray:
        """Slots (layer, head, slot) of one arm, bin, lens and component; KeyError if none."""
        name = f"{arm}:{which}"
        found = self.data[name]
        found = found.rename({d: str(d).removeprefix(f"{name}:") for d in found.dims})
        return found.sel(pair=f"{lens}/{component}", drop=True)

    def conditions(self, variant: str) -> list[str]:
        """Conditions of a variant that were run on all inputs."""
        arms = [a.split(":") for a in self.facts if self.has(a)]
        return [condition for name, condition in arms if name == variant]

    def beyond(self, arm: str, window: int) -> str | None:
        """The bin of an arm's queries that a window of so many keys keeps from position 0, if any.

        A windowed arm has its own bin alone, others one for each window of the study and of
        their own layers.
        """
        bins = self.facts[arm]["bins"].items()
        beyond = (name for name, (first, _) in bins if name != "early" and first == window)
        return next((name for name in beyond if name.startswith("beyond")), None)

    def kinds(self, arm: str) -> list[str]:
        """The kind of each layer of an arm."""
        return list(self.facts[arm].get("kind", []))


def measured(
    evidence: Evidence,
    claim: str,
    arms: Sequence[str],
    number: str,
    slots: xr.DataArray | np.ndarray,
    claimed: Claimed | None,
    *,
    lens: str = "",
    summary: str = "",
    primary: bool = False,
    note: str = "",
    layers: str = "",
) -> Row:
    """One row with an estimate, its interval and its verdict.

    Where nothing is claimed of the number it is shown beside a claim, without a verdict. A
    summary over layers of several kinds says so, unless ``layers`` says which they are.
    """
    if claimed is None:
        note = BESIDE
    if summary:
        note = "; ".join(filter(None, (note, layers or mixture(evidence, arms))))
    values = np.asarray(slots, dtype=np.float64)
    found = slot_interval(values, evidence.confidence, summary)
    estimate, low, high = (float(x) for x in (found.estimate, found.low, found.high))
    inputs = min(evidence.facts[a]["inputs"] for a in arms)
    if found.influence > 0.5 and inputs >= INFLUENCE_INPUTS:
        share = f"five inputs carry {float(found.influence):.0%} of the influence"
        note = "; ".join(filter(None, (note, share)))
    verdict = "" if claimed is None else verdicts.verdict(estimate, low, high, claimed)
    if verdict == verdicts.NOT_TESTABLE:
        note = "; ".join(filter(None, (note, UNDEFINED)))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(found.freedom, -abs(estimate / found.se))
    return {
        "claim": claim,
        "arms": compared(arms),
        "number": number,
        "lens": lens,
        "summary": summary,
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
        "claimed": "" if claimed is None else str(claimed),
        "verdict": verdict,
        "primary": primary,
        "n_inputs": inputs,
        "note": note,
        "p_value": float(p),
        "influence": float(found.influence),
    }


def mixture(evidence: Evidence, arms: Sequence[str]) -> str:
    """How many layers of each kind a number is over, where they are of several; else empty."""
    mixed = [arm for arm in arms if len(set(evidence.kinds(arm))) > 1]
    return f"over {counted(evidence.kinds(mixed[0]))} layers" if mixed else ""


def counted(kinds: Sequence[str]) -> str:
    """Kinds with their numbers of layers: ``6 full and 20 sliding``."""
    return " and ".join(f"{number} {kind}" for kind, number in sorted(Counter(kinds).items()))


def compared(arms: Sequence[str]) -> str:
    """Arms as text, the last being what the others are compared with: ``v/a, v/b vs v/bos``."""
    *treated, last = (arm.replace(":", "/") for arm in arms)
    return f"{', '.join(treated)} vs {last}" if treated else last


def not_testable(
    claim: str, why: str, lens: str = "", claimed: object = Claimed(), arms: Sequence[str] = ()
) -> Row:
    """One row of a claim, or of its part on some arms, that this study cannot test, and why."""
    return {
        "claim": claim,
        "arms": compared(arms) if arms else "",
        "lens": lens,
        "claimed": str(claimed),
        "verdict": verdicts.NOT_TESTABLE,
        "primary": lens != "probability",
        "note": why,
    }


def constructed(
    evidence: Evidence, claim: str, number: str, error: float, tolerance: float, lens: str = ""
) -> Row:
    """One row of a theorem: the largest error over all arms, and the tolerance it is held to."""
    return {
        "claim": claim,
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
