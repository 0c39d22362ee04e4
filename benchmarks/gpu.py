"""What a GPU computes and needs, in one table: `benchmarks/gpu.sh`.

Three studies, run by Snakemake as a user would: the default study's first model with all of its
arms; one arm at T = 4096; and one arm of 16 inputs, on the GPU and on the CPU, whose energies are
compared. Seconds and memory of jobs are those of their ledgers; memory of the GPU is what
nvidia-smi reports, read once a second.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks/out/gpu"
ONE_ARM = {"variants": [{"name": "standard", "conditions": ["bos"]}], "swap_tokens": []}
#: Keys of config.yaml that each study changes; `equal` runs on both devices.
STUDIES: dict[str, dict[str, Any]] = {
    "default": {},
    "long": {"inputs": {"number": 8, "length": 4096, "batch": 1}, **ONE_ARM},
    "equal": {"inputs": {"number": 16}, **ONE_ARM},
}
#: What is smaller where the script checks itself on a CPU.
SMALL: dict[str, dict[str, Any]] = {
    "default": {"inputs": {"number": 16}, **ONE_ARM},
    "long": {"inputs": {"number": 8, "length": 512, "batch": 1}},
    "equal": {},
}
Row = tuple[str, str, str]


class Used:
    """Largest memory of the GPU that is in use, while the context is open."""

    def __enter__(self) -> Used:
        self.most, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self) -> None:
        """Ask until it is over."""
        query = [
            "nvidia-smi",
            "--query-gpu=memory.used",
            "--format=csv,noheader,nounits",
            "-i",
            "0",
        ]
        while shutil.which(query[0]) and not self.over.wait(1):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            self.most = max([self.most, *map(int, done.stdout.split())])

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()


def snakemake(name: str, device: str, changes: dict[str, Any]) -> tuple[Path, float]:
    """Run a study to its end: its results, and the seconds that it took."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    study = f"{name}-{device}"
    changes = {"study": study, "device": device, "models": config["models"][:1], **changes}
    (OUT / f"{study}.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--directory", str(OUT)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config.yaml")]
    began = time.perf_counter()
    with open(OUT / f"{study}.log", "w", encoding="utf-8") as log:
        code = subprocess.run([*command, str(OUT / f"{study}.yaml")], stdout=log, stderr=log)
    if code.returncode:
        raise SystemExit(f"{study}: failed; see {OUT}/{study}.log")
    return OUT / "results" / study, time.perf_counter() - began


def jobs(results: Path, stage: str) -> Row:
    """Jobs of one stage: how many, their seconds, and the largest memory of their processes."""
    found = {}
    for path in (results / "ledger" / stage).rglob("*.json"):
        own = json.loads(path.read_text(encoding="utf-8"))["circumstances"]
        found[own["start"], own["seconds"]] = own["peak_memory_bytes"]
    seconds = sum(took for _, took in found)
    most = max(found.values()) / 1e9
    return (f"{results.name}: {stage}", f"{len(found)} jobs", f"{seconds:.0f} s, {most:.2f} GB")


def certificates(results: Path) -> list[Row]:
    """The worst of each certificate over the runs of a study, beside its tolerance."""
    worst: dict[str, tuple[float, float]] = {}
    for path in (results / "components").rglob("zarr.json"):
        own = json.loads(path.read_text(encoding="utf-8")).get("attributes", {})
        given = own.get("certificates") or {"tolerance": {}}
        for name, bound in given["tolerance"].items():
            worst[name] = (max(worst.get(name, (0.0, 0.0))[0], given[name]), bound)
    return [
        (f"{results.name}: certificate {name}", f"{error:.1e}", f"at most {bound:.0e}")
        for name, (error, bound) in worst.items()
    ]


def difference(one: Path, other: Path) -> float:
    """Largest difference of energies (all heads, bins, lenses, components) of two studies, relative
    to the largest energy of the same bin, lens and component."""
    tables = []
    for results in (one, other):
        with open(results / "statistics/energies.csv", encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        keys = [tuple(r[k] for k in ("bin", "lens", "component", "layer", "head")) for r in rows]
        tables.append(dict(zip(keys, [float(r["energy"] or "nan") for r in rows], strict=True)))
    if tables[0].keys() != tables[1].keys():
        raise SystemExit(f"{one.name} and {other.name} have different rows of energies")
    most: dict[tuple[str, ...], float] = {}
    for key, energy in tables[0].items():
        most[key[:3]] = max(most.get(key[:3], 0.0), abs(energy))
    gaps = [abs(tables[0][key] - tables[1][key]) / most[key[:3]] for key in tables[0]]
    return float(np.nanmax(gaps))


def main(device: str) -> None:
    """Run all, and print one table."""
    OUT.mkdir(parents=True, exist_ok=True)
    began, rows = time.perf_counter(), list[Row]()
    results = {}
    for name, changes in STUDIES.items():
        changes = changes | (SMALL[name] if device == "cpu" else {})
        with Used() as used:
            results[name], seconds = snakemake(name, device, changes)
        on_device = f"{used.most} MB of the GPU" if used.most else ""
        rows.append((f"{name}: whole study", f"{seconds:.0f} s", on_device))
        rows += [jobs(results[name], stage) for stage in ("activations", "components")]
        rows += certificates(results[name])
    if device != "cpu":
        other, seconds = snakemake("equal", "cpu", STUDIES["equal"])
        rows.append(("equal: whole study on the CPU", f"{seconds:.0f} s", ""))
    else:
        other = results["equal"]
    away = difference(results["equal"], other)
    rows.append(("largest difference of energies from the CPU's", f"{away:.1e}", "relative"))
    rows.append(("all", f"{time.perf_counter() - began:.0f} s", "target: 480 s"))
    table = "\n".join(
        f"| {' | '.join(row)} |" for row in [("what", "found", ""), ("---",) * 3, *rows]
    )
    (OUT / "table.md").write_text(f"{table}\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
