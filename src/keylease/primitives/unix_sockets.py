"""Names of Unix sockets that are longer than the kernel takes.

``sun_path`` of unix(7) holds 108 bytes on Linux and 104 on macOS, and a data directory may well lie
deeper. Linux reaches the socket through a descriptor of its directory; elsewhere a long path stays
an error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LONGEST: Final = 103
"""Bytes of a path that every system takes."""


@contextlib.contextmanager
def socket_name(path: Path) -> Iterator[str]:
    """A name for ``bind`` or ``connect``, good until the context ends; raises ``OSError``."""
    if len(os.fsencode(path)) <= LONGEST or sys.platform != "linux":
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
