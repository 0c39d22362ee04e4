"""The claims on variants of the same weights: ntk-suppresses and window-accumulates.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from abspos.claims import estimands
from abspos.claims.evidence import Evidence
from abspos.claims.rows import Row, measured, not_testable, of_reading
from abspos.claims.verdicts import POSITIVE, REDUCTION, Claimed
from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.statistics.replicates import over_model
from abspos.statistics.store import Arm

SLOPES = "difference of slopes [energy per layer]"
LOSS = "rise of loss [nats per token]"
#: A slope over fewer layers says nothing of depth.
FEWEST_LAYERS = 3
#: A window that costs more is none that the weights were trained with, in nats per token.
MOST_LOSS = 0.5


def changed(evidence: Evidence, key: str) -> list[str]:
    """Names of the trained variants in which this one thing is changed: rope, window."""
    return [
        name
        for name in evidence.trained()
        if evidence.has(evidence.arm(name))
        and evidence.variants[name].get(key)
        and not any(evidence.variants[name].get(k) for k in {"rope", "window"} - {key})
    ]


def ntk_factors(evidence: Evidence) -> dict[str, float]:
    """Factors of the trained variants that change nothing but RoPE, by static NTK scaling."""
    ropes = {name: evidence.variants[name]["rope"] for name in changed(evidence, "rope")}
    return {name: rope["factor"] for name, rope in ropes.items() if rope["rope_type"] == "ntk"}


def ntk_suppresses(evidence: Evidence) -> Iterator[Row]:
    """Reduction of each reading's early energy under NTK scaling, with BOS; beside it mask, loss.

    For a model without BOS the same numbers are shown without a verdict.
    """
    reference = evidence.arm("standard")
    without = evidence.base != "bos"
    factors = ntk_factors(evidence)
    if without:
        for lens in LENSES:
            why = "is about BOS at position 0, which this model has not"
            yield not_testable(why, lens, REDUCTION)
    elif not evidence.has(reference) or not any(factor > 1 for factor in factors.values()):
        why = "needs an ntk variant of a factor above 1 and standard, both under bos"
        for lens in LENSES:
            yield not_testable(why, lens, REDUCTION)
    for name, factor in factors.items() if evidence.has(reference) else ():
        arm = evidence.arm(name)
        beside = factor < 1 or without
        for lens in LENSES:
            for reading in READINGS:
                pair = [evidence.reading(a, "early", lens, reading.name) for a in (arm, reference)]
                claimed = None if beside else REDUCTION
                yield from reduced(evidence, [arm, reference], pair, claimed, lens, reading.name)
            masks = [evidence.energies(a, "early", lens, "mask") for a in (arm, reference)]
            yield from reduced(evidence, [arm, reference], masks, None, lens)
        yield loss_row(evidence, [arm, reference])


def loss_row(evidence: Evidence, arms: Sequence[Arm]) -> Row:
    """The rise of the loss from the second arm to the first; beside a claim."""
    losses = [evidence.loss(arm) for arm in arms]
    return measured(evidence, arms, LOSS, losses[0] - losses[1], None)


def reduced(
    evidence: Evidence,
    arms: Sequence[Arm],
    energies: Sequence[xr.DataArray],
    claimed: Claimed | None,
    lens: str,
    reading: str = "",
) -> Iterator[Row]:
    """Reduction of one component's energy from the second arm to the first, in both summaries.

    Args:
        evidence: of the model.
        arms: the variant, and what it is compared with.
        energies: (layer, head, replicate) of each.
        claimed: of the reduction, or None for one beside the claim.
        lens: of the energies.
        reading: its name where the component is one of R; empty for the mask.
    """
    for summary in evidence.summaries:
        yield measured(
            evidence,
            arms,
            f"reduction of {'residual' if reading else 'mask'} energy",
            estimands.reduction(*(over_model(x, summary) for x in energies)),
            claimed,
            lens=lens,
            summary=summary,
            reading=reading,
            primary=lens == "log" and summary == "median" and claimed is not None,
            reference=evidence.reference(arms[1], lens, summary, reading) if reading else None,
        )


def window_accumulates(evidence: Evidence) -> Iterator[Row]:
    """Slope with depth of the energy beyond the window: against standard, against untrained.

    Beside it the share of the slope that stays with position 0 zeroed, and what the window costs.
    """
    yield from native_windows(evidence)
    tested = changed(evidence, "window")
    if not tested:
        for lens in LENSES:
            yield not_testable(f"needs a window variant under {evidence.base}", lens)
    for name in tested:
        arm, window = evidence.arm(name), evidence.variants[name]["window"]
        others = evidence.twins(window) or [evidence.arm("an untrained window")]
        standard = evidence.arm("standard")
        cost = [loss_row(evidence, [arm, standard])] if evidence.has(standard) else []
        for other in (standard, *others):
            why = unfit_for_slopes(evidence, arm, other, window)
            if not why:
                yield from compared_slopes(evidence, arm, other, window, untrained_for(cost))
                continue
            for lens in LENSES:
                yield not_testable(why, lens, arms=[arm, other])
        yield from kept_slopes(evidence, arm, Arm(name, "ablate-zero"), window)
        yield from cost


def untrained_for(cost: Sequence[Row]) -> str:
    """That a window is out of a model's training, in words, if it costs more than `MOST_LOSS`."""
    for row in cost:
        if row["ci_low"] > MOST_LOSS:
            ends = f"{row['estimate']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
            return f"the window costs {ends} nats of loss: out of the model's training"
    return ""


