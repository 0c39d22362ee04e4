"""The three readings of "the residual-stream component"; without torch, for all later rooms.

The identity of the decomposition regroups without a remainder:

    log a[i, i-d] = relative(d) + [ mask_i + row_i ] + pattern_i(d)      d < i, ordinary keys
    log a[i, 0]   = relative(i) + [ mask_i ]         + sink_i            d = i, position 0

Source: docs/method.md, section 1 (three readings).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """One reading of "the residual-stream component".

    Attributes:
        name: as tables and the config show it.
        meaning: in one line.
        parts: components whose energies add up to its own.
        joint: its fields as one component, of inner products between arms and of tests.
    """

    name: str
    meaning: str
    parts: tuple[str, ...]
    joint: str


READINGS = (
    Reading(
        name="R",
        meaning="all of R: what is not the mask's direct effect",
        parts=("residual",),
        joint="residual",
    ),
    Reading(
        name="sink",
        meaning="row + sink: what position 0 takes, and takes from all other keys",
        parts=("row", "sink"),
        joint="row+sink",
    ),
    Reading(
        name="pattern",
        meaning="R on ordinary keys with every denominator taken out, position 0's share included",
        parts=("pattern",),
        joint="pattern",
    ),
)
#: By name.
BY_NAME = {reading.name: reading for reading in READINGS}


def fixed(reading: str, primary: str) -> str:
    """When a model's reading was fixed: ``beforehand`` or ``post hoc``.

    R was fixed before any result. The other two were chosen after a model had been seen on which R
    was primary: there they are post hoc, on models not seen until then beforehand.

    Args:
        reading: name of a reading.
        primary: the reading that decides the claims on this model.
    """
    return "post hoc" if primary == "R" and reading != "R" else "beforehand"
