"""The claim table: every claim of the paper, as numbers with intervals and a verdict.

Source: docs/method.md, section 5. Reads slots only (see abspos.statistics.store).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from abspos.arrays import open_dataset
from abspos.claims import doses, estimands, guards
from abspos.claims.evidence import LENSES, Evidence, Row, constructed, measured, not_testable
from abspos.claims.readers import fingerprint, sink_readers
from abspos.claims.verdicts import Claimed
from abspos.csv_tables import write_csv
from abspos.statistics.energies import holm
from abspos.statistics.replicates import SUMMARIES, by_kind, over_heads, over_model
from abspos.study.conditions import CONDITIONS, TABLE, is_arm, split

#: The claimed 40 % of bos-swap.
SWAP = Claimed(0.40)
POSITIVE = Claimed()
#: ntk-suppresses is reproduced from a tenth on.
TENTH = Claimed(least=0.10)
#: Tolerances of the theorems: in nats for the identity, and relative for the trajectory, where two
#: forward passes of different shapes are compared, by their dtype.
IDENTITY_TOLERANCE, TRAJECTORY_TOLERANCE = 1e-3, {"float32": 1e-3, "bfloat16": 5e-2}
#: A slope over fewer layers says nothing of depth.
FEWEST_LAYERS = 3
#: Below this many inputs verdicts are preliminary.
ENOUGH_INPUTS = 128


COLUMNS = [
    "claim",
    "model",
    "revision",
    "arms",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "claimed",
    "verdict",
    "primary",
    "n_inputs",
    "note",
    "p_value",
    "p_adjusted",
    "preliminary",
    "influence",
]

SWAP_COLUMNS = [
    "model",
    "revision",
    "replacement",
    "token",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "n_inputs",
    "primary",
    "verdict",
]


def trained(evidence: Evidence) -> list[str]:
    """Names of the variants with trained weights."""
    return [name for name, variant in evidence.variants.items() if not variant.get("untrained")]


def changed(evidence: Evidence, key: str) -> list[str]:
    """Names of the trained variants in which this one thing is changed: rope, window."""
    return [
        name
        for name in trained(evidence)
        if evidence.has(f"{name}:{evidence.base}")
        and evidence.variants[name].get(key)
        and not any(evidence.variants[name].get(k) for k in {"rope", "window"} - {key})
    ]


def both_present(evidence: Evidence) -> Iterator[Row]:
    """Energies of mask and of R, early, in every variant; of a hybrid's kinds of layers beside."""
    base = evidence.base
    if not any(evidence.has(f"{variant}:{base}") for variant in trained(evidence)):
        for lens in LENSES:
            yield not_testable("both-present", f"needs a trained variant under {base}", lens)
    for variant in evidence.variants:
        arm = f"{variant}:{base}"
        if not evidence.has(arm):
            continue
        for lens in LENSES:
            for component in ("mask", "residual"):
                slots = evidence.slots(arm, "early", lens, component)
                for summary in SUMMARIES:
                    primary = lens == "log" and summary == "median" and variant in trained(evidence)
                    row = measured(
                        evidence,
                        "both-present",
                        [arm],
                        f"{component} energy",
                        over_model(slots, summary),
                        POSITIVE,
                        lens=lens,
                        summary=summary,
                        primary=primary,
                    )
                    p = evidence.facts[arm]["p_values"][f"{lens}/{component}/{summary}"]
                    yield row | {"p_value": p}
                    kinds = evidence.kinds(arm)
                    for kind, layers in by_kind(kinds).items() if len(set(kinds)) > 1 else ():
                        if len(layers) < len(kinds):
                            yield measured(
                                evidence,
                                "both-present",
                                [arm],
                                f"{component} energy, {kind}",
                                over_heads(slots, summary).isel(layer=layers).mean("layer"),
                                POSITIVE,
                                lens=lens,
                                summary=summary,
                                layers=f"{len(layers)} of {len(kinds)} layers",
                            )


def worst(evidence: Evidence, fact: str, sign: int = 1) -> float:
    """Largest value of a fact over all arms, at least 0; NaN if any is."""
    return float(np.max([0.0, *(sign * facts[fact] for facts in evidence.facts.values())]))


