"""Finished studies that made another choice than a study: ``<study>.<choice>``."""

from __future__ import annotations

import json
from glob import escape
from pathlib import Path


def other_studies(study: str, root: Path = Path()) -> list[str]:
    """Claim tables of finished studies that made another choice, sorted, relative to ``root``.

    A copy of a study's folder is none: its ledger names the folder that the table was made in.
    """
    found = sorted(root.glob(f"results/{escape(study)}.*/claims.csv"))
    names = [path.relative_to(root).as_posix() for path in found]
    return [name for name in names if _made_there(root / name, name)]


def _made_there(claims: Path, name: str) -> bool:
    entry = claims.with_name("ledger") / f"{claims.name}.json"
    try:
        said = json.loads(entry.read_text(encoding="utf-8")) if entry.is_file() else {}
        return bool(said.get("path") == name)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
