"""One simulated provider: from a parsed HTTP request to the answer that goes on the wire.

The order is the one of a real provider: key, rate limit, model, answer; failures are applied where
the real thing would fail.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.http1.simple import AbortResponse, Request, Response
from keylease.simulator.answers import identifier
from keylease.simulator.exchange import Answer, Call, ProviderName, Refusal
from keylease.simulator.failures import Failure, FailureKind, Failures
from keylease.simulator.keys import KeyRing
from keylease.simulator.limits import RateLimit
from keylease.simulator.multipart import read_parts
from keylease.simulator.recording import (
    KEPT_BODY_BYTES,
    Outcome,
    RecordedRequest,
    Recording,
    without_authentication,
)
from keylease.simulator.usage import UsageLog

_RETRY_STATUSES: Final = (429, 503, 529)
_GARBAGE: Final = b"\x00\xff<html>this is neither JSON nor a stream of events\r\n\r\n{]"
_ECHO_HEADER: Final = "x-simulator-authorization"


class Surface(Protocol):
    """What a wire format brings: its paths, its errors, its header fields."""

    def answer(self, call: Call, model: str) -> Answer:
        """Answer a call; raises ``Refusal``."""
        ...

    def presented_key(self, headers: dict[str, str]) -> str:
        """The key as the caller sent it, or an empty string."""
        ...

    def refused_key(self, presented: str) -> Refusal:
        """What a caller with no key or a wrong one gets."""
        ...

    def render(self, refusal: Refusal, request_id: str) -> Answer:
        """An error in the provider's shape."""
        ...

    def common_headers(self, request_id: str, milliseconds: int) -> tuple[tuple[str, str], ...]:
        """Fields of every answer."""
        ...

    def limit_headers(
        self, limit: int, remaining: int, reset: float
    ) -> tuple[tuple[str, str], ...]:
        """Fields that tell the rate limit."""
        ...


class Pace(msgspec.Struct):
    """How fast answers are; may be changed while the simulator runs. Seconds."""

    latency: float = 0.0
    """Before the answer begins."""
    chunk_delay: float = 0.0
    """Before each piece of a stream but the first."""


class World(msgspec.Struct, kw_only=True):
    """What both simulated providers share."""

    clock: Clock
    keys: KeyRing
    usage: UsageLog
    failures: Failures
    recording: Recording
    limit: RateLimit
    pace: Pace
    elsewhere: str = ""
    """Where redirects lead: the other provider's listener."""


