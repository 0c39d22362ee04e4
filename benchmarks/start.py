"""Seconds from the start of a job's process to its first line of work, for each workflow script.

What a process does before: Python starts, Snakemake's preamble imports its `script`, the script
imports what it calls. Times what jobs of the default study come to.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from abspos import plan
from abspos.figures import FIGURES
from abspos.layout import Layout
from abspos.resources import Machine
from abspos.study import load_study

ROOT = Path(__file__).resolve().parents[1]
#: Scripts of the default study, by the rule that `abspos plan` counts their jobs under.
SCRIPTS = (
    "models", "inputs", "activations", "components", "statistics", "choices", "checkpoints",
    "tables", "claims", "sensitivity", "figures", "front",
)  # fmt: skip


def imports(script: Path) -> str:
    """The import statements of a script, after those of Snakemake's preamble."""
    lines = ["from snakemake import script"]
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines.append(ast.unparse(node))
    if script.stem == "figures":  # the module that draws is imported by its name
        lines.append(f"from abspos.figures import {FIGURES[0]}")
    return "; ".join(lines)


def jobs() -> dict[str, int]:
    """Jobs of the default study by rule."""
    import yaml

    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    planned = plan.plan(Layout(load_study(config), ROOT), ROOT, Machine(), cores=2)
    return {row.rule: row.jobs for row in planned.rows}


def once(code: str) -> float:
    """Elapsed seconds of one process that runs these lines."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    return time.perf_counter() - began


def measure(repeats: int) -> list[dict[str, Any]]:
    """One row a script, scripts taking turns: median seconds, jobs, and their product."""
    codes = {name: imports(ROOT / f"workflow/scripts/{name}.py") for name in SCRIPTS}
    seconds: dict[str, list[float]] = {name: [] for name in SCRIPTS}
    for repeat in range(repeats + 1):  # the first reads the files from disk
        for name, code in codes.items():
            took = once(code)
            if repeat:
                seconds[name].append(took)
    counted = jobs()
    rows = [
        {"script": name, "seconds": round(median(found), 2), "jobs": counted.get(name, 0),
         "all": round(median(found) * counted.get(name, 0), 1)}
        for name, found in seconds.items()
    ]  # fmt: skip
    total = {"jobs": sum(row["jobs"] for row in rows), "all": sum(row["all"] for row in rows)}
    return [*rows, {"script": "all", "seconds": "", **total}]
