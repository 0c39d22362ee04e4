"""Memory that a job frees is taken again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("loads", "told", "kept"),
    [
        ("torch", None, True),
        ("torch", "MALLOC_TRIM_THRESHOLD_", False),
        ("abspos.statistics.aggregate", None, False),
        ("abspos.claims.choices", None, False),
    ],
)
def test_freed_memory_stays_with_a_process_of_torch_unless_told_otherwise(loads, told, kept):
    """Memory of 64 MB, taken and freed twenty times over, costs page faults once."""
    code = """
import resource
from abspos.audit.job import loading

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

with loading():
    import LOADED
bytes(2**26)
before = faults()
for _ in range(20):
    bytearray(2**26)[::4096] = b"1" * 2**14
print(faults() - before)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment |= {told: "131072"} if told else {}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("LOADED", loads)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    pages = 2**26 // os.sysconf("SC_PAGE_SIZE")
    assert (int(done.stdout) > 10 * pages) != kept, done.stdout
