"""Claims of a hybrid: rows for the layers of each kind, which decide, and over all layers beside.

Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from abspos.claims.evidence import Evidence
from abspos.claims.rows import BESIDE, DECIDED, WANTED, Row


def rows_by_kind(rows: Callable[[Evidence], Iterator[Row]], evidence: Evidence) -> Iterator[Row]:
    """Rows of a hybrid for the layers of each kind, which alone decide; over all layers beside.

    A claim of a hybrid holds if it holds in the layers of every kind. Rows that no summary over
    layers makes and that all kinds share, such as losses and theorems, come once as they are.

    Args:
        rows: yields the rows of one evidence.
        evidence: on one model.
    """
    parts = evidence.by_kind()
    whole = list(rows(evidence))
    by_part = [list(rows(part)) for part in parts]
    common = [set(map(identity, found)) for found in by_part]
    alone = {identity(row) for row in whole if not row.get("summary")}
    shared = alone.intersection(*common)
    for row in whole:
        own = row if not parts or identity(row) in shared else beside(row)
        yield own | {"kind": evidence.all_kinds}
    for part, found in zip(parts, by_part, strict=True):
        for row in found:
            if identity(row) not in shared:
                yield row | {"kind": part.kind}


def identity(row: Row) -> tuple[str, ...]:
    """Values by which a row is the same for other layers."""
    names = ("arms", "number", "lens", "summary", "reading", "replacement", "estimate")
    why = row["note"] if "estimate" not in row else ""
    return (*(str(row.get(name, "")) for name in names), why)


def beside(row: Row) -> Row:
    """A row that stands beside others and decides nothing."""
    note = "; ".join(filter(None, (row["note"], BESIDE)))
    plain = {name: value for name, value in row.items() if name not in DECIDED}
    return plain | {"claimed": "", "verdict": "", "primary": False, "note": note, WANTED: None}
