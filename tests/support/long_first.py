"""The order in which several processes of tests take what there is: what takes long comes first.

Each process gets an equal part of the tests, in their order, and takes some from the end of the
longest queue when it has nothing left. What starts whole servers is better at the beginning of a
queue: last, it keeps one process busy while the others have ended, and taken by another process it
starts its servers twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar


class Located(Protocol):
    """A test in a file."""

    @property
    def path(self) -> Path: ...


Test = TypeVar("Test", bound=Located)


def long_first(
    tests: Iterable[Test], *, processes: int, takes_long: Callable[[Path], bool]
) -> list[Test]:
    """The same tests, file by file, so that each equal part begins with its share of long ones."""
    files: dict[Path, list[Test]] = {}
    for test in tests:
        files.setdefault(test.path, []).append(test)
    long = [found for path, found in files.items() if takes_long(path)]
    quick = [found for path, found in files.items() if not takes_long(path)]
    parts = [long[number::processes] for number in range(processes)]
    for found in quick:
        min(parts, key=_size).append(found)
    return list(chain.from_iterable(chain.from_iterable(parts)))


def _size(part: Sequence[Sequence[object]]) -> int:
    return sum(map(len, part))
