"""Processor time by part: functions are replaced by ones that count their own time.

A part's time is that of its thread, less what parts that it calls take. Meant for torch on one
thread; digests and layers run on threads of their own, which are parts too.
"""

from __future__ import annotations

import functools
import importlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch

#: (part, module, function or class.method), as the module that calls it knows it.
Part = tuple[str, str, str]
EXTRACTION: Sequence[Part] = (
    ("digests", "abspos.stores", "file_digest"),
    ("write q and k", "abspos.activations.store", "Writer.__call__"),
    ("sums of states", "abspos.activations.store", "Sums.__call__"),
    ("position 0 alone", "abspos.activations.extract", "trajectory_error"),
    ("loss", "abspos.activations.extract", "token_loss"),
    ("forward pass and all else", "abspos.activations.extract", "write_store"),
)
DECOMPOSITION: Sequence[Part] = (
    ("digests", "abspos.stores", "file_digest"),
    ("read", "abspos.components.store", "read_heads"),
    ("logits", "abspos.components.blocks", "rebuilt_logits"),
    ("truncated softmaxes", "abspos.components.blocks", "truncate"),
    ("predicted attention", "abspos.components.decomposition", "Truncated.predicted"),
    ("fields", "abspos.components.blocks", "explain"),
    ("fields", "abspos.components.grams", "fields"),
    ("fields", "abspos.components.store", "bands_of"),
    ("attention to position 0", "abspos.components.blocks", "late_to_first"),
    ("Gram matrices", "abspos.components.reduction", "products"),
    ("means, sinks", "abspos.components.store", "block_summary"),
    ("logit map", "abspos.components.store", "logit_map"),
    ("identity", "abspos.components.store", "identity_error"),
    ("save", "abspos.components.store", "save_dataset"),
    ("all else", "abspos.components.store", "decompose_layer"),
    ("all else", "abspos.components.store", "decompose_run"),
)


def watch(
    parts: Sequence[Part], run: Callable[[], None], found: dict[str, float]
) -> Callable[[], None]:
    """The run, after which ``found`` has the processor seconds of each part."""

    def timed() -> None:
        found.clear()
        torch.set_num_threads(1)
        with ExitStack() as replaced:
            for part, module, name in parts:
                *path, last = name.split(".")
                owner: Any = functools.reduce(getattr, path, importlib.import_module(module))
                own = counted(getattr(owner, last), part, found)
                replaced.enter_context(patch.object(owner, last, own))
            began = time.process_time()
            run()
            whole = time.process_time() - began
        found["threads of Zarr and others"] = whole - sum(found.values())

    return timed


#: Of each thread: for every part that runs, seconds of the parts that it called.
RUNNING = threading.local()
ADDING = threading.Lock()


def counted(function: Callable[..., Any], part: str, found: dict[str, float]) -> Callable[..., Any]:
    """The function, adding its own processor seconds to those of its part."""

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        callers = RUNNING.__dict__.setdefault("callers", [])
        callers.append(0.0)
        began = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            took, within = time.thread_time() - began, callers.pop()
            if callers:
                callers[-1] += took
            with ADDING:
                found[part] = found.get(part, 0.0) + took - within

    return run
