"""One OTLP export, whichever way it came: decoded, sorted by project, masked, logged, answered.

Answers say what OTLP says (opentelemetry.io/docs/specs/otlp): success only when everything that was
taken is durable; spans that were refused as partial success, with reasons; an error when nothing
was taken. A sender that gets an error and sends all of it again does no harm: a span that is there
already changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from keylease.contracts import span_attributes as names
from keylease.errors import PermissionDenied, ResourceNotFound
from keylease.platform.traces.ingest.bodies import decompressed
from keylease.platform.traces.ingest.decoded import Decoded, Group
from keylease.platform.traces.ingest.decoding import Encoding, decode
from keylease.platform.traces.ingest.intake import Intake, Room
from keylease.platform.traces.ingest.limits import Limits

_UNKNOWN: Final = "a resource that names a project which is not there"
_ELSEWHERE: Final = "a resource that names another project than the key's"
_OURS: Final = (names.SENDER, names.SENDER_LEASE_ID)
"""Attributes that only the platform sets: taken from whatever a client sends."""
_OF_CALLS: Final = (names.PRINCIPAL, names.LEASE_ID)
"""What a gateway says of a call. The holder of a lease does not say it of anybody; whoever has a
key may pass on what a gateway has exported."""
_UNLOGGED: Final = "a span that is too large to be kept"


class Sender(Protocol):
    """Who sends spans, after authentication."""

    @property
    def organization_id(self) -> str:
        """Whose spans they are."""
        ...

    @property
    def attributes(self) -> Mapping[str, str]:
        """What the platform says of the sender in each span."""
        ...

    async def project(self, called: str) -> str:
        """The project of spans whose resource calls it so; empty when it does not.

        Raises ``ResourceNotFound``, or ``PermissionDenied`` when the sender may not send there.
        """
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an export."""

    taken: int
    rejected: int = 0
    message: str = ""
    """Reasons for what was refused, and what was changed in what was taken; holds no sent text."""
    xact_id: int = 0

    def answer(self, encoding: Encoding) -> bytes:
        """``ExportTraceServiceResponse``."""
        if encoding is Encoding.JSON:
            if not self.message:
                return b"{}"
            partial: dict[str, object] = {"errorMessage": self.message}
            if self.rejected:
                partial["rejectedSpans"] = str(self.rejected)  # 64 bits are text in OTLP's JSON
            return msgspec.json.encode({"partialSuccess": partial})
        response = ExportTraceServiceResponse()
        if self.message:
            response.partial_success.rejected_spans = self.rejected
            response.partial_success.error_message = self.message
        return response.SerializeToString()


class Receiver:
    """Takes exports. ``intake`` opens the log, and the store behind it, when first needed."""

    def __init__(
        self, intake: Callable[[], Awaitable[Intake]], limits: Limits | None = None
    ) -> None:
        self._intake = intake
        self.limits = limits or Limits()

    async def opened(self) -> Intake:
        """Where spans go. Raises ``TraceStoreUnavailable`` when it cannot be opened."""
        return await self._intake()

    async def receive(
        self,
        body: bytes,
        sender: Sender,
        room: Room,
        *,
        encoding: Encoding,
        content_encoding: str = "",
    ) -> Outcome:
        """Take one export; returns when what it took is durable.

        Raises ``SpansMalformed``, ``SpansTooLarge``, ``TraceQueueFull``, ``StorageFull``, and for
        an export of one project what ``Sender.project`` raises.
        """
        intake, limits = await self.opened(), self.limits

        # 1. Unpacked and counted before anything is made of it: a small body can be a large one.
        content = body
        if content_encoding.strip().lower() not in {"", "identity"}:
            content = await intake.work(
                lambda _: decompressed(body, content_encoding, maximum=limits.decoded_bytes),
                size=len(body),
            )
            room.take(max(0, len(content) - len(body)))
        # 2. Read in the thread for bodies of its true size.
        size = len(content)
        decoded = await intake.work(
            lambda _: marked(decode(content, encoding, limits), sender.attributes), size=size
        )
        taken = last = 0
        for group, project_id in await self._projects(decoded, sender):
            result = await intake.take_spans(
                sender.organization_id, project_id, group.spans, size=size
            )
            taken += len(group.spans) - result.rejected
            last = max(last, result.xact_id)
            if result.rejected:
                decoded.rejected[_UNLOGGED] += result.rejected
        return Outcome(
            taken=taken,
            rejected=decoded.rejected.total(),
            message=_message(decoded, limits.reasons),
            xact_id=last,
        )

    async def _projects(self, decoded: Decoded, sender: Sender) -> list[tuple[Group, str]]:
        found: list[tuple[Group, str]] = []
        for group in decoded.groups:
            try:
                found.append((group, await sender.project(group.project)))
            except (ResourceNotFound, PermissionDenied) as error:
                if len(decoded.groups) == 1:
                    raise
                reason = _UNKNOWN if isinstance(error, ResourceNotFound) else _ELSEWHERE
                decoded.rejected[reason] += len(group.spans)
        return found


def marked(decoded: Decoded, attributes: Mapping[str, str]) -> Decoded:
    """Spans say who sent them in the platform's words, and in no client's."""
    taken = (*_OURS, *_OF_CALLS) if attributes else _OURS
    for group in decoded.groups:
        for span in group.spans:
            for said in (span.attributes, span.origin.resource):
                for name in taken:
                    said.pop(name, None)
            span.attributes.update(attributes)
    return decoded


def _message(decoded: Decoded, most: int) -> str:
    parts = []
    if decoded.rejected:
        parts.append(f"Refused: {_counted(decoded.rejected, most)}.")
    if decoded.warnings:
        parts.append(f"Taken with changes: {_counted(decoded.warnings, most)}.")
    return " ".join(parts)


def _counted(reasons: Counter[str], most: int) -> str:
    named = [f"{reason} ({count})" for reason, count in reasons.most_common(most)]
    if len(reasons) > most:
        named.append(f"and {len(reasons) - most} other reasons")
    return "; ".join(named)
