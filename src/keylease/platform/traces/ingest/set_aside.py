"""What the store will never take is kept beside it, with its reason, and blocks nothing.

Files in one directory: ``<transaction>-<number>.json`` says what it is, ``.msgpack`` beside it is
the ``WriteBatch``. What is damaged in the log itself is ``damage-<segment>-<offset>``. All of it
was masked before it was logged; removals and the time that a project keeps spans reach it, but not
what is damaged, of which nobody knows whose it was. Bounded in bytes: beyond the bound the reason
is kept, but not the content.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from keylease.platform.traces.ingest.entries import (
    decoded_batch,
    encoded_batch,
    encoded_writes,
)
from keylease.platform.traces.interfaces import (
    MergeSpan,
    PutSpan,
    RemoveSpans,
    Write,
    WriteBatch,
)
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

    def has(self, xact_id: int) -> bool:
        """Whether anything of a transaction was set aside."""
        return any(self._directory.glob(f"{xact_id:019d}-*.json"))

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
        self._discard(identifier)
        return True

    def remove(self, removal: WriteBatch, write: RemoveSpans) -> None:
        """Remove from what was set aside, too, what a removal names. Raises ``StorageError``."""
        for one in self.listed(removal.organization_id):
            batch = self.content(removal.organization_id, one.id)
            if batch is None or batch.project_id != removal.project_id:
                continue
            if batch.xact_id > removal.xact_id:
                continue
            kept = [each for each in batch.writes if not _is_named(write, each)]
            if len(kept) == len(batch.writes):
                continue
            self._discard(one.id)
            if kept:
                self.batch(batch, kept, at=one.at, code=one.code, reason=one.reason)

    def expire(self, before: Callable[[str, str], int | None]) -> None:
        """Discard what was set aside before the time that ``before`` gives for its project."""
        for one in self._all():
            limit = before(one.organization_id, one.project_id) if one.organization_id else None
            if limit is not None and one.at < limit:
                self._discard(one.id)

    def _discard(self, identifier: str) -> None:
        content = self._directory / f"{identifier}.msgpack"
        with contextlib.suppress(FileNotFoundError):
            size = content.stat().st_size
            content.unlink()
            self._used -= size
        (self._directory / f"{identifier}.json").unlink(missing_ok=True)

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


def _is_named(removal: RemoveSpans, write: Write) -> bool:
    """Whether a removal names what a write would have written."""
    if isinstance(write, RemoveSpans):
        return False
    if removal.user_id:  # nobody has understood it, so that the user stands anywhere in it
        return removal.user_id.encode() in encoded_writes([write])
    trace_id, span_id = (
        (write.trace_id, write.span_id)
        if isinstance(write, MergeSpan)
        else (write.span.trace_id, write.span.span_id)
    )
    return removal.everything or (removal.trace_id == trace_id and removal.span_id in {"", span_id})
