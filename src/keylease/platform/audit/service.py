"""Reading the audit log: search, entries, proofs, checkpoints, export, and what comes next.

A caller sees the log of their own organization and no other. Whether they may is decided at the
route; that an export was made is written into the log before its first byte leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceNotFound, TooManyAttempts
from keylease.platform.audit import repository
from keylease.platform.audit.log_files import LogFiles
from keylease.platform.audit.repository import Filter, StoredCheckpoint
from keylease.platform.audit.sequencer import Sequencer
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.primitives.transparency.checkpoints import TreeHead
from keylease.primitives.transparency.directory import ROTATIONS, WITNESSED
from keylease.primitives.transparency.export import ExportHeader, encode_hashes, export_line
from keylease.primitives.transparency.log_keys import split_notes
from keylease.primitives.transparency.merkle import TILE_WIDTH, leaf_hash
from keylease.primitives.transparency.proofs import consistency_proof, inclusion_proof, range_hash
from keylease.primitives.transparency.tiles import TileHashes, TileName

_STREAMS: Final = 64
"""Readers that wait for new entries at the same time, over all organizations."""
_STREAM_WAIT_SECONDS: Final = 15.0
_STREAM_BATCH: Final = 100
_EXPORT_BATCH: Final = 4 * TILE_WIDTH
LATEST_SIZE: Final = 2**53


class PlacedEntry(msgspec.Struct, frozen=True):
    """An entry with its place."""

    index: int
    entry: bytes


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That an entry is in the tree of a checkpoint."""

    index: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    head: TreeHead
    checkpoint: bytes


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True):
    """That the tree of ``old`` entries is the beginning of the present one."""

    old: int
    old_root: bytes
    hashes: tuple[bytes, ...]
    head: TreeHead
    checkpoint: bytes


class LogKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a verifier pins, and how to get there from an earlier pin."""

    origin: str
    key: str
    rotations: tuple[str, ...]


class _Opened(msgspec.Struct, frozen=True):
    log_id: str
    head: TreeHead
    note: bytes


class AuditLog:
    """Used by the routes."""

    def __init__(self, database: Database, files: LogFiles, sequencer: Sequencer) -> None:
        self._database = database
        self._files = files
        self._sequencer = sequencer
        self._streams = 0
        self._stopping = asyncio.Event()

    # --- entries -------------------------------------------------------------------------------

    async def search(
        self, caller: Caller, wanted: Filter, request: PageRequest
    ) -> Page[PlacedEntry]:
        """Matching entries, the newest first."""
        log_id = await self._log_id(caller)
        if log_id is None:
            return Page(items=())
        key = request.after()
        before = _whole(key[0]) if key else None
        async with self._database.reading() as tx:
            found = await repository.search(
                tx, log_id, wanted, limit=request.limit + 1, before=before
            )
        page = page_of(found, request, key=lambda position: (str(position),))
        items = await asyncio.to_thread(self._entries, log_id, page.items)
        return Page(items=tuple(items), next_cursor=page.next_cursor)

    async def entry(self, caller: Caller, index: int) -> PlacedEntry:
        """One entry. Raises ``ResourceNotFound``."""
        opened = await self._opened(caller)
        if not 0 <= index < opened.head.size:
            raise ResourceNotFound(f"The log has no entry {index}.")
        return (await asyncio.to_thread(self._entries, opened.log_id, [index]))[0]

    def _entries(self, log_id: str, positions: Sequence[int]) -> list[PlacedEntry]:
        """Entries by their places; places that are near each other cost one bundle."""
        reader = self._files.reader(log_id)
        found = self._files.checkpoint(log_id)
        size = found[0].size if found else 0
        bundles: dict[int, list[bytes]] = {}
        for index in {position // TILE_WIDTH for position in positions}:
            start = index * TILE_WIDTH
            bundles[index] = reader.entries(start, min(start + TILE_WIDTH, size), size=size)
        return [
            PlacedEntry(position, bundles[position // TILE_WIDTH][position % TILE_WIDTH])
            for position in positions
        ]

    # --- proofs --------------------------------------------------------------------------------

    async def inclusion(self, caller: Caller, index: int) -> InclusionProof:
        """The proof of one entry in the newest checkpoint."""
        opened = await self._opened(caller)
        if not 0 <= index < opened.head.size:
            raise ResourceNotFound(f"The log has no entry {index}.")
        return await asyncio.to_thread(self._inclusion, opened, index)

    def _inclusion(self, opened: _Opened, index: int) -> InclusionProof:
        reader = self._files.reader(opened.log_id)
        size = opened.head.size
        hashes = TileHashes(reader, size)
        [entry] = reader.entries(index, index + 1, size=size)
        return InclusionProof(
            index=index,
            leaf=leaf_hash(entry),
            hashes=tuple(inclusion_proof(hashes, index=index, size=size)),
            head=opened.head,
            checkpoint=opened.note,
        )

    async def consistency(self, caller: Caller, old: int) -> ConsistencyProof:
        """The proof from an earlier size to the newest checkpoint."""
        opened = await self._opened(caller)
        if not 0 < old <= opened.head.size:
            raise ResourceNotFound(f"The log never had {old} entries.")
        return await asyncio.to_thread(self._consistency, opened, old)

    def _consistency(self, opened: _Opened, old: int) -> ConsistencyProof:
        hashes = TileHashes(self._files.reader(opened.log_id), opened.head.size)
        return ConsistencyProof(
            old=old,
            old_root=range_hash(hashes, 0, old),
            hashes=tuple(consistency_proof(hashes, old=old, size=opened.head.size)),
            head=opened.head,
            checkpoint=opened.note,
        )

    async def checkpoints(
        self, caller: Caller, request: PageRequest, *, cosigned: bool
    ) -> Page[StoredCheckpoint]:
        """Checkpoints with their cosignatures, the largest first."""
        log_id = await self._log_id(caller)
        if log_id is None:
            return Page(items=())
        key = request.after()
        async with self._database.reading() as tx:
            found = await repository.checkpoints(
                tx,
                log_id,
                limit=request.limit + 1,
                before=_whole(key[0]) if key else None,
                cosigned=cosigned,
            )
        return page_of(found, request, key=lambda item: (str(item.size),))

    async def keys(self, caller: Caller) -> LogKeys:
        """The key in force."""
        opened = await self._opened(caller)
        key, rotations = await asyncio.to_thread(self._files.keys, opened.log_id)
        return LogKeys(
            origin=opened.head.origin,
            key=str(key),
            rotations=tuple(note.decode() for note in rotations),
        )

    async def file(self, caller: Caller, path: str) -> bytes:
        """A file of the log as c2sp.org/tlog-tiles names it. Raises ``ResourceNotFound``."""
        opened = await self._opened(caller)
        name = TileName.parse(path)
        data = None
        if name is None or _exists(name, opened.head.size):
            data = await asyncio.to_thread(self._files.reader(opened.log_id).read, path)
        if data is None:
            raise ResourceNotFound("The log has no such file.")
        return data

    # --- export and stream ---------------------------------------------------------------------

    async def export(
        self, caller: Caller, wanted: Filter, *, sizes: Sequence[int] = ()
    ) -> AsyncIterator[bytes]:
        """Lines of an export; see ``keylease.primitives.transparency.export``.

        The export is written into the log before this returns. ``sizes`` are those of checkpoints
        that the reader has, for consistency proofs.
        """
        filters = {name: str(value) for name, value in msgspec.to_builtins(wanted).items() if value}
        async with self._database.transaction(caller) as tx:
            await tx.record(
                AuditAction.AUDIT_LOG_EXPORTED,
                caller.organization_id,
                details={"complete": str(not wanted.narrows).lower(), **filters},
            )
        await self._sequencer.drain()  # so that the export contains its own entry
        opened = await self._opened(caller)
        header = await asyncio.to_thread(self._header, opened, wanted, filters, tuple(sizes))
        return self._lines(opened, wanted, header)

    def _header(
        self, opened: _Opened, wanted: Filter, filters: dict[str, str], sizes: tuple[int, ...]
    ) -> bytes:
        reader = self._files.reader(opened.log_id)
        hashes = TileHashes(reader, opened.head.size)
        witnessed = reader.read(WITNESSED) or b""
        rotations = split_notes(reader.read(ROTATIONS) or b"")
        known = {_size_of(note) for note in (witnessed, *rotations) if note} | set(sizes)
        proofs = {
            str(size): encode_hashes(consistency_proof(hashes, old=size, size=opened.head.size))
            for size in sorted(known)
            if 0 < size <= opened.head.size
        }
        header = ExportHeader(
            origin=opened.head.origin,
            size=opened.head.size,
            complete=not wanted.narrows,
            checkpoint=opened.note.decode(),
            witnessed=witnessed.decode(),
            rotations=tuple(note.decode() for note in rotations),
            consistency=proofs if wanted.narrows else {},
            filter=filters,
        )
        return msgspec.json.encode(header) + b"\n"

    async def _lines(self, opened: _Opened, wanted: Filter, header: bytes) -> AsyncIterator[bytes]:
        yield header
        count = 0
        batches = self._found(opened, wanted) if wanted.narrows else _ranges(opened.head.size)
        async for positions in batches:
            count += len(positions)
            yield await asyncio.to_thread(self._rendered, opened, positions, proofs=wanted.narrows)
        yield b'{"entries":%d}\n' % count

    async def _found(self, opened: _Opened, wanted: Filter) -> AsyncIterator[Sequence[int]]:
        after = -1
        while True:
            async with self._database.reading() as tx:
                found = await repository.search(
                    tx,
                    opened.log_id,
                    wanted,
                    limit=_EXPORT_BATCH,
                    after=after,
                    below=opened.head.size,
                )
            if not found:
                return
            yield found
            after = found[-1]

    def _rendered(self, opened: _Opened, positions: Sequence[int], *, proofs: bool) -> bytes:
        reader = self._files.reader(opened.log_id)
        size = opened.head.size
        if not proofs:
            entries = reader.entries(positions[0], positions[-1] + 1, size=size)
            return b"".join(map(export_line, positions, entries))
        hashes = TileHashes(reader, size)
        return b"".join(
            export_line(
                placed.index,
                placed.entry,
                inclusion_proof(hashes, index=placed.index, size=size),
            )
            for placed in self._entries(opened.log_id, positions)
        )

    async def follow(
        self, caller: Caller, *, after: int | None
    ) -> AsyncIterator[PlacedEntry | None]:
        """Entries from behind ``after`` (or from now on) as they are logged; None while idle.

        Raises ``TooManyAttempts`` when too many readers wait already.
        """
        if self._streams >= _STREAMS:
            raise TooManyAttempts("Too many readers follow the audit log.", retry_after=60)
        size = await self.size(caller)
        position = size if after is None else min(max(after + 1, 0), LATEST_SIZE)
        return self._follow(caller, position)

    async def _follow(self, caller: Caller, position: int) -> AsyncIterator[PlacedEntry | None]:
        self._streams += 1
        try:
            while not self._stopping.is_set():
                size = await self.size(caller)
                if position >= size:
                    yield None
                    await self._wait()
                    continue
                log_id = await self._log_id(caller) or ""
                stop = min(position + _STREAM_BATCH, size)
                found = await asyncio.to_thread(self._entries, log_id, range(position, stop))
                for placed in found:
                    yield placed
                position = stop
        finally:
            self._streams -= 1

    def stop_following(self) -> None:
        """End every stream: the server is stopping, and their readers ask another or later."""
        self._stopping.set()

    async def _wait(self) -> None:
        """Until something was logged, the server stops, or a while has passed."""
        stopping = asyncio.ensure_future(self._stopping.wait())  # noqa: TID251 - ended below
        growing = asyncio.ensure_future(self._sequencer.next_growth())  # noqa: TID251 - as above
        both = {stopping, growing}
        try:
            await asyncio.wait(
                both, timeout=_STREAM_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for waiting in both:
                waiting.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    # --- which log -----------------------------------------------------------------------------

    async def _log_id(self, caller: Caller) -> str | None:
        async with self._database.reading() as tx:
            known = await repository.log_of(tx, caller.organization_id)
        return known.log_id if known else None

    async def _opened(self, caller: Caller) -> _Opened:
        log_id = await self._log_id(caller)
        found = await asyncio.to_thread(self._files.checkpoint, log_id) if log_id else None
        if log_id is None or found is None:
            raise ResourceNotFound("Nothing has been logged yet.")
        return _Opened(log_id, *found)

    async def size(self, caller: Caller) -> int:
        """How many entries the caller's log has."""
        try:
            return (await self._opened(caller)).head.size
        except ResourceNotFound:
            return 0


async def _ranges(size: int) -> AsyncIterator[Sequence[int]]:
    for start in range(0, size, _EXPORT_BATCH):
        yield range(start, min(start + _EXPORT_BATCH, size))


def _exists(name: TileName, size: int) -> bool:
    """Whether the tree has had this tile: also one of a later checkpoint is not given early."""
    hashes = size >> (8 * max(name.level, 0))
    return name.index * TILE_WIDTH + name.width <= hashes


def _size_of(note: bytes) -> int:
    """The size in a checkpoint, or in a rotation, which has a line more before it."""
    lines = note.split(b"\n")
    return int(lines[1] if lines[1].isdigit() else lines[2])


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 16:  # noqa: PLR2004 - digits of LATEST_SIZE
        raise InputInvalid("The cursor is not one that this list gave.")
    return int(text)
