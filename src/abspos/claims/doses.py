"""Every trained variant beside the standard model: what it takes from R and mask, what it costs.

Source: docs/method.md, section 5 (dose series).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from abspos.claims.estimands import reduction
from abspos.claims.evidence import LENSES, UNDEFINED, Evidence, Row
from abspos.statistics.replicates import SUMMARIES, over_model, slot_interval

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
    reference = f"standard:{evidence.base}"
    for name, variant in evidence.variants.items():
        arm = f"{name}:{evidence.base}"
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
        for number, which, lens, summary, slots, note in compared(evidence, arm, reference):
            yield about | {
                "number": number,
                "bin": which,
                "lens": lens,
                "summary": summary,
                **estimated(evidence, slots, note, summary),
            }


def compared(
    evidence: Evidence, arm: str, reference: str
) -> Iterator[tuple[str, str, str, str, xr.DataArray | np.ndarray | None, str]]:
    """Number, bin, lens, summary, slots (None: there are none) and note of one arm."""
    window = evidence.variants[arm.split(":")[0]].get("window")
    for lens in LENSES:
        for component in ("residual", "mask"):
            pair = [evidence.slots(a, "early", lens, component) for a in (arm, reference)]
            for summary in SUMMARIES:
                slots = reduction(*(over_model(x, summary) for x in pair))
                yield f"reduction of {component} energy", "early", lens, summary, slots, ""
        if window is None:
            continue
        bins = [evidence.beyond(a, window) for a in (arm, reference)]
        for summary in SUMMARIES:
            found = None
            if all(bins):
                beyond = [
                    evidence.slots(a, str(b), lens)
                    for a, b in zip((arm, reference), bins, strict=True)
                ]
                found = reduction(*(over_model(x, summary) for x in beyond))
            why = "" if all(bins) else f"not testable: no early query lies beyond {window} keys"
            yield "reduction of residual energy", "beyond", lens, summary, found, why
    losses = [evidence.data[f"{a}:loss"].values for a in (arm, reference)]
    yield "rise of loss [nats per token]", "", "", "", losses[0] - losses[1], ""


def estimated(
    evidence: Evidence, slots: xr.DataArray | np.ndarray | None, note: str, summary: str
) -> dict[str, object]:
    """Estimate and interval as columns, or none and why."""
    none = {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    if slots is None:
        return none | {"note": note}
    found = slot_interval(np.asarray(slots, dtype=np.float64), evidence.confidence, summary)
    values = [float(x) for x in (found.estimate, found.low, found.high)]
    if not np.isfinite(values).all():
        return none | {"note": f"not testable: {UNDEFINED}"}
    return dict(zip(none, values, strict=True)) | {"note": note}
