"""The environments of the user's own processes, as the system shows them (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.discovery.pieces import Piece
from keylease.discovery.problems import Problems

_MAXIMUM_BYTES: Final = 4 * 1024 * 1024
_PROC: Final = Path("/proc")


def environments(problems: Problems, *, proc: Path = _PROC) -> Iterator[Piece]:
    """One piece for each process, a variable on each line. A process that ends is left out."""
    if not (proc / "self" / "environ").exists():
        problems.add(
            "unsupported", "process environments", "This system does not show them to its users."
        )
        return
    own, seen = os.geteuid(), set[bytes]()
    for folder in sorted(proc.iterdir(), key=lambda path: path.name.zfill(12)):
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if folder.stat().st_uid != own:
                continue
            with (folder / "environ").open("rb") as file:
                data = file.read(_MAXIMUM_BYTES)
            name = (folder / "comm").read_bytes().strip().decode(errors="replace")
        except OSError:
            continue  # it has ended, or has more rights than we have
        if not data or data in seen:
            continue  # a child with its parent's environment says nothing new
        seen.add(data)
        yield Piece(data.replace(b"\0", b"\n"), f"process {folder.name} ({name})")
