"""How paths and foreign text are put into a report.

Protects: a key that stands in a path, a name or an author is masked like any other.
Does not protect: a secret that the detectors do not know.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from keylease.detectors.scanning import Scanner


class Shown:
    """Gives texts the form in which they may leave."""

    def __init__(self, scanner: Scanner, roots: Iterable[tuple[str, str]], home: Path) -> None:
        """``roots`` are pairs of an absolute path and what the user called it."""
        self._scanner = scanner
        self._roots = sorted(roots, key=lambda root: len(root[0]), reverse=True)
        self._home = str(home)
        self.text: Callable[[str], str] = functools.lru_cache(maxsize=65_536)(self._masked)

    def path(self, path: str) -> str:
        """A path as the user would name it, masked."""
        return self.text(self._named(path))

    def _named(self, path: str) -> str:
        for absolute, given in self._roots:
            if path == absolute:
                return given
            if path.startswith(absolute.rstrip("/") + "/"):
                below = path[len(absolute.rstrip("/")) + 1 :]
                return below if given == "." else f"{given.rstrip('/')}/{below}"
        if path.startswith(f"{self._home}/"):
            return f"~/{path[len(self._home) + 1 :]}"
        return path

    def _masked(self, text: str) -> str:
        data = os.fsencode(text)
        pieces, at = [], 0
        for match in self._scanner.scan(data):
            if match.start >= at:
                pieces += [data[at : match.start], match.masked.encode()]
                at = match.end
        pieces.append(data[at:])
        return b"".join(pieces).decode("utf-8", errors="replace")
