"""Subject tokens that may be used once, and were.

Protects: a token that was used for a lease is not used for another one, also after a restart or a
    kill of the coordinator, which owns this cache for all workers.
Does not protect: against use of the same token at another gateway group or another service.
Limits: ``maximum_entries`` tokens that have not expired; when they are reached further tokens are
    refused (the cache never forgets a token that is still valid).
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import StorageCorrupt, StorageFull, TokenExchangeRefused
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.journal import Journal

MAXIMUM_ENTRIES: Final = 200_000
SKEW: Final = 60
"""Seconds that an entry is kept past the token's expiry."""
_FILE_NAME: Final = "used-subject-tokens"
_SLACK: Final = 10_000


class _Line(msgspec.Struct, frozen=True):
    """One line of the file. Append-only."""

    token: str
    """SHA-256 of issuer and ``jti``, in hex."""
    until: int
    """Seconds since 1970."""


class ReplayCache:
    """Remembers used tokens until they have expired."""

    def __init__(
        self, directory: Path, *, clock: Clock, maximum_entries: int = MAXIMUM_ENTRIES
    ) -> None:
        """Open the file in ``directory``; raises ``StorageError`` or ``StorageCorrupt``."""
        self._clock = clock
        self._maximum_entries = maximum_entries
        self._used: dict[str, int] = {}
        self._writing = asyncio.Lock()
        self._journal = Journal(directory / _FILE_NAME)
        decoder = msgspec.json.Decoder(_Line)
        for record in self._journal.load():
            try:
                line = decoder.decode(record)
            except msgspec.DecodeError as error:
                raise StorageCorrupt(
                    f"{directory / _FILE_NAME} holds a line that is none of ours.",
                    advice="Put it back from a back-up. Without it, tokens that were used once and"
                    " have not expired could be used again.",
                ) from error
            self._used[line.token] = line.until
        self._forget_expired()
        if self._journal.lines > len(self._used):
            self._journal.rewrite(self._lines())

    async def use(self, *, issuer: str, jti: str, expires_at: int) -> None:
        """Use a token up; it is on the disk when this returns. ``expires_at`` is in seconds.

        Raises ``TokenExchangeRefused`` when the token was used before, and ``StorageError`` when
        that cannot be written; the token counts as used then too.
        """
        token = hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode()).hexdigest()
        # Taken before the first await, so that of two requests at the same time one is refused.
        if token in self._used:
            raise TokenExchangeRefused(
                "The subject token was used before.",
                advice="Ask its issuer for a fresh one for every exchange.",
            )
        if len(self._used) >= self._maximum_entries:
            self._forget_expired()
        if len(self._used) >= self._maximum_entries:
            raise StorageFull(
                "Too many subject tokens were used within their lifetime.",
                advice="It passes as they expire; shorter-lived subject tokens need less room.",
            )
        line = _Line(token=token, until=expires_at + SKEW)
        self._used[token] = line.until
        async with self._writing:
            await asyncio.to_thread(self._write, line)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _write(self, line: _Line) -> None:
        self._journal.append(msgspec.json.encode(line))
        if self._journal.lines > len(self._used) + _SLACK:
            self._journal.rewrite(self._lines())

    def _lines(self) -> list[bytes]:
        return [
            msgspec.json.encode(_Line(token=token, until=until))
            for token, until in list(self._used.items())
        ]

    def _forget_expired(self) -> None:
        now = self._clock.now() // MICROSECONDS
        self._used = {token: until for token, until in self._used.items() if until > now}
