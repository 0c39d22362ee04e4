"""The claims, one record each: all that other modules know of a claim follows from `CLAIMS`.

A new claim is one function that yields rows and one record here. Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from abspos.claims.between import standard_between
from abspos.claims.evidence import Evidence
from abspos.claims.fingerprint import fingerprint
from abspos.claims.kinds import rows_by_kind
from abspos.claims.presence import both_present
from abspos.claims.readers import sink_readers
from abspos.claims.rows import Row
from abspos.claims.swaps import bos_swap
from abspos.claims.theorems import closed_trajectory, mask_denominator
from abspos.claims.variants import ntk_suppresses, window_accumulates

#: Choices other than the study's that need no other study (abspos.claims.choices): another end of
#: the early bin, another anchor, some of the inputs.
ChoiceKind = Literal["early bin", "anchor", "inputs"]
#: The numbers of a choice that can change every number of a claim.
ALL_NUMBERS: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        name: as tables show it.
        statement: what it says, in one line of the front page.
        kind: a theorem tests the implementation; what is measured has intervals.
        rows: yields its rows, from the evidence on one model, without the claim's name.
        choices: kinds of other choices that can change its numbers, each with those numbers.
        no_choices: why no choice can change a measured claim; empty where one can.
        between_variants: whether it compares variants, and so also models that were trained alike,
            each under one (abspos.claims.architectures).
        from_energies: whether its numbers are functions of energies alone, so that true energies
            of synthetic models give true numbers.

    Raises:
        ValueError: a claim without a statement, or a measured one without choices or a reason.
    """

    name: str
    statement: str
    kind: Literal["theorem", "measured"]
    rows: Callable[[Evidence], Iterator[Row]]
    choices: Mapping[ChoiceKind, tuple[str, ...]]
    from_energies: bool
    no_choices: str = ""
    between_variants: bool = False

    def __post_init__(self) -> None:
        if not self.statement.strip():
            raise ValueError(f"claim {self.name!r}: statement is empty; write one line")
        allowed = get_args(ChoiceKind)
        for kind in set(self.choices) - set(allowed):
            raise ValueError(f"claim {self.name!r}: choice {kind!r} is not one of {list(allowed)}")
        if self.kind == "measured" and not self.choices and not self.no_choices.strip():
            raise ValueError(
                f"claim {self.name!r}: choices is empty; list those of {list(allowed)} that "
                "can change it, or give the reason in no_choices"
            )

    def judge(self, evidence: Evidence) -> Iterator[Row]:
        """Its rows on one model, with its name; of a hybrid by kind of layers (rows_by_kind)."""
        for row in rows_by_kind(self.rows, evidence):
            yield {"claim": self.name} | row


#: In the order in which they are shown.
CLAIMS = (
    Claim(
        name="both-present",
        statement="position reaches attention through the causal mask and the residual stream",
        kind="measured",
        rows=both_present,
        choices={
            "early bin": ALL_NUMBERS,
            "inputs": ALL_NUMBERS,
            "anchor": ALL_NUMBERS,
        },
        from_energies=True,
        between_variants=True,
    ),
    Claim(
        name="mask-denominator",
        statement="the mask's part comes from the softmax denominator of each query",
        kind="theorem",
        rows=mask_denominator,
        choices={},
        from_energies=False,
    ),
    Claim(
        name="closed-trajectory",
        statement="position 0 attends to itself alone: a closed dynamical system",
        kind="theorem",
        rows=closed_trajectory,
        choices={},
        from_energies=False,
    ),
    Claim(
        name="sink-readers",
        statement="later attention reads that trajectory through sink-reading heads",
        kind="measured",
        rows=sink_readers,
        choices={"inputs": ALL_NUMBERS},
        from_energies=False,
    ),
    Claim(
        name="ntk-suppresses",
        statement="NTK scaling suppresses the residual-stream component",
        kind="measured",
        rows=ntk_suppresses,
        choices={"early bin": ALL_NUMBERS, "inputs": ALL_NUMBERS},
        from_energies=True,
        between_variants=True,
    ),
    Claim(
        name="window-accumulates",
        statement="in sliding windows the residual-stream component grows with depth",
        kind="measured",
        rows=window_accumulates,
        choices={"inputs": ALL_NUMBERS},
        from_energies=True,
        between_variants=True,
    ),
    Claim(
        name="standard-between",
        statement="standard RoPE lies between NTK scaling and a sliding window",
        kind="measured",
        rows=standard_between,
        choices={"early bin": ALL_NUMBERS, "inputs": ALL_NUMBERS},
        from_energies=True,
        between_variants=True,
    ),
    Claim(
        name="bos-swap",
        statement="replacing the BOS embedding removes 40 % of the residual-stream component",
        kind="measured",
        rows=bos_swap,
        choices={"early bin": ALL_NUMBERS, "inputs": ALL_NUMBERS},
        from_energies=True,
    ),
    Claim(
        name="fingerprint",
        statement="the sink passes on a fingerprint of the token at position 0",
        kind="measured",
        rows=fingerprint,
        choices={"inputs": ALL_NUMBERS},
        from_energies=False,
    ),
)


def statements() -> dict[str, str]:
    """Statement of each claim, by name, in display order."""
    return {claim.name: claim.statement for claim in CLAIMS}
