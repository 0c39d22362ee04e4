"""How long Snakemake takes to plan: 10 000 jobs, and studies in which nothing is left to do.

    python -m benchmarks planning

A copy of the workflow plans sweeps over random models. Where nothing is to be done, every output
is there as an empty file, recorded by ``snakemake --touch``, so that a plan compares time stamps,
inputs and parameters of all jobs as it does after a real run.
"""

from __future__ import annotations

import os
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
#: Jobs of one checkpoint under the 14 arms of the default study: two each, inputs, model, tables.
JOBS_EACH = 2 * 14 + 3


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
    from abspos.figures import FIGURES
    from abspos.planning.layout import TABLES, Layout
    from abspos.study.config import load_study
    from abspos.study.files import merged

    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    layout = Layout(load_study(merged(config, study)), folder)
    results, stores, files = layout.results, [], []
    for model, revision in layout.models():
        own = f"{model}/{revision}"
        stores += [f"{results}/inputs/{own}", f"{results}/statistics/{own}/replicates"]
        files += [f"{results}/statistics/{own}/{table}.csv" for table in TABLES]
        (folder / f"results/checkpoints/{own}").mkdir(parents=True)
        files.append(f"results/checkpoints/{own}.manifest.json")
        for variant, condition in layout.arms(model):
            for stage in ("activations", "components"):
                stores.append(f"{results}/{stage}/{own}/{variant}/{condition}")
    files += [f"{results}/statistics/{table}.csv" for table in (*TABLES, "swaps")]
    files += [f"{results}/{name}" for name in ("claims.csv", "front.rst")]
    formats = layout.study.figures.formats
    files += [f"{results}/figures/{figure}.{format}" for figure in FIGURES for format in formats]
    for store in stores:
        (folder / f"{store}.zarr").mkdir(parents=True)
        files.append(f"{store}.manifest.json")
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    snakemake(folder, "--touch", "--forceall", "--quiet", "all")


def measure() -> list[dict[str, Any]]:
    """Seconds of each plan beside its target."""
    rows = []
    cases = [
        ("plan of 10 000 jobs", -(-10_000 // JOBS_EACH), False, 60.0),
        ("no-op, 100 checkpoints", 100, True, 20.0),
        ("no-op, 1 checkpoint", 1, True, 5.0),
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
                    "jobs": checkpoints * JOBS_EACH + 12,
                    "seconds": round(seconds, 1),
                    "target_seconds": target,
                }
            )
            print(rows[-1], flush=True)
    return rows
