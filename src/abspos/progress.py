"""Progress of long steps: a log line every few seconds, with an estimate of the remaining time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

log = logging.getLogger("abspos")


def clock(seconds: float) -> str:
    """Minutes and seconds as ``m:ss``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def progress(
    items: Iterable[Item], total: int, label: str, unit: str, every: float = 5.0
) -> Iterator[Item]:
    """Yield ``items`` and log how many of ``total`` are done, at most once per ``every`` seconds.

    The estimate assumes that all items take the same time. The clock is monotonic, so the estimate
    cannot become negative when the system clock is set back.
    """
    start = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= every or done == total:
            left = (now - start) / done * (total - done)
            log.info("%s: %d/%d %s, about %s left", label, done, total, unit, clock(left))
            shown = now
