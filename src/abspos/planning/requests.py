"""Requests of a job: memory, time, cores and GPUs, with a margin, so that few jobs fail.

Estimates are the expected cost of a job on a `Machine` (abspos.planning.costs); requests are
estimates times a margin. Both the rules and `abspos plan` use them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from abspos.planning.costs import memory, seconds, stages
from abspos.planning.loads import Load
from abspos.planning.partitions import Limit, Request, ResourceError, within

#: Stages whose jobs run on the study's device; all others run on CPUs.
ON_DEVICE = ("trained", "activations", "components")
#: Stages whose jobs use all threads of the study.
ON_THREADS = (*ON_DEVICE, "planted", "statistics")
#: Every further attempt asks for this many times the memory and time of the one before.
GROWTH = 2
#: Requested over estimated, for memory and for time: clusters have older cores and busier disks.
MEMORY_MARGIN, TIME_MARGIN = 1.3, 10.0
#: Smallest request: MB, and minutes (a cold file system can take minutes to import torch).
FEWEST_MB, FEWEST_MINUTES = 1500, 15


def request(stage: str, load: Load, attempt: int = 1, limits: Sequence[Limit] = ()) -> Request:
    """The request of a job at this attempt.

    Args:
        stage: one of STAGES.
        load: work of the job.
        attempt: from 1; each further one requests GROWTH times as much memory and time.
        limits: limits of the partitions; requests grow up to the widest that serves the job.

    Raises:
        ResourceError: no partition serves even the first attempt, and the sizes are no guess.
    """
    first = Request(
        mem_mb=_rounded(max(MEMORY_MARGIN * memory(stage, load) / 1e6, FEWEST_MB), 100),
        runtime=_rounded(max(TIME_MARGIN * seconds(stage, load) / 60, FEWEST_MINUTES), 5),
        threads=load.threads if stage in ON_THREADS else 1,
        gpus=int(load.device == "cuda" and stage in ON_DEVICE),
    )
    growth = GROWTH ** (attempt - 1)
    grown = Request(first.mem_mb * growth, first.runtime * growth, first.threads, first.gpus)
    return within(stage, first, grown, limits, load.sizes.guessed) if limits else grown


def _rounded(number: float, step: int) -> int:
    return math.ceil(number / step) * step


def refusals(loads: Iterable[tuple[str, Load]], limits: Sequence[Limit]) -> list[str]:
    """One line for each stage of each model that no partition serves."""
    lines = []
    for model, load in loads:
        for stage in stages(load) if limits else ():
            try:
                request(stage, load, 1, limits)
            except ResourceError as error:
                lines.append(f"{model}, {error}")
    return lines
