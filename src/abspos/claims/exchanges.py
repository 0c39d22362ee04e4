"""The exchanges that decide sink-readers, on other inputs than all of theirs.

They have the inputs that choose no heads; bos and the swapped token are compared with them on those
inputs alone. Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from abspos.claims.evidence import BOS
from abspos.claims.readers import OTHERS, READERS, SWAP
from abspos.components.readings import READINGS
from abspos.statistics import replicates as sl
from abspos.statistics.energies import packed_replicates
from abspos.statistics.packing import of_some
from abspos.statistics.store import Arm, Replicates, among

#: The arms whose difference decides the claim.
DECIDING = (READERS, OTHERS)
#: Parts of the readings.
PARTS = {part for reading in READINGS for part in reading.parts}

#: Replicates (..., replicate) of packed Gram matrices of the exchanges' inputs.
View = Callable[[np.ndarray], np.ndarray]


#: Packed Gram matrices (layer, head, pair) by lens and component.
Grams = Mapping[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Exchanges:
    """The deciding exchanges of a study, and what they are compared with.

    Attributes:
        numbers: which inputs of the study they have (n,).
        documents: label of each of these inputs' document (n,).
        own: the study's replicates.
        early: early Grams on these inputs, of bos, the swapped token and both exchanges.
        cross: of the same arms, their products with bos; empty for bos.
    """

    numbers: np.ndarray
    documents: np.ndarray
    own: Replicates
    early: Mapping[Arm, Grams]
    cross: Mapping[Arm, Grams]

    def joined(self, arms: Replicates, view: View, count: int) -> Replicates:
        """Arms under a choice of inputs, with these exchanges under the same.

        Args:
            arms: those with all inputs of the study, under the choice.
            view: of the exchanges' inputs under the choice.
            count: inputs that these are, or other units.
        """
        found = dict(arms)
        for arm in (BOS, SWAP):
            early, cross = self.bins(arm, view)
            name = among(count)
            more = {name: early} | ({} if cross is None else {f"{name}-cross": cross})
            found[arm] = replace(arms[arm], bins={**arms[arm].bins, **more})
        for arm in DECIDING:
            early, cross = self.bins(arm, view)
            assert cross is not None
            own = self.own[arm]
            facts = own.facts | {"inputs": count}
            found[arm] = replace(own, facts=facts, bins={"early": early, "cross": cross})
        return found

    def bins(self, arm: Arm, view: View) -> tuple[xr.DataArray, xr.DataArray | None]:
        """Early energies of the readings' parts, and their products with bos if the arm has them.

        Args:
            arm: bos, the swapped token or an exchange.
            view: of these inputs.
        """
        early, cross = (
            {key: view(packed) for key, packed in grams.items()}
            for grams in (self.early[arm], self.cross[arm])
        )
        return sl.stack(early), sl.stack(cross) if cross else None


def exchanges_of(own: Replicates, stores: Mapping[Arm, xr.Dataset]) -> Exchanges | None:
    """The deciding exchanges, or None where an arm of theirs is missing or has other inputs.

    Args:
        own: the study's replicates.
        stores: component stores.
    """
    if not {BOS, SWAP, *DECIDING} <= set(stores):
        return None
    first, second = (list(stores[arm].attrs["numbers"]) for arm in DECIDING)
    if first != second:
        return None
    numbers = np.array(first)
    early, cross = {}, {}
    for arm in (BOS, SWAP, *DECIDING):
        read = sl.read(stores[arm], ["early"])
        some = read if arm in DECIDING else sl.restricted(read, numbers)
        grams = sl.packed_grams(some, "early")
        early[arm] = {key: packed for key, packed in grams.items() if key[1] in PARTS}
        cross[arm] = sl.crossed_grams(some)
    return Exchanges(numbers, stores[READERS]["document"].values, own, early, cross)


def replicates_among(packed: np.ndarray, kept: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Energies (..., replicate) of packed Grams on some of the inputs (input) bool."""
    return packed_replicates(of_some(packed, kept), documents[kept])
