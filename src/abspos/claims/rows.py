"""Rows of the claim table, made from numbers: estimate, interval, verdict.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from abspos.claims import verdicts
from abspos.claims.evidence import Evidence, Reference
from abspos.claims.verdicts import POSITIVE, Claimed
from abspos.components.readings import fixed
from abspos.statistics.replicates import replicate_interval
from abspos.statistics.store import Arm

#: Of fewer inputs, five carry half of the influence whatever they are.
INFLUENCE_INPUTS = 64
#: Note of numbers that no verdict is passed on.
BESIDE = "shown beside the claim"
#: Note of ratios that have no value, be it with one document left out.
UNDEFINED = "not finite: an energy in it is not positive"
#: Note of numbers of weights that no training has touched: no claim is about them.
UNTRAINED = "untrained weights: no verdict"

Row = dict[str, Any]
#: What a row holds besides columns: its Claimed, and standard error with degrees of freedom, from
#: which it can be decided at another level; and the replicates of its number.
WANTED, SPREAD, REPLICATES = "wanted", "spread", "replicates"
#: Columns that `decided` adds.
DECIDED = ("level", "decided_low", "decided_high", "n_decides", "excludes_claimed")


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
        REPLICATES: values,
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