def kept_slopes(evidence: Evidence, arm: Arm, zeroed: Arm, window: int) -> Iterator[Row]:
    """Share of the slope beyond the window that stays with position 0 zeroed; beside the claim."""
    if not evidence.has(zeroed) or unfit_for_slopes(evidence, arm, zeroed, window):
        return
    layers = reached_layers(evidence, arm)
    for lens, reading in product(LENSES, READINGS):
        if (lens, reading.name) == ("probability", "sink"):  # 0 by construction
            continue
        pair = [
            evidence.reading(a, evidence.beyond(a, window) or "", lens, reading.name)
            for a in (zeroed, arm)
        ]
        for summary in evidence.summaries:
            kept, whole = (estimands.accumulation(x, layers, summary) for x in pair)
            yield measured(
                evidence,
                [zeroed, arm],
                "share of the slope that stays with position 0 zeroed",
                kept / whole.where(whole > 0),
                None,
                lens=lens,
                summary=summary,
                reading=reading.name,
            )


def native_windows(evidence: Evidence) -> Iterator[Row]:
    """Slopes of a model with windows of its own, as published against untrained; beside the claim.

    It has no counterpart without windows, and in hybrids position 0 stays visible through the full
    layers, so nothing is decided by it.
    """
    arm = evidence.arm("standard")
    windows = evidence.facts[arm]["window"] if evidence.has(arm) else []
    for window in sorted({w for w in windows if w is not None}):
        for other in evidence.twins(None):
            if not unfit_for_slopes(evidence, arm, other, window):
                yield from compared_slopes(evidence, arm, other, window, decides=False)


def unfit_for_slopes(evidence: Evidence, arm: Arm, other: Arm, window: int) -> str:
    """Why the slopes of two arms cannot be compared; empty if they can."""
    if not evidence.has(other):
        return f"needs {other}"
    if not (evidence.beyond(arm, window) and evidence.beyond(other, window)):
        return f"no early query lies beyond {window} keys"
    reached = int(reached_layers(evidence, arm).sum())
    if reached < FEWEST_LAYERS:
        return f"position 0 can have reached {reached} layers, a slope needs {FEWEST_LAYERS}"
    return ""


def reached_layers(evidence: Evidence, arm: Arm) -> np.ndarray:
    """Sliding layers of an arm that position 0 can have reached (layer) bool."""
    windows = evidence.facts[arm]["window"]
    slides = np.array([window is not None for window in windows])
    reached = estimands.reachable(windows, evidence.facts[arm]["length"] // 2)
    return evidence.counting(len(windows)) & slides & reached


def compared_slopes(
    evidence: Evidence,
    arm: Arm,
    other: Arm,
    window: int,
    remark: str = "",
    decides: bool = True,
) -> Iterator[Row]:
    """Difference of the two arms' slopes in each reading, in both lenses and summaries.

    Of the reading ``sink`` the row part alone is left beyond a window.

    Args:
        evidence: of the model.
        arm: with the window.
        other: that it is compared with.
        window: in keys.
        remark: on the window, for the notes.
        decides: whether the claim is decided by it.
    """
    layers = reached_layers(evidence, arm)
    full = evidence.facts[arm]["window"].count(None)
    chosen = f"{layers.sum()} sliding layers of {len(layers)}"
    chosen += f"; position 0 stays visible through {full} full layers" if full else ""
    for lens, reading in product(LENSES, READINGS):
        about: dict[str, Any] = {"lens": lens, "reading": reading.name}
        if (lens, reading.name) == ("probability", "sink"):
            why = "0 by construction: beyond a window position 0 is out of sight"
            row = not_testable(why, lens, arms=[arm, other]) | of_reading(evidence, reading.name)
            yield row | {"number": SLOPES}
            continue
        pair = [
            evidence.reading(a, evidence.beyond(a, window) or "", lens, reading.name)
            for a in (arm, other)
        ]
        for summary in evidence.summaries:
            slopes = [estimands.accumulation(x, layers, summary) for x in pair]
            yield measured(
                evidence,
                [arm, other],
                SLOPES,
                slopes[0] - slopes[1],
                POSITIVE,
                summary=summary,
                note="; ".join(filter(None, (f"queries beyond a window of {window} keys", remark))),
                layers="" if decides else chosen,
                primary=decides and lens == "log" and summary == "median",
                **about,
            )
