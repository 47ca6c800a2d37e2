"""What the store will never take is kept beside it, with its reason, and blocks nothing.

Files in one directory: ``<transaction>-<number>.json`` says what it is, ``.msgpack`` beside it is
the ``WriteBatch``. What is damaged in the log itself is ``damage-<segment>-<offset>``. All of it
was masked before it was logged. Bounded in bytes: beyond the bound the reason is kept, but not the
content.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from keylease.platform.traces.ingest.entries import (
    decoded_batch,
    encoded_batch,
    encoded_writes,
)
from keylease.platform.traces.interfaces import PutSpan, Write, WriteBatch
from keylease.primitives import files
from keylease.primitives.segments import Cursor

MAXIMUM_BYTES: Final = 512 * 1024 * 1024
_MOST_NAMED: Final = 20
_LONGEST_REASON: Final = 500
_NAME: Final = re.compile(r"[0-9]{19}-[0-9]{1,6}|damage-[0-9]{16}-[0-9]{1,12}")


class SetAside(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, or one damaged stretch of the log, that was set aside."""

    format: int = 1
    id: str
    organization_id: str = ""
    """Empty for damage: nobody knows whose it was."""
    project_id: str = ""
    xact_id: int = 0
    at: int
    """When it was set aside."""
    code: str
    reason: str
    spans: int = 0
    bytes: int
    content_kept: bool
    trace_ids: tuple[str, ...] = ()
    """Some of those in it."""


class SetAsideFiles:
    """The directory of what was set aside. One writer; any number of readers."""

    def __init__(self, directory: Path, *, maximum_bytes: int = MAXIMUM_BYTES) -> None:
        self._directory = directory
        self._maximum = maximum_bytes
        files.make_private_directory(directory)
        self._used = sum(path.stat().st_size for path in directory.glob("*.msgpack"))

    def batch(
        self, batch: WriteBatch, writes: Sequence[Write], *, at: int, code: str, reason: str
    ) -> SetAside:
        """Set writes of a batch aside. Raises ``StorageError``."""
        content = encoded_batch(
            organization_id=batch.organization_id,
            project_id=batch.project_id,
            xact_id=batch.xact_id,
            received_at=batch.received_at,
            writes=encoded_writes(writes),
        )
        traces = dict.fromkeys(
            write.span.trace_id if isinstance(write, PutSpan) else write.trace_id
            for write in writes
        )
        return self._write(
            SetAside(
                id=self._free_name(batch.xact_id),
                organization_id=batch.organization_id,
                project_id=batch.project_id,
                xact_id=batch.xact_id,
                at=at,
                code=code,
                reason=reason[:_LONGEST_REASON],
                spans=len(writes),
                bytes=len(content),
                content_kept=self._used + len(content) <= self._maximum,
                trace_ids=tuple(traces)[:_MOST_NAMED],
            ),
            content,
        )

    def damage(self, cursor: Cursor, content: bytes, *, at: int, reason: str) -> SetAside:
        """Set bytes of the log aside that are no record. Raises ``StorageError``."""
        return self._write(
            SetAside(
                id=f"damage-{cursor.segment:016d}-{cursor.offset}",
                at=at,
                code="storage_corrupt",
                reason=reason[:_LONGEST_REASON],
                bytes=len(content),
                content_kept=self._used + len(content) <= self._maximum,
            ),
            content,
        )

    def listed(self, organization_id: str) -> list[SetAside]:
        """What of an organization was set aside, newest first."""
        return [one for one in self._all() if one.organization_id == organization_id]

    def damaged(self) -> list[SetAside]:
        """Damaged stretches of the log, for whoever runs the server."""
        return [one for one in self._all() if not one.organization_id]

    def content(self, organization_id: str, identifier: str) -> WriteBatch | None:
        """The batch itself, if there is one of this organization and it was kept."""
        if not _NAME.fullmatch(identifier):
            return None
        path = self._directory / f"{identifier}.msgpack"
        try:
            batch = decoded_batch(path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return batch if batch.organization_id == organization_id else None

    def discard(self, organization_id: str, identifier: str) -> bool:
        """Remove one; False when the organization has none of this name."""
        if all(one.id != identifier for one in self.listed(organization_id)):
            return False
        for suffix in (".msgpack", ".json"):
            (self._directory / f"{identifier}{suffix}").unlink(missing_ok=True)
        return True

    def _all(self) -> Iterator[SetAside]:
        for path in sorted(self._directory.glob("*.json"), reverse=True):
            with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                yield msgspec.json.decode(path.read_bytes(), type=SetAside)

    def _free_name(self, xact_id: int) -> str:
        number = 0
        while (self._directory / f"{xact_id:019d}-{number}.json").exists():
            number += 1
        return f"{xact_id:019d}-{number}"

    def _write(self, one: SetAside, content: bytes) -> SetAside:
        if one.content_kept:
            files.replace(self._directory / f"{one.id}.msgpack", content)
            self._used += len(content)
        files.replace(self._directory / f"{one.id}.json", msgspec.json.encode(one))
        return one