def mask_denominator(evidence: Evidence) -> Iterator[Row]:
    """The identity on the real model, and a mask that is nowhere below 0 and falls."""
    for number, error in (
        ("largest error of the identity", worst(evidence, "identity_error")),
        ("largest mask below 0", worst(evidence, "mask_low", -1)),
        ("largest rise of the mask", worst(evidence, "mask_rise")),
    ):
        yield constructed(
            evidence, "mask-denominator", f"{number} [nats]", error, IDENTITY_TOLERANCE, "log"
        )
    sums = worst(evidence, "sum_error")
    number = "largest error of the sum of predicted attention"
    yield constructed(evidence, "mask-denominator", number, sums, IDENTITY_TOLERANCE, "probability")


def closed_trajectory(evidence: Evidence) -> Iterator[Row]:
    """Position 0 in its context against a forward pass on its token alone."""
    error, number = worst(evidence, "closed_error"), "largest difference, relative to the state"
    tolerance = max(TRAJECTORY_TOLERANCE[facts["dtype"]] for facts in evidence.facts.values())
    yield constructed(evidence, "closed-trajectory", number, error, tolerance)


def ntk_suppresses(evidence: Evidence) -> Iterator[Row]:
    """Reduction of R's early energy under NTK scaling, with BOS; beside it mask and loss.

    Of a model without BOS the same numbers are shown, and nothing is decided.
    """
    claim, reference = "ntk-suppresses", f"standard:{evidence.base}"
    without = evidence.base != "bos"
    factors = {
        name: evidence.variants[name]["rope"]["factor"]
        for name in changed(evidence, "rope")
        if evidence.variants[name]["rope"]["rope_type"] == "ntk"
    }
    if without:
        for lens in LENSES:
            yield not_testable(claim, "is about BOS at position 0, which this model has not", lens)
    elif not evidence.has(reference) or not any(factor > 1 for factor in factors.values()):
        why = "needs an ntk variant of a factor above 1 and standard, both under bos"
        for lens in LENSES:
            yield not_testable(claim, why, lens)
    for name, factor in factors.items() if evidence.has(reference) else ():
        arm = f"{name}:{evidence.base}"
        for lens in LENSES:
            for component in ("residual", "mask"):
                pair = [evidence.slots(a, "early", lens, component) for a in (arm, reference)]
                for summary in SUMMARIES:
                    beside = component == "mask" or factor < 1 or without
                    yield measured(
                        evidence,
                        claim,
                        [arm, reference],
                        f"reduction of {component} energy",
                        estimands.reduction(*(over_model(x, summary) for x in pair)),
                        None if beside else TENTH,
                        lens=lens,
                        summary=summary,
                        primary=lens == "log" and summary == "median" and not beside,
                    )
        losses = [evidence.data[f"{a}:loss"].values for a in (arm, reference)]
        row = measured(
            evidence,
            claim,
            [arm, reference],
            "rise of loss [nats per token]",
            losses[0] - losses[1],
            None,
        )
        yield row


def window_accumulates(evidence: Evidence) -> Iterator[Row]:
    """Slope with depth of the energy beyond the window: against standard, against untrained."""
    claim, base = "window-accumulates", evidence.base
    tested = changed(evidence, "window")
    if not tested:
        for lens in LENSES:
            yield not_testable(claim, f"needs a window variant under {base}", lens)
    for name in tested:
        arm, window = f"{name}:{base}", evidence.variants[name]["window"]
        others = twins(evidence, window) or [f"an untrained window:{base}"]
        for other in (f"standard:{base}", *others):
            why = unfit_for_slopes(evidence, arm, other, window)
            if not why:
                yield from compared_slopes(evidence, arm, other, window)
                continue
            for lens in LENSES:
                yield not_testable(claim, why, lens, arms=[arm, other])
    yield from native_windows(evidence)


def twins(evidence: Evidence, window: int | None) -> list[str]:
    """Arms of untrained weights with a variant's window, or with none but the model's own."""
    return [
        f"{name}:{evidence.base}"
        for name, variant in evidence.variants.items()
        if variant.get("untrained") and variant.get("window") == window and not variant.get("rope")
    ]


