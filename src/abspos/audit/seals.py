"""Two digests that stand for a whole study: one that a rerun gives again, one of this very run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from abspos.audit.chain import Chain

#: What shows tables to readers: its bytes may differ between two runs of the same study.
VARYING = ("figures", "front.rst", "index.html")


def seal(chain: Chain) -> str:
    """SHA-256 over path and digest of everything that two runs of a study give alike."""
    return _digest(
        f"{record.path.relative_to(chain.results).as_posix()} {record.entry['digest']}"
        for record in chain.current.values()
        if record.path.is_relative_to(chain.results)
        and record.path.relative_to(chain.results).parts[0] not in VARYING
    )


def run_seal(chain: Chain) -> str:
    """SHA-256 over the recorded path and own digest of every ledger entry of the study.

    An entry holds the digests of its result, inputs, log and sources. So this stands for all of
    them: checkpoints, figures and front page included, and for how each was made.
    """
    return _digest(f"{record.name} {record.entry['self']}" for record in chain.current.values())


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
