"""Seconds that a job's process takes beside its work, for each workflow script.

Python starts, Snakemake's preamble unpickles its `snakemake`, `job` redirects the log and begins
the ledger's entry, the script imports what it calls; in the end Python takes all of it down. Each
script runs as it stands but for its one call, with a `snakemake` that names no files. Times what
jobs of the default study come to.
"""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from abspos.figures import FIGURES
from abspos.planning import forecast as plan
from abspos.planning.costs import Machine
from abspos.planning.layout import Layout
from abspos.study.config import load_study

ROOT = Path(__file__).resolve().parents[1]
#: Scripts of the default study, by the rule that `abspos plan` counts their jobs under.
SCRIPTS = (
    "models",
    "inputs",
    "activations",
    "components",
    "statistics",
    "choices",
    "checkpoints",
    "tables",
    "claims",
    "sensitivity",
    "figures",
    "front",
)


class WithoutCalls(ast.NodeTransformer):
    """Leaves out the statements that call and nothing else."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Docstrings stay, for a body must not be empty."""
        return None if isinstance(node.value, ast.Call) else node


def emptied(script: Path) -> str:
    """A script as Snakemake runs it, less its call."""
    from snakemake import iocontainers as io

    files = io.InputFiles(), io.OutputFiles(), io.Params(), io.Wildcards()
    folder = str(script.parent)
    given = io.Snakemake(*files, 1, io.ResourceList(), io.Log(), {}, script.stem, None, folder)
    tree = WithoutCalls().visit(ast.parse(script.read_text(encoding="utf-8")))
    if script.stem == "figures":  # the module that draws is imported by its name
        tree.body[-1].body += ast.parse(f"from abspos.figures import {FIGURES[0]}").body
    return "\n".join(
        [
            "import pickle",
            f"snakemake = pickle.loads({pickle.dumps(given, protocol=4)!r})",
            "from snakemake.logging import logger",
            ast.unparse(tree),
        ]
    )


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
    codes = {name: emptied(ROOT / f"workflow/scripts/{name}.py") for name in SCRIPTS}
    seconds: dict[str, list[float]] = {name: [] for name in SCRIPTS}
    for repeat in range(repeats + 1):  # the first reads the files from disk
        for name, code in codes.items():
            took = once(code)
            if repeat:
                seconds[name].append(took)
    counted = jobs()
    rows = [
        {
            "script": name,
            "seconds": round(median(found), 2),
            "jobs": counted.get(name, 0),
            "all": round(median(found) * counted.get(name, 0), 1),
        }
        for name, found in seconds.items()
    ]
    total = {"jobs": sum(r["jobs"] for r in rows), "all": round(sum(r["all"] for r in rows), 1)}
    return [*rows, {"script": "all", "seconds": "", **total}]
