"""Files that no ledger entry speaks for, wherever they lie in a study or among its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from abspos.audit import ledger
from abspos.audit.chain import Chain
from abspos.stores import FOREIGN, is_irregular

LOGS = "logs"

#: Files in a study's folder that no job wrote: Snakemake's report.
UNLEDGERED = ("report.html", "report.zip")

#: A note on a revision that is broken where it comes from (abspos.models.gaps).
GAP = ".gap.json"
#: A state from which a training continues (abspos.training.state).
STATE = re.compile(r"/\.training/[^/]+/(state\.json|step\d+\.safetensors)$")


def unaccounted(chain: Chain) -> Iterator[tuple[Path, str]]:
    """Path and reason of each file, half-written folders as one, that no entry speaks for.

    Contents of a store are left to its manifest. Among checkpoints, which studies share, those of
    other studies are accounted for by entries that are not read here.
    """
    for home in sorted({chain.results, *chain.homes.values()}):
        if home.is_dir():
            yield from _below(home, chain)


def failed_logs(chain: Chain) -> list[str]:
    """Logs of the study that no entry names: of jobs that failed, or whose results are gone."""
    named = _logs(chain)
    found = sorted((chain.results / LOGS).rglob("*.log"))
    return [path.as_posix() for path in found if path.is_file() and path not in named]


def _logs(chain: Chain) -> set[Path]:
    entries = (record.entry for record in chain.records.values())
    return {chain.locate(entry["log"]["path"]) for entry in entries if entry.get("log")}


def _below(home: Path, chain: Chain) -> Iterator[tuple[Path, str]]:
    own = home == chain.results
    read = {record.file for record in chain.records.values()} | chain.broken.keys()
    known = set(chain.records)
    if not own:  # entries of other studies
        read |= set(ledger.entries(home))
        inside = (path.relative_to(home / ledger.FOLDER) for path in ledger.entries(home))
        known |= {home / path.with_name(path.name.removesuffix(".json")) for path in inside}
    folders = {path for path in known if path.is_dir() and not path.is_symlink()}
    for path in sorted(home.rglob("*")):
        if folders.intersection(path.parents):
            continue
        top = path.relative_to(home).parts[0]
        if path.is_dir() and not path.is_symlink():
            if path not in folders and (path.suffix == ".zarr" or path.name.endswith(".partial")):
                folders.add(path)  # named once, not file by file
                yield path, "no rule's job wrote it; delete or move it"
        elif top == ledger.FOLDER:
            if path not in read:
                yield path, "not a ledger entry; delete it"
        elif not _expected(path, top, own) and path not in known:
            yield path, "no rule's job wrote it; delete or move it"


def _expected(path: Path, top: str, own: bool) -> bool:
    """Whether a file without an entry belongs where it lies."""
    if is_irregular(path):
        return False
    if path.name in FOREIGN or (top == LOGS and path.suffix == ".log"):
        return True
    if own:
        return path.name == top and top in UNLEDGERED
    return path.name.endswith(GAP) or bool(STATE.search(path.as_posix()))
