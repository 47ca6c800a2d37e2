"""Exports call records to an OTLP/HTTP collector, each at least once.

Promise: a record leaves the spool only after the collector has taken its batch, or after it was set
    aside because the collector will never take it; the position is durable. After a crash the last
    batch may be sent again: spans keep their identifiers, so a collector can tell.
Protects: only the configured address is contacted, through the egress guard.
Limits: while the collector is away records stay in the spool, up to its bound.

Sources: OpenTelemetry Protocol 1.x, sections OTLP/HTTP Response and Failures.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from keylease.contracts.call_records import CallRecord
from keylease.errors import EgressRefused, GatewayFileInvalid, StorageCorrupt, StorageError
from keylease.primitives import files
from keylease.primitives.clock import Clock
from keylease.primitives.egress import guarded_client
from keylease.primitives.segments import Cursor, SegmentLog, WhenFull
from keylease.strongroom.configuration import SpoolSettings
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.records.spool import CallSpool

BATCH_RECORDS: Final = 512
BATCH_SECONDS: Final = 0.5
"""How long a batch may wait to grow."""
_READER: Final = "otlp"
_SET_ASIDE_BYTES: Final = 64 * 1024 * 1024
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_MAXIMUM_ANSWER: Final = 1024 * 1024
_TIMEOUT: Final = 30.0
_OK: Final = range(200, 300)
_TOO_LARGE: Final = 413
_POISON: Final = frozenset({400, 409, 415, 422, _TOO_LARGE})
"""The collector will answer the same tomorrow. Everything else is tried again: also 401, 403 and
404, which are mistakes of configuration and no reason to drop records."""


class _Position(msgspec.Struct, frozen=True):
    """What is stored. Append-only."""

    segment: int
    offset: int


class ExportState(msgspec.Struct, kw_only=True):
    """How the export is doing, for status and metrics."""

    exported: int = 0
    set_aside: int = 0
    rejected: int = 0
    """Spans that a collector said it dropped from a batch it took."""
    behind_bytes: int = 0
    error: str = ""
    """Why the last attempt failed; empty when it went well."""


class _Refused(Exception):
    """The collector will never take this batch."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class _NotNow(Exception):
    """The collector may take the batch later."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class OtlpExporter:
    """One per coordinator; ``run`` it as a task."""

    def __init__(  # noqa: PLR0913 - its collaborators, by keyword
        self,
        spool: CallSpool,
        *,
        settings: SpoolSettings,
        directory: Path,
        group: str,
        organization_id: str,
        ca_file: str,
        clock: Clock,
        log: Log,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ``StorageError``; ``GatewayFileInvalid`` when the headers file cannot be used."""
        self._spool = spool
        self._url = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
        self._headers = _read_headers(settings.otlp_headers_file)
        self._group = group
        self._organization_id = organization_id
        self._clock = clock
        self._log = log
        self._sleep = sleep
        self._position_path = directory / "calls-exported"
        self._set_aside = SegmentLog(
            directory / "calls-set-aside",
            maximum_bytes=_SET_ASIDE_BYTES,
            when_full=WhenFull.DROP_OLDEST,
        )
        self._cursor = self._read_position()
        spool.hold(_READER, self._cursor)
        self._decoder = msgspec.msgpack.Decoder(CallRecord)
        self._client = guarded_client(
            allow_private=settings.otlp_allow_private_address,
            timeout=_TIMEOUT,
            maximum_bytes=_MAXIMUM_ANSWER,
            ca_file=ca_file or None,
        )
        self.state = ExportState()

    def _read_position(self) -> Cursor:
        try:
            stored = msgspec.json.decode(self._position_path.read_bytes(), type=_Position)
        except FileNotFoundError:
            return Cursor(0, 0)
        except (OSError, msgspec.DecodeError) as error:
            raise StorageCorrupt(
                f"{self._position_path} cannot be read.",
                advice="Remove it to export everything that is kept once more.",
            ) from error
        return Cursor(stored.segment, stored.offset)

    async def run(self) -> None:
        """Export until cancelled."""
        while True:
            await self._spool.beyond(self._cursor)
            await self._sleep(BATCH_SECONDS)
            await self._next_batch()

    async def close(self) -> None:
        """Close connections and files; ``run`` has ended."""
        await self._client.aclose()
        self._set_aside.close()

    async def _next_batch(self) -> None:
        try:
            batch = await self._spool.read(self._cursor, maximum_records=BATCH_RECORDS)
        except StorageCorrupt as error:
            self._log.error("calls_damaged", message=error.message)
            await self._advance(self._spool.log.after_damage(self._cursor))
            return
        if batch.dropped:
            self._log.error("calls_dropped_before_export")
        if batch.records:  # none where the cursor only moved to a segment's beginning
            await self._deliver(batch.records)
        await self._advance(batch.following)

    async def _advance(self, cursor: Cursor) -> None:
        self._cursor = cursor
        stored = msgspec.json.encode(_Position(cursor.segment, cursor.offset))
        try:
            await asyncio.to_thread(files.replace, self._position_path, stored)
            await self._spool.release(_READER, cursor)
        except StorageError as error:
            # Going on is safe: after a crash these records are sent once more.
            self._log.error("export_position_not_written", error=type(error).__name__)
        self.state.behind_bytes = self._spool.log.bytes_after(cursor)

    async def _deliver(self, records: Sequence[bytes]) -> None:
        """Send a batch until it is taken; parts that never will be are set aside one by one."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._send(records)
            except _NotNow as problem:
                if self.state.error != problem.reason:
                    self._log.warning("export_waits", reason=problem.reason)
                self.state.error = problem.reason
                self.state.behind_bytes = self._spool.log.bytes_after(self._cursor)
                await self._sleep(max(problem.after, pause * random.uniform(0.8, 1.2)))  # noqa: S311 - spreads retries
                pause = min(pause * 2, _LONGEST_PAUSE)
            except _Refused as problem:
                if len(records) > 1:
                    middle = len(records) // 2
                    await self._deliver(records[:middle])
                    await self._deliver(records[middle:])
                else:
                    await self._put_aside(records[0], f"status {problem.status}")
                return
            else:
                self.state.error = ""
                self.state.exported += len(records)
                return

    async def _send(self, records: Sequence[bytes]) -> None:
        body = await asyncio.to_thread(self._encode, records)
        try:
            answer = await self._client.post(
                self._url,
                content=body,
                headers={**self._headers, "content-type": "application/x-protobuf"},
            )
        except EgressRefused as error:
            raise _NotNow(error.message) from error
        except httpx.HTTPError as error:
            raise _NotNow(type(error).__name__) from error
        if answer.status_code in _OK:
            self._note_rejected(answer.content)
        elif answer.status_code in _POISON:
            raise _Refused(answer.status_code)
        else:
            after = answer.headers.get("retry-after", "")
            seconds = min(float(after), _LONGEST_PAUSE) if after.isdigit() else 0.0
            raise _NotNow(f"status {answer.status_code}", after=seconds)

    def _encode(self, records: Sequence[bytes]) -> bytes:
        from keylease.strongroom.gateway.records.otlp_spans import (  # noqa: PLC0415 - protobuf is heavy
            export_request,
        )

        decoded: list[CallRecord] = []
        for record in records:
            try:
                decoded.append(self._decoder.decode(record))
            except msgspec.DecodeError:
                # Its checksum holds, so another version wrote it.
                self._log.error("call_record_not_understood")
        request = export_request(decoded, group=self._group, organization_id=self._organization_id)
        return request.SerializeToString()

    def _note_rejected(self, body: bytes) -> None:
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

        from keylease.strongroom.gateway.records.otlp_spans import rejected_spans  # noqa: PLC0415 - as above

        try:
            rejected, reason = rejected_spans(body)
        except DecodeError:
            return  # 2xx means taken, whatever the body says
        if rejected or reason:
            self.state.rejected += rejected
            text = "".join(c for c in reason[:200] if c.isprintable())
            self._log.warning("export_partly_rejected", spans=rejected, reason=text)

    async def _put_aside(self, record: bytes, reason: str) -> None:
        self.state.set_aside += 1
        self._log.error("call_record_set_aside", reason=reason)
        entry = msgspec.msgpack.encode(
            {"reason": reason, "at": self._clock.now(), "record": record}
        )
        try:
            await asyncio.to_thread(self._set_aside.append, [entry])
        except StorageError as error:
            self._log.error("set_aside_not_written", message=error.message)


def _read_headers(path: str) -> dict[str, str]:
    """``Name: value`` lines. The values are secrets: they go into the requests and nowhere else."""
    if not path:
        return {}
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayFileInvalid(f"The OTLP headers file {path} cannot be read.") from error
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, separator, value = line.partition(":")
        if not separator or not name.strip().replace("-", "").isalnum():
            raise GatewayFileInvalid(f"{path}:{number}: expected a line such as `Name: value`.")
        headers[name.strip()] = value.strip()
    return headers
