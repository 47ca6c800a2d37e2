"""Revocations made at this gateway, kept over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.errors import StorageCorrupt
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.journal import Journal
from keylease.strongroom.leases.verify import CLOCK_SKEW

_FILE_NAME: Final = "revocations"
_SLACK: Final = 1000
"""Dead lines that may gather before the file is written anew."""
_KEPT: Final = (LONGEST_LIFETIME + CLOCK_SKEW) * MICROSECONDS
"""After this every lease that a revocation names has expired anyway."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the file. Append-only."""

    revocation: Revocation
    lifted: bool = False


class RevocationStore:
    """The coordinator's durable revocations.

    A revocation is on the disk when ``add`` returns. Those of leases, principals and all leases
    are dropped once every lease they name has expired; those of credentials stay until lifted.
    """

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        """Open ``directory``/revocations; raises ``StorageError`` or ``StorageCorrupt``."""
        self._clock = clock
        self._revocations: dict[tuple[RevocationKind, str], Revocation] = {}
        self._journal = Journal(directory / _FILE_NAME)
        decoder = msgspec.json.Decoder(_Line)
        for record in self._journal.load():
            try:
                self._take(decoder.decode(record))
            except msgspec.DecodeError as error:
                raise StorageCorrupt(
                    f"{directory / _FILE_NAME} holds a line that is no revocation.",
                    advice="Put it back from a back-up. Without it, leases and credentials that"
                    " were revoked here would be good again.",
                ) from error
        self._compact()

    def revocations(self) -> tuple[Revocation, ...]:
        """Everything in force, for a ``RevocationList``."""
        return tuple(self._revocations.values())

    def add(self, revocation: Revocation) -> None:
        """Store a revocation durably; raises ``StorageError``, and then nothing was revoked."""
        self._write(_Line(revocation))

    def lift(self, credential_id: str) -> bool:
        """Lift the revocation of a credential; false when there was none."""
        revocation = self._revocations.get((RevocationKind.CREDENTIAL, credential_id))
        if revocation is None:
            return False
        self._write(_Line(revocation, lifted=True))
        return True

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _write(self, line: _Line) -> None:
        if self._journal.lines > len(self._revocations) + _SLACK:
            self._compact()
        self._journal.append(msgspec.json.encode(line))
        self._take(line)

    def _take(self, line: _Line) -> None:
        key = (line.revocation.kind, line.revocation.value)
        if line.lifted:
            self._revocations.pop(key, None)
            return
        known = self._revocations.get(key)
        if known is None or line.revocation.at > known.at:
            self._revocations[key] = line.revocation

    def _compact(self) -> None:
        oldest = self._clock.now() - _KEPT
        self._revocations = {
            key: revocation
            for key, revocation in self._revocations.items()
            if revocation.kind is RevocationKind.CREDENTIAL or revocation.at > oldest
        }
        if self._journal.lines > len(self._revocations):
            lines = [msgspec.json.encode(_Line(known)) for known in self._revocations.values()]
            self._journal.rewrite(lines)