class SimulatedProvider:
    """Answers the requests that reach one listener."""

    def __init__(self, name: ProviderName, surface: Surface, world: World) -> None:
        self._name = name
        self._surface = surface
        self._world = world

    async def handle(self, request: Request) -> Response:
        """Answer one request. Raises ``AbortResponse`` to break the connection."""
        world = self._world
        begun = world.clock.monotonic()
        second = world.clock.now() // MICROSECONDS
        presented = self._surface.presented_key(request.headers)
        key_id = world.keys.identify(presented.encode("latin-1"), self._name, second=second)
        record = RecordedRequest(
            number=world.recording.total + 1,
            provider=self._name,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=without_authentication(request.headers),
            body=request.body[:KEPT_BODY_BYTES],
            body_length=len(request.body),
            key_id=key_id or "",
        )
        world.recording.add(record)
        request_id = identifier("req_", record.number)
        call = Call(
            provider=self._name,
            method=request.method,
            path=request.path,
            query=_query(request.query),
            headers=request.headers,
            body=request.body,
            key_id=key_id or "",
            number=record.number,
            second=second,
        )
        model = _model_of(call)
        failure = None
        extra: tuple[tuple[str, str], ...] = ()
        try:
            if key_id is None:
                raise self._surface.refused_key(presented)
            extra = self._count_against_limit(key_id)
            failure = world.failures.plan(model=model, path=call.path, key_id=key_id)
            await self._before_answer(failure, record)
            answer = self._surface.answer(call, model)
        except Refusal as refusal:
            answer = self._surface.render(refusal, request_id)
        answer = self._spoil(answer, failure, presented)
        milliseconds = int((world.clock.monotonic() - begun) * 1000)
        record.status = answer.status
        return Response(
            status=answer.status,
            headers=(
                ("content-type", answer.content_type),
                *self._surface.common_headers(request_id, milliseconds),
                *extra,
                *answer.headers,
            ),
            body=self._body(answer, failure, record, second),
        )

    def _count_against_limit(self, key_id: str) -> tuple[tuple[str, str], ...]:
        limit = self._world.limit
        if limit.per_minute is None:
            return ()
        taken = limit.take(key_id, now=self._world.clock.monotonic())
        fields = self._surface.limit_headers(limit.per_minute, taken.remaining, taken.reset)
        if not taken.allowed:
            raise Refusal(
                429,
                f"Rate limit reached: limit {limit.per_minute} requests per minute. "
                f"Please try again in {taken.reset:.3f}s.",
                headers=(*fields, ("retry-after", str(max(1, math.ceil(taken.reset))))),
            )
        return fields

    async def _before_answer(self, failure: Failure | None, record: RecordedRequest) -> None:
        if self._world.pace.latency:
            await asyncio.sleep(self._world.pace.latency)
        if failure is None:
            return
        if failure.kind is FailureKind.SLOW:
            try:
                await asyncio.sleep(failure.seconds)
            except asyncio.CancelledError:
                record.outcome = Outcome.CLIENT_GONE
                raise
        elif failure.kind is FailureKind.RESET:
            record.outcome = Outcome.BROKEN
            raise AbortResponse
        elif failure.kind is FailureKind.STATUS:
            headers: tuple[tuple[str, str], ...] = ()
            if failure.status in _RETRY_STATUSES:
                headers = (("retry-after", str(failure.retry_after)),)
            raise Refusal(failure.status, failure.message, headers=headers)

    def _spoil(self, answer: Answer, failure: Failure | None, presented: str) -> Answer:
        """Apply the failures that change what is answered."""
        replace = msgspec.structs.replace
        key = presented.encode("latin-1")
        match failure.kind if failure is not None else None:
            case FailureKind.REDIRECT if failure is not None:
                location = failure.location or self._world.elsewhere
                answer = Answer(status=307, headers=(("location", location),))
            case FailureKind.GARBAGE:
                answer = replace(answer, body=_GARBAGE, stream=None)
            case FailureKind.ENCODED:
                packed = gzip.compress(answer.body or b"".join(answer.stream or ()), mtime=0)
                fields = (*answer.headers, ("content-encoding", "gzip"))
                answer = replace(answer, body=packed, stream=None, headers=fields)
            case FailureKind.ECHO_KEY:
                fields = (*answer.headers, (_ECHO_HEADER, f"Bearer {presented}"))
                answer = self._with_echo(answer, [key], fields)
            case FailureKind.ECHO_KEY_SPLIT:
                middle = len(key) // 2
                answer = self._with_echo(answer, [key[:middle], key[middle:]], answer.headers)
        return answer

    @staticmethod
    def _with_echo(
        answer: Answer, key_pieces: list[bytes], fields: tuple[tuple[str, str], ...]
    ) -> Answer:
        """Put the key where answer text stands; in a stream its pieces are chunks of their own."""
        if answer.stream is None:
            key = b"".join(key_pieces)
            changed = answer.body.replace(b"Simulated answer", b"Your key is " + key, 1)
            if len(key_pieces) == 1:
                return msgspec.structs.replace(answer, body=changed, headers=fields)
            cut = changed.find(key) + len(key_pieces[0])
            halves = iter([changed[:cut], changed[cut:]])
            return msgspec.structs.replace(answer, body=b"", stream=halves, headers=fields)

        def echoing(pieces: Iterator[bytes]) -> Iterator[bytes]:
            for piece in pieces:
                before, found, after = piece.partition(b"Simulated")
                if not found:
                    yield piece
                    continue
                yield before + key_pieces[0]
                yield from key_pieces[1:]
                yield after

        return msgspec.structs.replace(answer, stream=echoing(answer.stream), headers=fields)

    def _body(
        self, answer: Answer, failure: Failure | None, record: RecordedRequest, second: int
    ) -> bytes | AsyncIterator[bytes]:
        breaks = failure is not None and failure.kind is FailureKind.RESET_MIDSTREAM
        stream = answer.stream
        if stream is None and not breaks:
            self._bill(answer, record, second)
            record.outcome = Outcome.ANSWERED
            return answer.body
        if stream is None:
            middle = len(answer.body) // 2
            stream = iter([answer.body[:middle], answer.body[middle:]])
        return self._send(stream, answer, failure, record, second)

    async def _send(
        self,
        stream: Iterator[bytes],
        answer: Answer,
        failure: Failure | None,
        record: RecordedRequest,
        second: int,
    ) -> AsyncIterator[bytes]:
        """Give the pieces at their pace; whatever happens, bill what was sent."""
        delay = self._world.pace.chunk_delay
        if failure is not None and failure.kind is FailureKind.SLOW_STREAM:
            delay = failure.seconds
        last = None
        if failure is not None and failure.kind is FailureKind.RESET_MIDSTREAM:
            last = failure.after_pieces if answer.stream is not None else 1
        outcome = Outcome.CLIENT_GONE
        try:
            for index in itertools.count():
                if index == last:
                    outcome = Outcome.BROKEN
                    raise AbortResponse
                if delay and index:
                    await asyncio.sleep(delay)
                piece = next(stream, None)  # drawn last: what is drawn is billed
                if piece is None:
                    break
                yield piece
            outcome = Outcome.ANSWERED
        finally:
            record.outcome = outcome
            self._bill(answer, record, second)

    def _bill(self, answer: Answer, record: RecordedRequest, second: int) -> None:
        if answer.model and answer.tokens is not None:
            self._world.usage.add(
                second=second,
                key_id=record.key_id,
                model=answer.model,
                tokens=answer.tokens,
                requests=answer.requests,
            )


def _query(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def _model_of(call: Call) -> str:
    """The model a call names, for failures by model; empty when it names none."""
    kind = call.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        try:
            part = read_parts(kind, call.body).get("model")
        except Refusal:
            return ""  # the surface refuses it again, with its own words
        return part.data.decode("utf-8", "replace") if part else ""
    if not call.body:
        return ""
    try:
        value = msgspec.json.decode(call.body)
    except msgspec.DecodeError:
        return ""  # as above
    model = value.get("model") if isinstance(value, dict) else None
    return model if isinstance(model, str) else ""
