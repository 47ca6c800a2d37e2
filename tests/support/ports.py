"""Free ports, and servers that end with their test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

_FIRST: Final = 20_000
_LAST: Final = 32_000
"""Below the ports that systems give to outgoing connections (32,768 and up on Linux, 49,152 on
macOS): one of those could take a port between the moment it was found free and its use."""
_held: list[IO[bytes]] = []


def free_port() -> int:
    """A port that nobody listens on; no other test process is given it while this one lives."""
    folder = Path(tempfile.gettempdir()) / f"keylease-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        claim = (folder / str(port)).open("ab")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _held.append(claim)
        return port


@contextlib.contextmanager
def terminated(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
