"""Every trained variant beside the standard model: what it takes from R and mask, what it costs.

Source: docs/method.md, section 5 (dose series).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from abspos.claims.estimands import reduction
from abspos.claims.evidence import UNDEFINED, Evidence, Row
from abspos.components.lenses import LENSES
from abspos.statistics.replicates import SUMMARIES, over_model, replicate_interval
from abspos.statistics.store import Arm

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
]


def changes(evidence: Evidence) -> Iterator[Row]:
    """One row a number of every trained variant under bos, against standard under bos; under no-bos
    of a model without BOS.

    Reductions 1 - E / E_standard of R and mask at early queries, of R beyond a window, and the
    rise of the loss. A bin without queries and an energy that is not positive give no number, but
    a note that says why it is not testable.
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
        for number, which, lens, summary, replicates, note in compared(evidence, arm, reference):
            yield about | {
                "number": number,
                "bin": which,
                "lens": lens,
                "summary": summary,
                **estimated(evidence, replicates, note, summary),
            }


def compared(
    evidence: Evidence, arm: Arm, reference: Arm
) -> Iterator[tuple[str, str, str, str, xr.DataArray | np.ndarray | None, str]]:
    """Number, bin, lens, summary, replicates (None: there are none) and note of one arm."""
    window = evidence.variants[arm.variant].get("window")
    for lens in LENSES:
        for component in ("residual", "mask"):
            pair = [evidence.energies(a, "early", lens, component) for a in (arm, reference)]
            for summary in SUMMARIES:
                replicates = reduction(*(over_model(x, summary) for x in pair))
                yield f"reduction of {component} energy", "early", lens, summary, replicates, ""
        if window is None:
            continue
        bins = [evidence.beyond(a, window) for a in (arm, reference)]
        for summary in SUMMARIES:
            found = None
            if all(bins):
                beyond = [
                    evidence.energies(a, str(b), lens)
                    for a, b in zip((arm, reference), bins, strict=True)
                ]
                found = reduction(*(over_model(x, summary) for x in beyond))
            why = "" if all(bins) else f"not testable: no early query lies beyond {window} keys"
            yield "reduction of residual energy", "beyond", lens, summary, found, why
    losses = [evidence.loss(a) for a in (arm, reference)]
    yield "rise of loss [nats per token]", "", "", "", losses[0] - losses[1], ""


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
