"""Our own scanner over a directory, for the comparison of what is found."""

from __future__ import annotations

from pathlib import Path

from finds import Find

from keylease.detectors.scanning import Confidence, Scanner


def scan(directory: Path, *, least: Confidence = Confidence.LOW) -> list[Find]:
    scanner = Scanner()
    order = list(Confidence)
    return [
        Find(
            path=path.relative_to(directory).as_posix(),
            rule=match.kind,
            provider=match.provider,
            secret=match.secret.reveal(why="compared with what was planted").decode("latin-1"),
            line=path.read_bytes()[: match.start].count(b"\n") + 1,
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        for match in scanner.scan(path.read_bytes(), name=path.relative_to(directory).as_posix())
        if order.index(match.confidence) <= order.index(least)
    ]