def native_windows(evidence: Evidence) -> Iterator[Row]:
    """Slopes of a model with windows of its own, as published against untrained; beside the claim.

    It has no counterpart without windows, and in hybrids position 0 stays visible through the full
    layers, so nothing is decided by it.
    """
    arm = f"standard:{evidence.base}"
    windows = evidence.facts[arm]["window"] if evidence.has(arm) else []
    for window in {w for w in windows if w is not None}:
        for other in twins(evidence, None):
            if not unfit_for_slopes(evidence, arm, other, window):
                yield from compared_slopes(evidence, arm, other, window, decides=False)


def unfit_for_slopes(evidence: Evidence, arm: str, other: str, window: int) -> str:
    """Why the slopes of two arms cannot be compared; empty if they can."""
    if not evidence.has(other):
        return f"needs {other.replace(':', '/')}"
    if not (evidence.beyond(arm, window) and evidence.beyond(other, window)):
        return f"no early query lies beyond {window} keys"
    reached = int(reached_layers(evidence, arm).sum())
    if reached < FEWEST_LAYERS:
        return f"position 0 can have reached {reached} layers, a slope needs {FEWEST_LAYERS}"
    return ""


def reached_layers(evidence: Evidence, arm: str) -> np.ndarray:
    """Sliding layers of an arm that position 0 can have reached (layer) bool."""
    windows = evidence.facts[arm]["window"]
    slides = np.array([window is not None for window in windows])
    return slides & estimands.reachable(windows, evidence.facts[arm]["length"] // 2)


def compared_slopes(
    evidence: Evidence, arm: str, other: str, window: int, decides: bool = True
) -> Iterator[Row]:
    """Difference of the two arms' slopes, in both lenses and summaries."""
    layers = reached_layers(evidence, arm)
    full = evidence.facts[arm]["window"].count(None)
    chosen = f"{layers.sum()} sliding layers of {len(layers)}"
    chosen += f"; position 0 stays visible through {full} full layers" if full else ""
    for lens in LENSES:
        pair = [evidence.slots(a, evidence.beyond(a, window) or "", lens) for a in (arm, other)]
        for summary in SUMMARIES:
            slopes = [estimands.accumulation(x, layers, summary) for x in pair]
            yield measured(
                evidence,
                "window-accumulates",
                [arm, other],
                "difference of slopes [energy per layer]",
                slopes[0] - slopes[1],
                POSITIVE,
                lens=lens,
                summary=summary,
                note=f"queries beyond a window of {window} keys",
                layers="" if decides else chosen,
                primary=decides and lens == "log" and summary == "median",
            )


def replacements(evidence: Evidence, variant: str = "standard") -> dict[str, list[str]]:
    """Replacements of BOS that were run: name -> its arms; swap-token holds several."""
    arms = evidence.conditions(variant)
    by_name = {
        row.name: [arm for arm in arms if is_arm(arm) and split(arm)[0] == row.name]
        for row in TABLE
        if row.role == "replacement"
    }
    return {name: found for name, found in by_name.items() if found}


def swap_rows(evidence: Evidence, each: bool = False) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement; with ``each`` every listed token by itself."""
    if not evidence.has("standard:bos"):
        return
    for name, conditions in replacements(evidence).items():
        groups = [[c] for c in conditions] if each and len(conditions) > 1 else []
        for group in [conditions, *groups]:
            arms = [f"standard:{c}" for c in group]
            for lens in LENSES:
                bos = evidence.slots("standard:bos", "early", lens)
                swaps = [evidence.slots(a, "early", lens) for a in arms]
                crosses = [evidence.slots(a, "cross", lens) for a in arms]
                for summary in SUMMARIES:
                    all_numbers = [
                        estimands.swap_slots(s, bos, c, summary)
                        for s, c in zip(swaps, crosses, strict=True)
                    ]
                    for number in all_numbers[0]:
                        slots = sum(n[number] for n in all_numbers) / len(all_numbers)
                        label = name if len(group) == len(conditions) else group[0]
                        first = (number, lens, summary) == ("energy reduction", "log", "median")
                        row = measured(
                            evidence,
                            "bos-swap",
                            [*arms, "standard:bos"],
                            f"{label}: {number}",
                            np.asarray(slots),
                            SWAP,
                            lens=lens,
                            summary=summary,
                            primary=first and label == "swap-token",
                            note=CONDITIONS[name].note,
                        )
                        yield row | {"replacement": label, "token": token_of(evidence, group)}


def token_of(evidence: Evidence, group: Sequence[str]) -> str:
    """Text of the listed token that one swap-token arm has, as JSON; empty for others."""
    number = split(group[0])[1] if len(group) == 1 else None
    return "" if number is None else json.dumps(evidence.swap_tokens[number - 1])


def bos_swap(evidence: Evidence) -> Iterator[Row]:
    """Numbers of bos-swap for every replacement."""
    rows = list(swap_rows(evidence))
    if not any(row["primary"] for row in rows):
        for lens in LENSES:
            yield not_testable("bos-swap", "needs standard under bos and swap-token", lens, SWAP)
    yield from rows


CLAIMS: tuple[Callable[[Evidence], Iterator[Row]], ...] = (
    both_present,
    mask_denominator,
    closed_trajectory,
    sink_readers,
    ntk_suppresses,
    window_accumulates,
    bos_swap,
    fingerprint,
)


def claim_table(evidence: Evidence) -> pd.DataFrame:
    """All rows of one model, Holm-adjusted over its measured claims.

    A claim holds if all of its primary rows do, so the largest of their p-values is the claim's.
    """
    rows = [row for claim in CLAIMS for row in claim(evidence)]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    chosen = table["primary"].astype(bool) & table["p_value"].notna()
    by_claim = table[chosen].groupby("claim")["p_value"].max()
    adjusted = dict(zip(by_claim.index, holm(by_claim.to_numpy()), strict=True))
    table.loc[chosen, "p_adjusted"] = table.loc[chosen, "claim"].map(adjusted)
    table["preliminary"] = table["n_inputs"] < ENOUGH_INPUTS
    return table


def judge(
    replicates: Sequence[Path],
    manifests: Sequence[Path],
    inputs: Sequence[Path],
    claims: Path,
    swaps: Path,
    changes: Path,
    controls: Path,
    *,
    models: Sequence[tuple[str, str]],
    variants: Mapping[str, Mapping[str, Any]],
    swap_tokens: Sequence[str],
    confidence: float,
    seed: int,
    without_bos: Sequence[str] = (),
) -> None:
    """Write claims.csv, swaps.csv, changes.csv and guards.csv of a study.

    Args:
        replicates: stores of slots, one per model and revision, and their manifests.
        inputs: stores of windows, in the same order.
        claims: where the claim table goes.
        swaps: where every number of bos-swap goes, listed tokens one by one too.
        changes: where what each variant takes from the components goes (see abspos.claims.doses).
        controls: where each control beside the effect it guards goes (see abspos.claims.guards).
        models: (name, revision) of each store.
        variants: the config's variants by name.
        swap_tokens: texts of the listed replacements.
        confidence: level of the intervals.
        seed: of the split into halves.
        without_bos: names of the models that have no BOS.
    """
    made = []
    for path, manifest, windows, (model, revision) in zip(
        replicates, manifests, inputs, models, strict=True
    ):
        tokens = open_dataset(windows)["tokens"].values[:, 0]
        data = open_dataset(path, manifest)
        base = "no-bos" if model in without_bos else "bos"
        evidence = Evidence(data, tokens, swap_tokens, variants, confidence, seed, base)
        made.append(({"model": model, "revision": revision}, evidence))

    def joined(table: Callable[[Evidence], pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
        frames = [table(evidence).assign(**keys) for keys, evidence in made]
        return pd.concat(frames, ignore_index=True).reindex(columns=list(columns))

    def listed(rows: Callable[[Evidence], Iterator[Row]]) -> Callable[[Evidence], pd.DataFrame]:
        return lambda evidence: pd.DataFrame(list(rows(evidence)))

    write_csv(joined(claim_table, COLUMNS), claims)
    swap_table = joined(listed(partial(swap_rows, each=True)), SWAP_COLUMNS)
    swap_table["number"] = swap_table["number"].astype(str).str.split(": ").str[-1]
    write_csv(swap_table, swaps)
    write_csv(joined(listed(doses.changes), doses.COLUMNS), changes)
    write_csv(joined(listed(guards.guards), guards.COLUMNS), controls)
