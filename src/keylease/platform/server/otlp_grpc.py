"""OTLP over gRPC, for senders that speak nothing else: the same door as ``POST /v1/traces``.

Needs the extra ``keylease[grpc]``. Messages are handed over as bytes, so that everything behind
the door is what HTTP uses: keys (metadata ``authorization``), projects (``x-keylease-project``),
limits, masking, the log. Status codes are those that OTLP/gRPC names; ``RESOURCE_EXHAUSTED``
carries a ``RetryInfo``, because senders try again only with one.

Limits: no TLS of its own. Beyond this machine a proxy that speaks TLS belongs in front of it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog

from keylease.errors import (
    ConfigurationError,
    KeyleaseError,
    PortInUse,
    TraceQueueFull,
)
from keylease.platform.server.guard import Evidence
from keylease.platform.server.ingest_access import PROJECT_HEADER, SpanDoor
from keylease.platform.server.rpc_status import rpc_status
from keylease.platform.traces.ingest.decoding import Encoding
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import uuid7

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_DETAILS: Final = "grpc-status-details-bin"
_STOP_SECONDS: Final = 10.0
_CODES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_EXHAUSTED: Final = 8
"""Number of ``RESOURCE_EXHAUSTED``."""


@contextlib.asynccontextmanager
async def otlp_grpc(door: SpanDoor, address: str, *, clock: Clock) -> AsyncIterator[int]:
    """Serve at ``address`` (host and port) until the block ends; gives the port.

    Raises ``ConfigurationError`` without the extra, ``PortInUse`` when the address is taken.
    """
    if importlib.util.find_spec("grpc") is None:
        raise ConfigurationError(
            "OTLP over gRPC needs a package that is not installed.",
            advice="pip install 'keylease[grpc,server]'",
        )
    grpc: Any = importlib.import_module("grpc")
    maximum = door.receiver.limits.body_bytes
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", maximum), ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=128,
    )
    # As a stream of one message, which is the same on the wire: it is read when it is asked for,
    # so that nobody sends megabytes who has not shown a key.
    export = grpc.stream_unary_rpc_method_handler(_Exporter(grpc, door, clock).export)
    handler = grpc.method_handlers_generic_handler(SERVICE, {"Export": export})
    server.add_generic_rpc_handlers((handler,))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortInUse(
            f"OTLP over gRPC cannot listen on {address}.", advice="Choose another --otlp-grpc."
        ) from error
    await server.start()
    try:
        yield int(port)
    finally:
        await server.stop(_STOP_SECONDS)


class _Exporter:
    """``TraceService.Export``."""

    def __init__(self, grpc: Any, door: SpanDoor, clock: Clock) -> None:  # noqa: ANN401 - an optional module
        self._grpc = grpc
        self._door = door
        self._clock = clock

    async def export(self, messages: AsyncIterator[bytes], context: Any) -> bytes:  # noqa: ANN401 - grpc's, without types
        """Answers when what was taken is durable."""
        request_id = uuid7(self._clock)
        metadata = dict(context.invocation_metadata() or ())
        try:
            return await self._taken(messages, metadata, request_id)
        except KeyleaseError as error:
            code, said = _CODES.get(error.http_status, "INTERNAL"), error
        except Exception as error:  # noqa: BLE001 - nothing of a defect reaches a sender
            structlog.stdlib.get_logger().error(
                "defect", error=type(error).__name__, at="otlp_grpc", request_id=request_id
            )
            code, said = "INTERNAL", KeyleaseError("Something went wrong inside the platform.")
        text = f"{said.message} {said.advice}".strip()
        text = f"{text} ({said.code}, request {request_id})"
        if isinstance(said, TraceQueueFull):
            details = rpc_status(_EXHAUSTED, text, retry_seconds=said.retry_after)
            context.set_trailing_metadata(((_DETAILS, details),))
        await context.abort(getattr(self._grpc.StatusCode, code), text)
        raise AssertionError  # abort has raised

    async def _taken(
        self, messages: AsyncIterator[bytes], metadata: dict[str, str | bytes], request_id: str
    ) -> bytes:
        evidence = Evidence(
            method="POST",
            authorization=_text(metadata.get("authorization", "")),
            request_id=request_id,
        )
        named = _text(metadata.get(PROJECT_HEADER, "")).strip()
        sender = await self._door.access.sender(evidence, named=named)
        receiver = self._door.receiver
        with (await receiver.opened()).room(sender.organization_id) as room:
            body = await anext(messages, b"")
            room.take(len(body))
            outcome = await receiver.receive(body, sender, room, encoding=Encoding.PROTOBUF)
        return outcome.answer(Encoding.PROTOBUF)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
