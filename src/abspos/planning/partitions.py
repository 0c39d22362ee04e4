"""Limits per job of a cluster's partitions, read from the file that its profile names.

The file is that of ``slurm-partition-config``, from which Snakemake chooses a partition for each
job. Here it bounds the requests, so that no job waits for resources that no partition has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ResourceError(ValueError):
    """A request that no partition can serve, or a file of partitions that cannot be read."""


@dataclass(frozen=True)
class Request:
    """Resources that a job requests: memory in MB, time in minutes, cores, GPUs."""

    mem_mb: int
    runtime: int
    threads: int = 1
    gpus: int = 0

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPU" if self.gpus else ""
        return f"{self.mem_mb} MB, {self.runtime} minutes, {self.threads} cores{gpus}"


@dataclass(frozen=True)
class Limit:
    """Limits of a partition per job; infinity where its file gives none."""

    name: str
    mem_mb: float = math.inf
    runtime: float = math.inf
    threads: float = math.inf
    gpus: float = 0

    def offers(self, request: Request) -> bool:
        """Whether the request fits."""
        return (
            request.mem_mb <= self.mem_mb
            and request.runtime <= self.runtime
            and request.threads <= self.threads
            and request.gpus <= self.gpus
        )

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.mem_mb:g} MB, {self.runtime:g} minutes, {self.threads:g} cores, "
            f"{self.gpus:g} GPUs"
        )


def within(
    stage: str, first: Request, grown: Request, limits: Sequence[Limit], guessed: bool = False
) -> Request:
    """The request of a later attempt, capped at the widest partition that serves the first.

    Args:
        stage: name of the job for an error.
        first: request of the job's first attempt.
        grown: request of this attempt without limits.
        limits: limits of the partitions, at least one.
        guessed: whether the request is a guess; then no error is raised.

    Raises:
        ResourceError: no partition serves the first attempt.
    """
    serving = [limit for limit in limits if limit.offers(first)]
    if guessed and not serving:
        serving = [limit for limit in limits if limit.gpus >= first.gpus] or list(limits)
    if not serving:
        raise ResourceError(
            f"{stage}: requests {first}, which no partition offers ("
            + "; ".join(map(str, limits))
            + "); correct the file of partitions, or lower inputs.number, inputs.length, "
            "inputs.batch or threads"
        )
    # A job without GPU uses a GPU partition only if no other serves it.
    widest = max(serving, key=lambda p: (not p.gpus or bool(first.gpus), p.mem_mb, p.runtime))
    return Request(
        int(min(grown.mem_mb, widest.mem_mb)),
        int(min(grown.runtime, widest.runtime)),
        grown.threads,
        grown.gpus,
    )


_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d+):(\d+)")
_UNITS = {"d": 1440, "h": 60, "m": 1}


def minutes(value: str | float) -> float:
    """Minutes of a time limit: a number of minutes, ``12h``, or Slurm's ``1-00:00:00``."""
    text = str(value).strip()
    if clock := _CLOCK.fullmatch(text):
        days, hours, mins, secs = (int(part or 0) for part in clock.groups())
        return days * 1440 + hours * 60 + mins + secs / 60
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return float(text[:-1]) * _UNITS[text[-1]]
    try:
        return float(text)
    except ValueError:
        raise ResourceError(
            f"max_runtime {value!r}: write minutes, 12h, 2d or 1-00:00:00"
        ) from None


def read_limits(path: Path | str | None) -> tuple[Limit, ...]:
    """The partitions of a file that ``slurm-partition-config`` names; none for None.

    Raises:
        ResourceError: the file is missing, or not a mapping of partitions.
    """
    if path is None:
        return ()
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["partitions"]
        return tuple(limit_of(str(name), given or {}) for name, given in found.items())
    except ResourceError:
        raise
    except (
        *(OSError, LookupError, TypeError, AttributeError, ValueError, OverflowError),
        *(RecursionError, yaml.YAMLError),
    ) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ResourceError(
            f"slurm_partitions {str(path)!r}: not a file with `partitions:` and a mapping of "
            f"limits for each ({type(error).__name__}: {reason})"
        ) from None


def limit_of(name: str, given: Mapping[str, Any]) -> Limit:
    """One entry of a file of partitions."""
    for key, value in given.items():
        if key in ("max_mem_mb", "max_threads", "max_gpu") and not float(value) >= 0:
            raise ResourceError(f"partition {name}: {key} {value!r} is not a number from 0 on")
    return Limit(
        name,
        mem_mb=float(given.get("max_mem_mb", math.inf)),
        runtime=minutes(given.get("max_runtime", math.inf)),
        threads=float(given.get("max_threads", math.inf)),
        gpus=float(given.get("max_gpu", 0)),
    )
