"""Files as the hub lists them: what a commit's name is, and digests in the hub's own kinds.

Jobs that fetch read this alone: the lock, which knows the whole study, is for planning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGESTS = {"sha1": COMMIT, "sha256": re.compile(r"[0-9a-f]{64}")}
#: Names of files that lead out of the folder that is to hold them, or are not one line.
OUTSIDE = re.compile(r"/.*|(.*/)?\.\.(/.*)?|.*[\x00-\x1f\x7f].*|", re.DOTALL)


def is_file(name: Any, facts: Any) -> bool:
    """Whether a name, with ``bytes`` and a digest, can be a file of a repository."""
    if not isinstance(name, str) or OUTSIDE.fullmatch(name) or not isinstance(facts, Mapping):
        return False
    size = facts.get("bytes")
    digests = {kind: value for kind, value in facts.items() if kind in DIGESTS}
    return (
        isinstance(size, int)
        and not isinstance(size, bool)
        and 0 <= size < 2**63
        and len(digests) == 1
        and all(DIGESTS[kind].fullmatch(str(value)) for kind, value in digests.items())
    )


def digest_as(path: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """The digest of a file in the kind that ``facts`` has: ``sha256``, or git's ``sha1``."""
    from abspos.stores import file_digest

    if "sha256" in facts:
        return {"sha256": file_digest(path)}
    content = path.read_bytes()
    return {"sha1": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}


def holds(path: Path, facts: Mapping[str, Any]) -> bool:
    """Whether a file is there and is the one of a pin."""
    try:
        return digest_as(path, facts).items() <= dict(facts).items()
    except OSError:
        return False


# Which files a checkpoint needs
