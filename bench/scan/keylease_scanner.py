"""Our own scanner over a directory: what it finds, how surely, and how fast."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from finds import Find

from keylease.detectors.scanning import Confidence, Match, Scanner

NOBODY = "?"
_WITHOUT_PROVIDER = frozenset({"jwt", "private-key"})


@dataclasses.dataclass
class Scanned:
    """One pass over a directory."""

    finds: list[Find]
    above_low: list[tuple[Find, Match]]
    size: int
    seconds: float
    """In the scanner alone; reading the files is not counted."""


def scan(directory: Path) -> Scanned:
    scanner = Scanner()
    result = Scanned([], [], 0, 0.0)
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or path.is_symlink() or "__pycache__" in path.parts:
            continue
        data = path.read_bytes()
        if b"\0" in data[:8000] and data[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
            continue
        name = path.relative_to(directory).as_posix()
        started = time.perf_counter()
        matches = scanner.scan(data, name=name)
        result.seconds += time.perf_counter() - started
        result.size += len(data)
        for match in matches:
            # A kind that no provider issues is right without one; a general kind is a guess.
            nobody = "" if match.kind in _WITHOUT_PROVIDER else NOBODY
            find = Find(
                path=name,
                rule=match.kind,
                provider=match.provider or nobody,
                secret=match.secret.reveal(why="compared with what was planted").decode("latin-1"),
                line=data[: match.start].count(b"\n") + 1,
            )
            result.finds.append(find)
            if match.confidence is not Confidence.LOW:
                result.above_low.append((find, match))
    return result
