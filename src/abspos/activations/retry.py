"""Smaller batches where the memory of a GPU ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from abspos.models.sources import ModelError

log = logging.getLogger("abspos")


def halving(work: Callable[..., None]) -> Callable[..., None]:
    """Repeat a function with half its ``batch`` each time a GPU runs out of memory; log each retry.

    Results of smaller batches agree to rounding, not byte for byte.

    Args:
        work: takes ``batch`` and ``label`` by name, and leaves nothing behind when it fails.

    Raises:
        ModelError: not even one input at a time fits.
    """

    @wraps(work)
    def attempts(*args: Any, batch: int, label: str, **kwargs: Any) -> None:
        while True:
            try:
                return work(*args, batch=batch, label=label, **kwargs)
            except torch.OutOfMemoryError as error:
                if batch == 1:
                    raise ModelError(
                        f"{label}: the GPU's memory does not hold one input at a time; set "
                        "`dtype: bfloat16`, lower inputs.length, or take a larger GPU"
                    ) from error
            # Out of the `except` block: the error's traceback held on to the tensors.
            torch.cuda.empty_cache()
            log.warning(
                "%s: GPU out of memory with batches of %d inputs; trying again with %d",
                label,
                batch,
                batch // 2,
            )
            batch //= 2

    return attempts
