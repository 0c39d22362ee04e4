"""Which results folders are studies with another choice."""

from __future__ import annotations

import json
from pathlib import Path

from abspos.planning.variations import other_studies


def finished(root: Path, name: str, made: str) -> None:
    """A results folder with a table of claims, and an entry that says where it was made."""
    folder = root / "results" / name
    (folder / "ledger").mkdir(parents=True)
    (folder / "claims.csv").write_text("claim\n")
    entry = {"path": f"results/{made}/claims.csv"}
    (folder / "ledger/claims.csv.json").write_text(json.dumps(entry))


def test_a_copied_results_folder_is_no_choice(tmp_path):
    finished(tmp_path, "default", "default")
    finished(tmp_path, "default.bak", "default")
    finished(tmp_path, "default.mean", "default.mean")
    finished(tmp_path, "default.broken", "default.broken")
    (tmp_path / "results/default.broken/ledger/claims.csv.json").write_text("[" * 9999)
    found = other_studies("default", tmp_path)
    assert found == ["results/default.mean/claims.csv"]
