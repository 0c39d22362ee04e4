"""Holm's correction over the measured claims of one model: the level at which each is decided.

Source: docs/method.md, sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from abspos.claims import registry
from abspos.claims.evidence import Evidence
from abspos.claims.rows import WANTED, Row, decided
from abspos.statistics.energies import holm


def claim_p_values(rows: Sequence[Row]) -> dict[str, float]:
    """p of each claim: the largest of its primary rows with a verdict, since all of them must hold.

    Claims without such a row are not counted.
    """
    found: dict[str, float] = {}
    for row in rows:
        if row["primary"] and row.get(WANTED) is not None and np.isfinite(row["p_value"]):
            found[row["claim"]] = max(found.get(row["claim"], 0.0), row["p_value"])
    return found


def adjusted_p_values(rows: Sequence[Row]) -> dict[str, float]:
    """Holm-adjusted p of each claim."""
    found = claim_p_values(rows)
    return dict(zip(found, holm(np.array(list(found.values()))).tolist(), strict=True))


def levels(p_values: Mapping[str, float], confidence: float) -> dict[str, float]:
    """Level of confidence at which each claim is decided.

    Holm compares the k-th smallest of m p-values with alpha / (m - k + 1) and stops at the first
    that is not below it; all later ones are kept at that level too. So an interval at its claim's
    level contains 0 exactly if the adjusted p is above alpha.

    Args:
        p_values: of the claims.
        confidence: 1 - alpha, of the study.
    """
    alpha, stopped = 1 - confidence, False
    found, share = {}, alpha
    for rank, claim in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if not stopped:
            share = alpha / (len(p_values) - rank)
            stopped = p_values[claim] > share
        found[claim] = 1 - share
    return found


def at_levels(rows: Sequence[Row], by_claim: Mapping[str, float]) -> list[Row]:
    """Rows with the verdicts of primary ones at their claim's level; others as they are."""
    return [
        decided(row, by_claim[row["claim"]]) if row["primary"] and row["claim"] in by_claim else row
        for row in rows
    ]


def claim_rows(
    evidence: Evidence, claims: Iterable[registry.Claim] | None = None
) -> tuple[list[Row], dict[str, float]]:
    """All rows of one model, decided, with the level of each claim.

    Args:
        evidence: of the model.
        claims: that are judged together; all unless given.
    """
    chosen = registry.CLAIMS if claims is None else claims
    rows = [row for claim in chosen for row in claim.judge(evidence)]
    by_claim = levels(claim_p_values(rows), evidence.confidence)
    return at_levels(rows, by_claim), by_claim
