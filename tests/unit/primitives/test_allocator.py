"""Memory that is free again is used again, and not given back to the system for each message."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from keylease.primitives.allocator import keep_freed_memory
if {kept}:
    keep_freed_memory(kept={kept}, buffer=4 * 1024 * 1024)
def message():
    return [b"x" * 300_000 for _ in range(4)]
for _ in range(5):
    message()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    message()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: int) -> int:
    """Page faults of a hundred messages."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(kept=kept)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_a_message_took_serves_the_next_one() -> None:
    assert faults(16 * 1024 * 1024) < 1_000
    assert faults(0) > 10_000, "glibc keeps it by itself now: then nothing has to be told"
