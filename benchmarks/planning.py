"""How long Snakemake takes to plan: 10 000 jobs, and studies in which nothing is left to do.

    python -m benchmarks --only planning

A copy of the workflow plans sweeps over random models. Where nothing is to be done, every output
is there as an empty file, recorded by ``snakemake --touch``, so that a plan compares time stamps,
inputs and parameters of all jobs as it does after a real run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "resources", "src", "workflow")
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def sweep(checkpoints: int) -> dict[str, Any]:
    """A study of so many random models under the arms of the default study."""
    source = {"type": "random", "family": "llama"}
    return {
        "study": "sweep",
        "models": [
            {"name": f"m{seed:04}", "source": {**source, "seed": seed}}
            for seed in range(checkpoints)
        ],
        "swap_tokens": ["a", "b", "c", "d"],
    }


def copy(target: Path, study: dict[str, Any]) -> None:
    """The workflow in a folder of its own, with one study."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    (target / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")


def snakemake(folder: Path, *options: str) -> tuple[float, str]:
    """Run Snakemake; seconds, and what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    began = time.perf_counter()
    done = subprocess.run(
        [str(SNAKEMAKE), "--cores", "2", "--configfile", "study.yaml", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"snakemake {' '.join(options)} failed:\n{done.stderr[-3000:]}")
    return seconds, done.stdout + done.stderr


def fill(folder: Path) -> None:
    """Make every output of the study as an empty file or folder, and have it recorded."""
    _, printed = snakemake(folder, "--summary")
    for line in printed.splitlines():
        name = line.split("\t")[0]
        if not name.startswith("results/"):
            continue
        path = folder / name
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in ("", ".zarr"):  # checkpoints and stores are folders
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_text("")
    snakemake(folder, "--touch", "--forceall", "--quiet", "all")


def jobs_of(folder: Path, study: dict[str, Any]) -> int:
    """Jobs of a study from nothing, as Snakemake counts them."""
    copy(folder, study)
    _, printed = snakemake(folder, "-n", "--quiet", "rules")
    return int(re.findall(r"^total +([0-9]+)$", printed, re.MULTILINE)[-1])


def measure() -> list[dict[str, Any]]:
    """Seconds of each plan beside its target."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first, second = jobs_of(Path(one), sweep(1)), jobs_of(Path(two), sweep(2))
    each = second - first
    rows = []
    cases = [
        ("plan of 10 000 jobs", -(-(10_000 - first) // each) + 1, False, 30.0),
        ("plan of 100 checkpoints", 100, False, 10.0),
        # ``--touch`` takes a tenth of a second for each job: ten minutes for a hundred checkpoints.
        ("no-op, 10 checkpoints", 10, True, 2.0),
        ("no-op, 1 checkpoint", 1, True, 2.0),
    ]
    for name, checkpoints, done, target in cases:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            copy(folder, sweep(checkpoints))
            if done:
                fill(folder)
            runs = [
                snakemake(folder, "-n", *([] if done else ["--quiet", "all"]))
                for _ in range(3 if checkpoints <= 100 else 1)
            ]
            if done and "Nothing to be done" not in runs[-1][1]:
                raise SystemExit(f"{name}: something is to be done:\n{runs[-1][1][-2000:]}")
            seconds = sorted(seconds for seconds, _ in runs)[len(runs) // 2]
            rows.append(
                {
                    "case": name,
                    "jobs": first + (checkpoints - 1) * each,
                    "seconds": round(seconds, 1),
                    "target_seconds": target,
                }
            )
            print(rows[-1], flush=True)
    return rows
