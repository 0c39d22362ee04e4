"""The environment of a job: machine, packages, git commit and settings that affect its results."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

#: Packages that compute, draw or carry results.
PACKAGES = (
    "accelerate",
    "gguf",
    "matplotlib",
    "numcodecs",
    "numpy",
    "pandas",
    "safetensors",
    "scipy",
    "seaborn",
    "snakemake",
    "tokenizers",
    "torch",
    "transformers",
    "xarray",
    "zarr",
)

#: Settings of the environment that can change rounding or order of sums.
SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "SOURCE_DATE_EPOCH",
)


@cache
def packages() -> dict[str, str]:
    """Version of each installed package of PACKAGES."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def loaded() -> list[str]:
    """The PACKAGES that this process has imported, without Snakemake, which computes nothing."""
    return [name for name in PACKAGES if name in sys.modules and name != "snakemake"]


def python() -> str:
    """Version of this Python."""
    return platform.python_version()


def determinism() -> dict[str, Any]:
    """Thread counts and switches that fix the order of floating-point operations."""
    settings: dict[str, Any] = {key: os.environ[key] for key in SETTINGS if key in os.environ}
    if torch := sys.modules.get("torch"):
        settings["torch.num_threads"] = torch.get_num_threads()
        settings["torch.cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        settings["torch.deterministic_algorithms"] = torch.are_deterministic_algorithms_enabled()
        settings["torch.float32_matmul_precision"] = torch.get_float32_matmul_precision()
        settings["torch.cudnn.benchmark"] = torch.backends.cudnn.benchmark
        settings["torch.cudnn.allow_tf32"] = torch.backends.cudnn.allow_tf32
    return settings


def host() -> dict[str, Any]:
    """Processor, cores, memory, system and GPUs of the machine, without its name."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "memory_bytes": memory(),
        "os": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "gpus": gpus(),
    }


def processor() -> str:
    """Model name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory() -> int | None:
    """Bytes of memory of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def gpus() -> list[dict[str, str]]:
    """Name and driver version of each NVIDIA GPU; empty without any."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(",") for line in done.stdout.splitlines() if line.count(",") == 1]
    return [{"name": name.strip(), "driver": driver.strip()} for name, driver in rows]


def commit(root: Path) -> dict[str, Any] | None:
    """Git commit of the project, and whether its tracked files are unchanged."""

    def git(*arguments: str) -> str | None:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    if head is None:
        return None
    status = git("status", "--porcelain")
    return {"commit": head.strip(), "clean": status == ""}


def peak_memory() -> int:
    """Largest resident size of this process or of one of its children so far, in bytes."""
    import resource

    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit
