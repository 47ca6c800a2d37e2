"""Reads token usage from a provider's answer while it passes.

Protects: budgets against answers that are long, malformed or made to confuse: only members of the
    answer's own objects count, never text that a model wrote; memory is bounded whatever comes.
Does not protect: against a provider that reports wrong numbers.
Limits: a body or event over ``HELD`` bytes is not decoded as a whole; its members are picked out
    while it passes (``json_members``).
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from keylease.contracts.call_records import Usage
from keylease.contracts.catalogue import WireFormat
from keylease.strongroom.gateway.metering.json_members import JsonMembers
from keylease.strongroom.gateway.metering.reservations import (
    Reservation,
    estimate_input_tokens,
    reserve_for,
)
from keylease.strongroom.gateway.metering.sse import DataSink, SseEvent, SseSplitter
from keylease.strongroom.gateway.metering.stream_filter import StreamFilter
from keylease.strongroom.gateway.metering.usage import merged, usage_of
from keylease.strongroom.gateway.metering.wire import Answer, Event, LooseAnswer, WireUsage

__all__ = [
    "MeteredAnswer",
    "Reservation",
    "StreamFilter",
    "UsageMeter",
    "estimate_input_tokens",
    "meter_for",
    "reserve_for",
]

_ANTHROPIC: Final = WireFormat.ANTHROPIC
HELD: Final = 256 * 1024
"""Bytes of one answer, or of one event of a stream, that are held to be decoded as a whole."""
_LONGEST_NAME: Final = 256


class MeteredAnswer:
    """What an answer said about itself."""

    __slots__ = ("complete", "object_id", "partial", "response_model", "usage")

    def __init__(
        self,
        *,
        usage: Usage | None = None,
        partial: Usage | None = None,
        response_model: str = "",
        object_id: str = "",
        complete: bool = False,
    ) -> None:
        self.usage: Final = usage
        """``None`` when the provider's numbers did not arrive or could not be read."""
        self.partial: Final = partial
        """What had arrived of the numbers when a stream broke off; the output is not final."""
        self.response_model: Final = response_model
        self.object_id: Final = object_id
        """The identifier of what was created: ``chatcmpl-...``, ``resp_...``, ``file-...``."""
        self.complete: Final = complete
        """The answer came to its own end; false for a stream that was cut off."""


class UsageMeter(Protocol):
    """Sees every byte of one answer's body, in order. Never raises, whatever it is fed."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        ...

    def finish(self) -> MeteredAnswer:
        """Say what was found; called once, at the end or when the answer broke off."""
        ...


def meter_for(wire_format: WireFormat, operation: str, *, streamed: bool) -> UsageMeter:
    """Make the meter for one answer. ``operation`` is a name from the provider's list."""
    if streamed:
        return _StreamMeter(wire_format)
    return _BodyMeter(wire_format, counts=operation not in _WITHOUT_USAGE)


_WITHOUT_USAGE: Final = frozenset({"count_tokens", "moderations"})
"""Their answers speak of tokens that nobody is charged for."""


# --- decoding ------------------------------------------------------------------------------

_decode_answer: Final = msgspec.json.Decoder(Answer).decode
_decode_loose: Final = msgspec.json.Decoder(LooseAnswer).decode
_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_usage: Final = msgspec.json.Decoder(WireUsage).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_BODY_MEMBERS: Final = (("id",), ("model",), ("usage",))
_EVENT_MEMBERS: Final = (
    ("type",),
    *_BODY_MEMBERS,
    *((parent, *path) for parent in ("response", "message") for path in _BODY_MEMBERS),
)


def _usage_or_none(raw: bytes) -> WireUsage | None:
    try:
        return _decode_usage(raw)
    except _UNDECODABLE:
        return None


def _text_or_empty(raw: bytes) -> str:
    try:
        return _decode_text(raw)
    except _UNDECODABLE:
        return ""


def _picked(found: dict[tuple[str, ...], bytes], *prefix: str) -> Answer:
    return Answer(
        id=_text_or_empty(found.get((*prefix, "id"), b"")),
        model=_text_or_empty(found.get((*prefix, "model"), b"")),
        usage=_usage_or_none(found.get((*prefix, "usage"), b"")),
    )


# --- one JSON body -------------------------------------------------------------------------


class _BodyMeter(UsageMeter):
    """An answer that is one JSON object."""

    def __init__(self, wire_format: WireFormat, *, counts: bool) -> None:
        self._wire_format = wire_format
        self._counts = counts
        self._held: list[bytes] = []
        self._size = 0
        self._members: JsonMembers | None = None

    def feed(self, chunk: bytes) -> None:
        if self._members is not None:
            self._members.feed(chunk)
            return
        self._held.append(chunk)
        self._size += len(chunk)
        if self._size > HELD:
            self._members = JsonMembers(_BODY_MEMBERS)
            for held in self._held:
                self._members.feed(held)
            self._held = []

    def finish(self) -> MeteredAnswer:
        if self._members is not None:
            answer = _picked(self._members.found)
        else:
            answer = self._decode(self._held[0] if len(self._held) == 1 else b"".join(self._held))
        usage = usage_of(answer.usage, self._wire_format) if self._counts else None
        return MeteredAnswer(
            usage=usage,
            response_model=answer.model[:_LONGEST_NAME],
            object_id=answer.id[:_LONGEST_NAME],
            complete=True,
        )

    @staticmethod
    def _decode(body: bytes) -> Answer:
        try:
            return _decode_answer(body)
        except _UNDECODABLE:
            pass
        try:
            loose = _decode_loose(body)
        except _UNDECODABLE:
            return Answer()
        return Answer(
            id=_text_or_empty(bytes(loose.id)),
            model=_text_or_empty(bytes(loose.model)),
            usage=_usage_or_none(bytes(loose.usage)),
        )


# --- a stream of events --------------------------------------------------------------------

_ENDS: Final = frozenset(
    {
        "message_stop",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "image_generation.completed",
        "image_edit.completed",
        "speech.audio.done",
        "transcript.text.done",
    }
)


class _StreamMeter(UsageMeter):
    """A stream of server-sent events of either provider."""

    def __init__(self, wire_format: WireFormat) -> None:
        self._wire_format = wire_format
        self._splitter = SseSplitter(limit=HELD, new_sink=_new_members)
        self._named = False
        """The stream has said its id and model; later events need not be read for them."""
        self._id = ""
        self._model = ""
        self._usage: WireUsage | None = None
        self._final = False
        """The usage is that of the whole answer."""
        self._complete = False

    def feed(self, chunk: bytes) -> None:
        # Nearly every chunk is whole events without numbers: those are passed over unread.
        if (
            self._named
            and chunk[-2:] == b"\n\n"
            and self._splitter.idle
            and not _interesting(chunk)
        ):
            return
        for event in self._splitter.feed(chunk):
            if event.sink is not None:
                self._take_picked(event)
            elif not self._named or _interesting(event.data):
                self._take(event.data)

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._complete = True
            return
        try:
            event = _decode_event(data)
        except _UNDECODABLE:
            # A stream of an unexpected form is read as a long one is: member by member.
            members = JsonMembers(_EVENT_MEMBERS)
            members.feed(data)
            event = _event_of(members)
        self._note(event)

    def _take_picked(self, event: SseEvent) -> None:
        if isinstance(event.sink, JsonMembers):
            self._note(_event_of(event.sink))

    def _note(self, event: Event) -> None:
        for part in (event, event.response, event.message):
            if part is None:
                continue
            if part.id and not self._id:
                self._id = part.id[:_LONGEST_NAME]
            if part.model and not self._model:
                self._model = part.model[:_LONGEST_NAME]
                self._named = True
            if part.usage is not None:
                if self._wire_format is _ANTHROPIC:
                    self._usage = merged(self._usage, part.usage)
                    self._final = self._final or event.type == "message_delta"
                else:
                    # Some providers repeat a growing usage in every chunk: the last one holds.
                    self._usage = part.usage
                    self._final = True
        if event.type in _ENDS:
            self._complete = True

    def finish(self) -> MeteredAnswer:
        usage = usage_of(self._usage, self._wire_format)
        return MeteredAnswer(
            usage=usage if self._final else None,
            partial=None if self._final else usage,
            response_model=self._model,
            object_id=self._id,
            complete=self._complete,
        )


def _interesting(data: bytes) -> bool:
    """Whether an event may hold numbers or be the last one; cheap, and never wrong with a no.

    ``find`` and not ``in``, which for bytes first raises an error and forgets it again.
    """
    find = data.find
    if find(b'"usage"') >= 0:
        nothing = data.count(b'"usage":null') + data.count(b'"usage": null')
        if data.count(b'"usage"') != nothing:
            return True
    return (
        find(b"[DONE]") >= 0
        or find(b'message_stop"') >= 0
        or find(b'.completed"') >= 0
        or (find(b'.done"') >= 0 and (find(b"speech.") >= 0 or find(b"transcript.") >= 0))
        or find(b'"response.incomplete"') >= 0
        or find(b'"response.failed"') >= 0
    )


def _new_members() -> DataSink:
    return JsonMembers(_EVENT_MEMBERS)


def _event_of(members: JsonMembers) -> Event:
    top = _picked(members.found)
    return Event(
        type=_text_or_empty(members.found.get(("type",), b"")),
        id=top.id,
        model=top.model,
        usage=top.usage,
        response=_picked(members.found, "response"),
        message=_picked(members.found, "message"),
    )
