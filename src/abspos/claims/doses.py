"""Every trained variant beside the standard model: what it takes from R and mask, what it costs.

Source: docs/method.md, section 5 (dose series).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import xarray as xr

from abspos.claims.estimands import reduction
from abspos.claims.evidence import Evidence
from abspos.claims.rows import UNDEFINED, Row, of_reading
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics.replicates import SUMMARIES, over_model, replicate_interval
from abspos.statistics.store import Arm

RESIDUAL = "reduction of residual energy"
COLUMNS = [
    "model",
    "revision",
    "variant",
    "rope_type",
    "factor",
    "window",
    "number",
    "bin",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "n_inputs",
    "note",
    "reading",
    "kind",
    "fixed",
]


def changes(evidence: Evidence) -> Iterator[Row]:
    """One row a number of every trained variant under bos, against standard under bos; under no-bos
    of a model without BOS.

    Reductions 1 - E / E_standard of each reading of R and of the mask at early queries, of R and
    its pattern beyond a window, and the rise of the loss. A bin without queries and an energy that
    is not positive give no number, but a note that says why it is not testable.
    """
    reference = evidence.arm("standard")
    for name, variant in evidence.variants.items():
        arm = evidence.arm(name)
        if arm == reference or variant.get("untrained") or not evidence.has(arm, reference):
            continue
        rope = variant.get("rope") or {}
        about = {
            "variant": name,
            "rope_type": rope.get("rope_type", ""),
            "factor": rope.get("factor"),
            "window": variant.get("window"),
            "n_inputs": evidence.facts[arm]["inputs"],
        }
        for one in compared(evidence, arm, reference):
            yield about | {
                "number": one.number,
                "bin": one.which,
                "lens": one.lens,
                "summary": one.summary,
                **estimated(evidence, one.replicates, one.note, one.summary),
                **of_reading(evidence, one.reading),
            }


class Change(NamedTuple):
    """One number of one arm: what it is of, its replicates or None, and why there are none."""

    number: str
    replicates: xr.DataArray | np.ndarray | None
    which: str = ""
    lens: str = ""
    summary: str = ""
    reading: str = ""
    note: str = ""


def compared(evidence: Evidence, arm: Arm, reference: Arm) -> Iterator[Change]:
    """Every number of one arm against another."""
    arms = arm, reference
    for lens in LENSES:
        for reading in READINGS:
            pair = [evidence.reading(a, "early", lens, reading.name) for a in arms]
            for summary in SUMMARIES:
                found = reduction(*(over_model(x, summary) for x in pair))
                yield Change(RESIDUAL, found, "early", lens, summary, reading.name)
        pair = [evidence.energies(a, "early", lens, "mask") for a in arms]
        for summary in SUMMARIES:
            found = reduction(*(over_model(x, summary) for x in pair))
            yield Change("reduction of mask energy", found, "early", lens, summary)
        window = evidence.variants[arm.variant].get("window")
        if window is not None:
            yield from beyond_window(evidence, arm, reference, lens, window)
    losses = [evidence.loss(a) for a in arms]
    yield Change("rise of loss [nats per token]", losses[0] - losses[1])


def beyond_window(
    evidence: Evidence, arm: Arm, reference: Arm, lens: str, window: int
) -> Iterator[Change]:
    """Every number of one arm against another, of queries beyond a window.

    The reading ``sink`` has none: position 0 is out of sight.
    """
    bins = [evidence.beyond(a, window) for a in (arm, reference)]
    why = "" if all(bins) else f"not testable: no early query lies beyond {window} keys"
    for reading, summary in product(READINGS, SUMMARIES):
        found = None
        if reading.name == "sink":
            continue
        if all(bins):
            pair = [
                evidence.reading(a, str(b), lens, reading.name)
                for a, b in zip((arm, reference), bins, strict=True)
            ]
            found = reduction(*(over_model(x, summary) for x in pair))
        yield Change(RESIDUAL, found, "beyond", lens, summary, reading.name, why)


def estimated(
    evidence: Evidence, replicates: xr.DataArray | np.ndarray | None, note: str, summary: str
) -> dict[str, object]:
    """Estimate and interval as columns, or none and why."""
    none = {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    if replicates is None:
        return none | {"note": note}
    found = replicate_interval(
        np.asarray(replicates, dtype=np.float64), evidence.confidence, summary
    )
    values = [float(x) for x in (found.estimate, found.low, found.high)]
    if not np.isfinite(values).all():
        return none | {"note": f"not testable: {UNDEFINED}"}
    return dict(zip(none, values, strict=True)) | {"note": note}
