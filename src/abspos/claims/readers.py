"""The claims about what heads read at position 0: sink-readers and fingerprint.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from abspos.claims import estimands
from abspos.claims.evidence import BOS, Evidence, Row, constructed, measured, not_testable
from abspos.claims.verdicts import SHARE, Claimed
from abspos.components.lenses import LENSES
from abspos.documents import holdout
from abspos.sinks import SINK_THRESHOLD
from abspos.statistics.energies import unpack
from abspos.statistics.replicates import SUMMARIES
from abspos.statistics.store import Arm
from abspos.study.conditions import EXCHANGES

#: Of fewer texts nothing can be decoded.
FEWEST_TEXTS = 8


def sink_readers(evidence: Evidence) -> Iterator[Row]:
    """Shares of R and of bos-swap carried by sink readers, as many other heads, all heads."""
    swap = Arm("standard", "swap-token-1")
    arms = {which: Arm("standard", condition) for condition, which in EXCHANGES.items()}
    if not evidence.has(BOS, swap, *arms.values()):
        why = "needs standard under bos, swap-token and all three of exchange-*"
        for lens in LENSES:
            yield not_testable(why, lens, SHARE)
        return
    for lens in LENSES:
        bos, *others = (evidence.energies(arm, "half", lens) for arm in (BOS, swap, *arms.values()))
        crosses = [evidence.energies(a, "half-cross", lens) for a in (swap, *arms.values())]
        for summary in SUMMARIES:
            swapped, *exchanged = (
                estimands.swap_replicates(other, bos, cross, summary)
                for other, cross in zip(others, crosses, strict=True)
            )
            shares = {
                which: estimands.carried(found, swapped)
                for which, found in zip(arms, exchanged, strict=True)
            }
            yield from carried_rows(evidence, shares, arms, lens, summary)


def carried_rows(
    evidence: Evidence,
    shares: Mapping[str, Mapping[str, Any]],
    arms: Mapping[str, Arm],
    lens: str,
    summary: str,
) -> Iterator[Row]:
    """Each set's shares beside the claim, and the differences that decide it."""
    inputs = round(evidence.facts[BOS]["inputs"] / 2)

    def row(which: str, number: str, replicates: Any, against: Arm, claimed: Claimed | None) -> Row:
        first = claimed is not None and lens == "log" and summary == "median"
        found = measured(
            evidence,
            [arms[which], against],
            number,
            replicates,
            claimed,
            lens=lens,
            summary=summary,
            primary=first,
        )
        heads = evidence.facts[arms[which]]["exchanged"]
        note = f"{heads} heads, chosen on the other half of the inputs"
        return found | {"n_inputs": inputs, "note": "; ".join(filter(None, (found["note"], note)))}

    for number in shares["readers"]:
        for which, found in shares.items():
            yield row(which, f"{which}: {number}", found[number], BOS, None)
        difference = shares["readers"][number] - shares["matched"][number]
        name = f"readers less matched: {number}"
        yield row("readers", name, difference, arms["matched"], SHARE)


def fingerprint(evidence: Evidence) -> Iterator[Row]:
    """Constancy under bos, and what the token at position 0 explains under no-bos."""
    constant = [f["state_variance"] for a, f in evidence.facts.items() if a.condition == "bos"]
    if constant:
        number = "variance of the state at position 0 under bos"
        yield constructed(evidence, number, float(np.max(constant)), 0.0)
    arm = Arm("standard", "no-bos")
    if not evidence.has(arm) or evidence.arms[arm].writes is None:
        yield not_testable("needs standard under no-bos", claimed=SHARE)
        return
    gram, tokens = sink_reader_writes(evidence, arm)
    several = len(np.unique(tokens))
    if len(tokens) < FEWEST_TEXTS or several < 2 or not len(gram):
        yield not_testable(
            f"{len(tokens)} texts share their first token with another, of {several} tokens, and "
            f"{len(gram)} heads read a sink; needs {FEWEST_TEXTS}, 2 and 1",
            claimed=SHARE,
            arms=[arm],
        )
        return
    note = f"{len(gram)} sink readers, {len(tokens)} texts whose first token others share"
    for number, replicates in estimands.fingerprint_replicates(gram, list(tokens)).items():
        row = measured(
            evidence,
            [arm],
            number,
            replicates,
            SHARE,
            note=note,
            primary=number == "variance explained",
        )
        yield row | {"n_inputs": len(tokens)}


def sink_reader_writes(evidence: Evidence, arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Write Grams (head, input, input) of sink readers, and tokens at position 0.

    Sink readers are chosen on one half of the inputs and measured on the other, of which only
    the first window of each document counts, and only where another of them has the same first
    token.
    """
    number = evidence.facts[arm]["inputs"]
    chosen_on, measured_on = holdout(number, evidence.seed, evidence.facts[arm]["document"])
    if evidence.exchanged:
        chosen_on, measured_on = measured_on, chosen_on
    writes = evidence.arms[arm].writes
    assert writes is not None
    share = writes["a_1_64"].values[..., chosen_on].mean(-1)
    packed = writes["gram_write"].values[share > SINK_THRESHOLD]
    tokens = evidence.tokens[:number]
    _, first = np.unique(evidence.facts[arm]["document"], return_index=True)
    measured_on = measured_on & np.isin(np.arange(number), first)
    names, counts = np.unique(tokens[measured_on], return_counts=True)
    kept = np.flatnonzero(measured_on & np.isin(tokens, names[counts > 1]))
    if not len(packed):
        return np.zeros((0, len(kept), len(kept))), tokens[kept]
    gram = unpack(packed, number).astype(np.float64)
    return gram[:, kept][:, :, kept], tokens[kept]
