"""The claim sink-readers: which heads carry what position 0 does to later attention.

Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import xarray as xr

from abspos.claims import estimands
from abspos.claims.evidence import BOS, Evidence, Reference, once
from abspos.claims.rows import Row, measured, not_testable
from abspos.claims.verdicts import SHARE, Claimed
from abspos.components.lenses import LENSES
from abspos.components.readings import BY_NAME
from abspos.documents import MIN_INPUTS
from abspos.statistics.store import Arm, among
from abspos.study.conditions import SUBSTITUTES

#: Replacing BOS by the token whose key and value an exchange puts in place.
SWAP = Arm("standard", "swap-token-1")
READERS, OTHERS = (Arm("standard", f"exchange-{which}") for which in ("readers", "others"))
#: Numbers of bos-swap that are shown of every substitute.
SHOWN = ("energy reduction", "difference share")

Numbers = Mapping[str, xr.DataArray]


@dataclass(frozen=True)
class Part:
    """What rows are made of: one lens, reading and summary."""

    evidence: Evidence
    lens: str
    reading: str
    summary: str

    def against_bos(self, arm: Arm, number: int) -> Numbers:
        """See `numbers_against_bos`."""
        return numbers_against_bos(
            self.evidence, arm, number, self.lens, self.reading, self.summary
        )

    def references(self) -> Mapping[str, Reference]:
        """What each number of estimands.carried is a share of, on all inputs: the energy under bos,
        and the energy of its change under the swapped token."""
        whole = self.evidence.reference(BOS, self.lens, self.summary, self.reading)
        treated, before = (
            self.evidence.reading(arm, "early", self.lens, self.reading) for arm in (SWAP, BOS)
        )
        change = treated + before - 2 * self.evidence.crossed(SWAP, self.lens, self.reading)
        share = self.evidence.share(BOS, self.lens, self.summary, change)
        return {
            "share of energy": whole,
            "share of the bos-swap change": Reference(
                f"the change of {self.reading} from {BOS} to {SWAP}", share
            ),
        }

    def row(
        self,
        arms: tuple[Arm, Arm],
        number: str,
        replicates: xr.DataArray,
        claimed: Claimed | None = None,
        reference: Reference | None = None,
    ) -> Row:
        """One row; its inputs are half of the study's by design."""
        found = measured(
            self.evidence,
            arms,
            number,
            replicates,
            claimed,
            lens=self.lens,
            summary=self.summary,
            reading=self.reading,
            primary=claimed is not None and self.lens == "log" and self.summary == "median",
            reference=reference,
        )
        heads = self.evidence.facts[arms[0]]["substituted"]
        chosen = SUBSTITUTES[arms[0].condition].chosen
        note = f"{heads} heads" + (", chosen on other inputs" if chosen else "")
        inputs = self.evidence.facts[arms[0]]["inputs"]
        note = "; ".join(filter(None, (found["note"], note)))
        return found | {"n_inputs": inputs, "needed": MIN_INPUTS // 2, "note": note}


@once
def numbers_against_bos(
    evidence: Evidence, arm: Arm, number: int, lens: str, reading: str, summary: str
) -> Numbers:
    """The four numbers of bos-swap of an arm, on so many inputs, which no head is chosen on."""
    own = among(number)
    some = own in evidence.arms[arm].bins
    treated, cross = (own, f"{own}-cross") if some else ("early", "cross")
    return estimands.swap_replicates(
        evidence.reading(arm, treated, lens, reading),
        evidence.reading(BOS, own, lens, reading),
        evidence.crossed(arm, lens, reading, cross),
        summary,
    )


def sink_readers(evidence: Evidence) -> Iterator[Row]:
    """Shares carried by sink readers, by all other heads and by blocks of layers; and what silence
    in some heads, or position 0 as in mid-text, takes away."""
    arms = {c: Arm("standard", c) for c in SUBSTITUTES}
    arms = {c: arm for c, arm in arms.items() if evidence.has(BOS) and compares(evidence, arm)}
    exchanges = {c.removeprefix("exchange-"): a for c, a in arms.items() if "exchange-" in c}
    if not evidence.has(BOS, SWAP) or not {"readers", "others"} <= set(exchanges):
        for lens in LENSES:
            yield not_testable(
                "needs standard under bos, swap-token, exchange-readers and exchange-others",
                lens,
                SHARE,
            )
        exchanges = {}
    for lens, reading, summary in product(LENSES, BY_NAME, evidence.summaries):
        part = Part(evidence, lens, reading, summary)
        yield from carried_rows(part, exchanges)
        for condition, arm in arms.items():
            if not condition.startswith("exchange-"):
                found = part.against_bos(arm, evidence.facts[arm]["inputs"])
                for number in SHOWN:
                    yield part.row((arm, BOS), f"{condition}: {number}", found[number])


def compares(evidence: Evidence, arm: Arm) -> bool:
    """Whether an arm with substitutes was run, and bos on its inputs."""
    if arm not in evidence.arms:
        return False
    return among(evidence.arms[arm].inputs) in evidence.arms[BOS].bins


def carried_rows(part: Part, arms: Mapping[str, Arm]) -> Iterator[Row]:
    """Each set's shares beside the claim, and the differences that decide it."""
    shares = {}
    for which, arm in arms.items():
        number = part.evidence.facts[arm]["inputs"]
        swapped = part.against_bos(SWAP, number)
        shares[which] = estimands.carried(part.against_bos(arm, number), swapped)
        for name, share in shares[which].items():
            yield part.row((arm, BOS), f"{which}: {name}", share)
    if not arms:
        return
    references = part.references()
    for name, share in shares["readers"].items():
        difference = share - shares["others"][name]
        number = f"readers less others: {name}"
        yield part.row((READERS, OTHERS), number, difference, SHARE, references[name])
