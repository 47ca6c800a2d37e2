"""What the C library's allocator does with memory that is free again.

A message of some hundred kilobytes is several buffers that live for microseconds. By itself glibc
gives such memory back to the system at once, and takes it anew for the next message, page by page:
two hundred page faults for a call of 300 KB, which were half of its time, where memory is locked.

Limits: glibc only (mallopt(3)); elsewhere nothing changes. What was in freed memory stays in this
process until it is used again, as it does with all smaller buffers.
"""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Names of malloc.h."""


def keep_freed_memory(*, kept: int, buffer: int) -> None:
    """Keep up to ``kept`` bytes at the heap's end for later, and buffers up to ``buffer`` in it.

    Larger buffers are mapped and unmapped one by one. For the whole process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, kept)
        mallopt(_MMAP_THRESHOLD, buffer)
