"""What could not be read: reported once for each place, counted, and the scan goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Final

from keylease.contracts.findings import ReadProblem

_MAXIMUM_LISTED: Final = 1000
"""Places listed by kind of problem; further ones are counted."""
_CODES: Final = {
    errno.EACCES: ("permission_denied", "It may not be read."),
    errno.EPERM: ("permission_denied", "It may not be read."),
    errno.ENOENT: ("vanished", "It has gone meanwhile."),
    errno.ESTALE: ("vanished", "It has gone meanwhile."),
    errno.ELOOP: ("link_loop", "Its links lead in a circle."),
    errno.EIO: ("read_error", "The disk gave an error."),
    errno.ENAMETOOLONG: ("read_error", "Its name is too long."),
    errno.EMFILE: ("read_error", "Too many files are open."),
}
_NOTHING_TO_READ: Final = frozenset({"vanished"})


class Problems:
    """Collects what went wrong, once for each place and code."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], ReadProblem] = {}
        self._listed: dict[str, int] = {}

    def add(self, code: str, path: str, message: str, *, count: int = 1) -> None:
        """Note a problem with ``path``. ``message`` is for a person and quotes nothing foreign."""
        key = (code, path)
        if key not in self._found:
            self._listed[code] = self._listed.get(code, 0) + 1
            if self._listed[code] > _MAXIMUM_LISTED:
                key = (code, "")
        known = self._found.get(key)
        self._found[key] = ReadProblem(
            code=code,
            path=key[1],
            message=message if key[1] else f"As above, in further places. {message}",
            count=count + (known.count if known else 0),
            incomplete=code not in _NOTHING_TO_READ,
        )

    def failed(self, path: str, error: OSError) -> None:
        """Note that the system did not let us read ``path``."""
        code, message = _CODES.get(
            error.errno or 0, ("read_error", f"{os.strerror(error.errno or 0)}.")
        )
        self.add(code, path, message)

    def extend(self, others: Iterable[ReadProblem]) -> None:
        """Take over what another process noted."""
        for problem in others:
            self.add(problem.code, problem.path, problem.message, count=problem.count)

    def __iter__(self) -> Iterator[ReadProblem]:
        return iter(self._found.values())

    def take(self) -> tuple[ReadProblem, ...]:
        """What was noted since the last time."""
        found = tuple(self._found.values())
        self._found.clear()
        return found
