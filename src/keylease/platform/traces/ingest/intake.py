"""Where every write enters: masked, logged, and told when it can be read.

    intake = Intake(log, writer ..., ...)
    xact_id = await intake.take(organization_id, project_id, writes)   # durable
    await intake.settled(xact_id)                                      # readable

Masking and encoding happen in one thread, so that the event loop goes on answering; bodies of many
megabytes have a thread of their own and hold up nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from keylease.errors import KeyleaseError, TraceQueueFull, TraceStoreUnavailable
from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.platform.traces.ingest.masking import MaskedSecret, Masker
from keylease.platform.traces.ingest.personal_data import PersonalDataMasker
from keylease.platform.traces.ingest.preparing import Prepared, prepared, prepared_spans
from keylease.platform.traces.ingest.set_aside import SetAside, SetAsideFiles
from keylease.platform.traces.ingest.write_log import Unlogged, WriteLog
from keylease.platform.traces.ingest.writer import GATHER_SECONDS, Listener, Writer
from keylease.platform.traces.interfaces import Store, Understanding, Write
from keylease.platform.traces.model import RawSpan, Source, Span
from keylease.primitives.clock import Clock
from keylease.primitives.segments import Files

MAXIMUM_LOG_BYTES: Final = 1024 * 1024 * 1024
SETTLE_SECONDS: Final = 10.0
_IN_HAND: Final = 192 * 1024 * 1024
"""Bytes of bodies that are being read or decoded at a time."""
_OF_ONE: Final = 144 * 1024 * 1024
"""Of these, what one organization may have: who sends slowly or much leaves room for others."""
_LARGE: Final = 1024 * 1024
_REPEAT_SECONDS: Final = 3600.0
_MOST_REMEMBERED: Final = 10_000
_MOST_A_SECOND: Final = 20
_Result = TypeVar("_Result")
_log: Final = structlog.stdlib.get_logger


class MaskingRules(msgspec.Struct, frozen=True):
    """What is particular to a project; ``personal_data`` is made once when its rules change."""

    personal_data: PersonalDataMasker | None = None


Rules = Callable[[str, str], MaskingRules]
"""Organization and project -> rules; answers from memory, at once."""


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A masked secret with the place it was sent to."""

    organization_id: str
    project_id: str
    at: int
    secret: MaskedSecret


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of some writes."""

    xact_id: int
    """The last transaction; 0 when nothing could be taken."""
    rejected: int = 0
    """Writes that are too large for the log by themselves."""


class Intake:
    """Implements ``interfaces.Intake``. Made by ``opened``; belongs to one event loop."""

    def __init__(
        self,
        log: WriteLog,
        aside: SetAsideFiles,
        keys: FingerprintKeyring,
        *,
        clock: Clock,
        rules: Rules,
        on_finding: Callable[[Reported], None],
    ) -> None:
        self.log = log
        self.set_aside = aside
        self._keys = keys
        self._clock = clock
        self._rules = rules
        self._on_finding = on_finding
        self._loop = asyncio.get_running_loop()
        self._small, self._large = _Lane("trace-ingest"), _Lane("trace-ingest-large")
        self._in_hand: Counter[str] = Counter()
        """By organization."""
        self._applied = log.mark.xact_id
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0
        self._listeners: list[Callable[[Sequence[Span]], None]] = []
        self._reported: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._this_second = (0.0, 0)
        self._writer: Writer | None = None
        self.trouble: KeyleaseError | None = None
        """Why the store does not take rows now; ``None`` while it does."""
        self.findings_left_out = 0
        """Findings that were not reported because there were too many in a second."""

    # --- in --------------------------------------------------------------------------------

    async def take(self, organization_id: str, project_id: str, writes: Sequence[Write]) -> int:
        """Mask, log and queue; the transaction id.

        Raises ``TraceQueueFull`` (429 with Retry-After) and ``StorageFull``.
        """
        rules, keys = self._rules(organization_id, project_id), self._keys.of(organization_id)
        ready = await self.work(
            lambda masker: prepared(masker, list(writes), keys, rules.personal_data), size=0
        )
        return (await self._logged(organization_id, project_id, ready)).xact_id

    async def take_spans(
        self,
        organization_id: str,
        project_id: str,
        spans: list[RawSpan],
        *,
        source: Source = Source.OTLP,
        size: int = 0,
    ) -> Taken:
        """As ``take``, for spans; ``size`` is about how many bytes they have."""
        rules, keys = self._rules(organization_id, project_id), self._keys.of(organization_id)
        ready = await self.work(
            lambda masker: prepared_spans(masker, spans, source, keys, rules.personal_data),
            size=size,
        )
        return await self._logged(organization_id, project_id, ready)

    async def _logged(self, organization_id: str, project_id: str, ready: Prepared) -> Taken:
        if ready.found:
            self._report(organization_id, project_id, ready.found)
        if not ready.parts:
            return Taken(xact_id=0, rejected=ready.rejected)
        now = self._clock.now()
        done = self.log.submit(
            [Unlogged(organization_id, project_id, now, part) for part in ready.parts]
        )
        return Taken(xact_id=await asyncio.wrap_future(done), rejected=ready.rejected)

    async def work(self, job: Callable[[Masker], _Result], *, size: int) -> _Result:
        """Do something that takes processor time in the thread for bodies of this size."""
        lane = self._lane(size)
        try:
            running = self._loop.run_in_executor(lane.executor, lane.run, job)
        except RuntimeError as error:  # the executor's way to say that it was shut down
            raise TraceStoreUnavailable(
                "The trace store is being closed.", advice="Send it again."
            ) from error
        return await running

    def _lane(self, size: int) -> _Lane:
        return self._large if size > _LARGE else self._small

    @contextlib.contextmanager
    def room(self, organization_id: str) -> Iterator[Room]:
        """Accounts for the bytes of one body while it is read and decoded."""
        room = Room(self, organization_id)
        try:
            yield room
        finally:
            self._in_hand[organization_id] -= room.taken
            if not self._in_hand[organization_id]:
                del self._in_hand[organization_id]

    def _take_room(self, organization_id: str, size: int) -> None:
        own, all_ = self._in_hand[organization_id], self._in_hand.total()
        if own + size > _OF_ONE or all_ + size > _IN_HAND:
            raise TraceQueueFull(
                "More spans arrive than can be taken at a time.",
                advice="Send them again after the time that Retry-After says.",
            )
        self._in_hand[organization_id] += size

    # --- findings --------------------------------------------------------------------------

    def _report(self, organization_id: str, project_id: str, found: list[MaskedSecret]) -> None:
        now = self._clock.monotonic()
        for secret in found:
            which = secret.fingerprints[0].value if secret.fingerprints else secret.masked
            place = (organization_id, project_id, secret.kind, which)
            key = (*place, secret.span_name, secret.attribute)
            last = self._reported.get(key)
            if last is not None and now - last < _REPEAT_SECONDS:
                continue
            second, count = self._this_second
            if now - second >= 1:
                second, count = now, 0
            if count >= _MOST_A_SECOND:
                self.findings_left_out += 1
                continue
            self._this_second = (second, count + 1)
            self._reported[key] = now
            self._reported.move_to_end(key)
            if len(self._reported) > _MOST_REMEMBERED:
                self._reported.popitem(last=False)
            self._on_finding(
                Reported(
                    organization_id=organization_id,
                    project_id=project_id,
                    at=self._clock.now(),
                    secret=secret,
                )
            )

    # --- out -------------------------------------------------------------------------------

    async def settled(self, xact_id: int, *, seconds: float = SETTLE_SECONDS) -> None:
        """Return when reads see this transaction.

        Raises ``TraceStoreUnavailable`` after a bound.
        """
        if xact_id <= self._applied:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._number += 1
        heapq.heappush(self._waiting, (xact_id, self._number, future))
        if self._writer is not None:
            self._writer.hurry(xact_id)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            raise TraceStoreUnavailable(
                "What was written cannot be read yet.",
                advice="It is kept, and appears when the trace store has taken it.",
            ) from self.trouble

    @property
    def applied(self) -> int:
        """The last transaction that reads see."""
        return self._applied

    def fresh(self, listener: Callable[[Sequence[Span]], None]) -> Callable[[], None]:
        """Call ``listener`` on the event loop with rows just written; gives what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _advance(self, xact_id: int, rows: Sequence[Span]) -> None:
        self._applied = max(self._applied, xact_id)
        while self._waiting and self._waiting[0][0] <= self._applied:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        if rows:
            for listener in tuple(self._listeners):
                listener(rows)

    def _set_state(self, trouble: KeyleaseError | None) -> None:
        self.trouble = trouble
        if trouble is None:
            _log().info("trace_store_available")
        else:
            _log().error("trace_store_unavailable", reason=trouble.code, message=trouble.message)

    # --- life ------------------------------------------------------------------------------

    def start(self, store: Store, understanding: Understanding, *, gather_seconds: float) -> None:
        """Begin to write into the store what the log holds."""
        call = self._loop.call_soon_threadsafe

        def told(*arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the thread
                call(*arguments)  # type: ignore[arg-type]  # a function and what it takes

        listener = Listener(
            applied=lambda xact_id, rows: told(self._advance, xact_id, rows),
            set_aside=lambda one: told(_say_set_aside, one),
            state=lambda trouble: told(self._set_state, trouble),
        )
        self._writer = Writer(
            self.log,
            store,
            understanding,
            self.set_aside,
            listener,
            clock=self._clock,
            gather_seconds=gather_seconds,
        )
        self._writer.start()

    def close(self) -> None:
        """Write what waits into the log, and end the threads. Blocks; nothing is lost."""
        self._small.close()
        self._large.close()
        if self._writer is not None:
            self._writer.stop()
        self.log.close()
        for _, _, future in self._waiting:
            future.cancel()


class Room:
    """What one body takes up."""

    def __init__(self, intake: Intake, organization_id: str) -> None:
        self._intake = intake
        self._organization_id = organization_id
        self.taken = 0

    def take(self, size: int) -> None:
        """Account for more bytes. Raises ``TraceQueueFull``."""
        self._intake._take_room(self._organization_id, size)  # noqa: SLF001 - two halves of one account
        self.taken += size


class _Lane:
    """A thread with a masker of its own."""

    def __init__(self, name: str) -> None:
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._masker: Masker | None = None

    def run(self, job: Callable[[Masker], _Result]) -> _Result:
        if self._masker is None:
            self._masker = Masker()
        return job(self._masker)

    def close(self) -> None:
        self.executor.shutdown()


@contextlib.asynccontextmanager
async def opened(  # noqa: PLR0913 - what ingest is told of the world
    directory: Path,
    *,
    store: Store,
    understanding: Understanding,
    clock: Clock,
    keys: FingerprintKeyring | None = None,
    rules: Rules = lambda *_: MaskingRules(),
    on_finding: Callable[[Reported], None] = lambda _: None,
    maximum_bytes: int = MAXIMUM_LOG_BYTES,
    gather_seconds: float = GATHER_SECONDS,
    disk: Files | None = None,
) -> AsyncIterator[Intake]:
    """Ingest into ``store``, with its log in ``directory``, until the block ends."""
    at_least = await asyncio.to_thread(store.applied)
    log = await asyncio.to_thread(
        lambda: WriteLog(
            directory / "log",
            clock=clock,
            maximum_bytes=maximum_bytes,
            at_least=at_least,
            disk=disk,
        )
    )
    for notice in log.notices:
        _log().warning("trace_log_repaired", notice=notice)
    intake = Intake(
        log,
        SetAsideFiles(directory / "set-aside"),
        keys or FingerprintKeyring(directory / "fingerprint-keys"),
        clock=clock,
        rules=rules,
        on_finding=on_finding,
    )
    intake.start(store, understanding, gather_seconds=gather_seconds)
    try:
        yield intake
    finally:
        await asyncio.to_thread(intake.close)


def _say_set_aside(one: SetAside) -> None:
    _log().error(
        "trace_batch_set_aside",
        id=one.id,
        organization_id=one.organization_id,
        code=one.code,
        reason=one.reason,
        spans=one.spans,
    )
