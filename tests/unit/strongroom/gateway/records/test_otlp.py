from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.eventually import eventually
from tests.support.manual_clock import ManualClock

from keylease.contracts import span_attributes as names
from keylease.contracts.call_records import CallRecord, Usage
from keylease.errors import GatewayFileInvalid
from keylease.primitives.http1.simple import Request, Response, serve
from keylease.primitives.segments import Batch, Cursor, SegmentLog, WhenFull, encode
from keylease.strongroom.configuration import SpoolSettings
from keylease.strongroom.gateway.coordinator.log import make_log
from keylease.strongroom.gateway.records.otlp import OtlpExporter
from keylease.strongroom.gateway.records.spool import CallSpool


def record(number: int, **members: object) -> CallRecord:
    values: dict[str, object] = {
        "id": f"request-{number}",
        "trace_id": f"{number:032x}",
        "span_id": f"{number + 1:016x}",
        "organization_id": "organization",
        "principal": "user:ada",
        "lease_id": "lease",
        "purpose": "eval",
        "environment": "ci",
        "provider": "openai",
        "operation": "chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "requested_model": "gpt-4o",
        "started_at": 1_780_000_000_000_000,
        "duration": 1500,
        "status": 200,
        "usage": Usage(input_tokens=10, output_tokens=5, cache_read_tokens=3),
        "cost": 42,
        "policy_version": 7,
    }
    return msgspec.convert(values | members, CallRecord)


class Collector:
    """Parses what it gets; answers as the test says."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[list[Span]], Response] = lambda _: Response(200)
        self.url = ""

    async def handle(self, request: Request) -> Response:
        assert (request.method, request.path) == ("POST", "/base/v1/traces")
        assert request.headers["content-type"] == "application/x-protobuf"
        export = ExportTraceServiceRequest.FromString(request.body)
        self.headers.append(request.headers)
        spans = [
            span
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        answer = self.answer(spans)
        if answer.status == 200:
            self.requests.append(export)
            self.spans += spans
        return answer

    @property
    def trace_ids(self) -> list[int]:
        return [int.from_bytes(span.trace_id) for span in self.spans]


class Rig:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.collector = Collector()
        self.headers_file = ""
        self.pauses: list[float] = []

    def spool(self) -> CallSpool:
        return CallSpool(
            self.directory / "calls",
            maximum_bytes=1024 * 1024,
            when_full=WhenFull.REFUSE,
            on_state=lambda _: None,
        )

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self, spool: CallSpool) -> AsyncIterator[OtlpExporter]:
        exporter = OtlpExporter(
            spool,
            settings=SpoolSettings(
                otlp_endpoint=f"{self.collector.url}/base/",
                otlp_allow_private_address=True,
                otlp_headers_file=self.headers_file,
            ),
            directory=self.directory,
            group="local",
            organization_id="organization",
            ca_file="",
            clock=ManualClock(),
            log=make_log(),
            sleep=self.pause,
        )
        task = asyncio.create_task(exporter.run())
        try:
            yield exporter
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await exporter.close()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    server = await serve(rig.collector.handle)
    rig.collector.url = f"http://127.0.0.1:{server.addresses[0][1]}"
    yield rig
    await server.close(drain_seconds=0.1)


def put(spool: CallSpool, *records: CallRecord) -> None:
    spool.append(b"".join(encode(msgspec.msgpack.encode(one)) for one in records))


def attributes(span: Span) -> dict[str, object]:
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
        for item in span.attributes
    }


async def test_records_become_spans_with_genai_names(rig: Rig) -> None:
    spool = rig.spool()
    put(spool, record(1, error="limit_reached", status=429), record(2, estimated=True))
    async with rig.running(spool):
        await eventually(lambda: len(rig.collector.spans) == 2)
    first, second = rig.collector.spans
    assert first.trace_id.hex() == f"{1:032x}"
    assert first.name == "chat gpt-4o"
    assert first.kind == Span.SPAN_KIND_CLIENT
    assert first.status.code == 2
    assert first.start_time_unix_nano == 1_780_000_000_000_000_000
    assert first.end_time_unix_nano - first.start_time_unix_nano == 1_500_000
    values = attributes(second)
    assert values[names.OPERATION_NAME] == "chat"
    assert values["gen_ai.provider.name"] == "openai"
    assert values["gen_ai.request.model"] == "gpt-4o"
    assert values["gen_ai.usage.input_tokens"] == 10
    assert values["gen_ai.usage.cache_read.input_tokens"] == 3
    assert values["keylease.cost_micro_usd"] == 42
    assert values["keylease.estimated"] is True
    assert values["keylease.policy_version"] == 7
    assert "error.type" not in values
    resource = rig.collector.requests[0].resource_spans[0].resource
    assert "keylease-gateway" in [item.value.string_value for item in resource.attributes]
    await spool.close()


async def test_the_position_survives_a_restart(rig: Rig) -> None:
    spool = rig.spool()
    put(spool, record(1), record(2))
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 2)
        await eventually((rig.directory / "calls-exported").exists)
    await spool.close()
    again = rig.spool()
    put(again, record(3))
    async with rig.running(again):
        await eventually(lambda: len(rig.collector.spans) == 3)
    assert rig.collector.trace_ids == [1, 2, 3]
    await again.close()


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_what_may_work_later_is_tried_again(rig: Rig, status: int) -> None:
    tries: list[int] = []

    def answer(spans: list[Span]) -> Response:
        tries.append(len(spans))
        return Response(200) if len(tries) > 3 else Response(status, headers=[("retry-after", "7")])

    rig.collector.answer = answer
    spool = rig.spool()
    put(spool, record(1))
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 1)
    assert len(tries) == 4
    assert exporter.state.set_aside == 0
    assert sum(pause >= 7 for pause in rig.pauses) == 3, "one pause after each refusal"
    await spool.close()


async def test_a_read_without_records_sends_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = rig.spool()
    whole = spool.read
    reads = 0

    async def read(cursor: Cursor, *, maximum_records: int = 500) -> Batch:
        nonlocal reads
        reads += 1
        return (
            Batch((), cursor)
            if reads == 1
            else await whole(cursor, maximum_records=maximum_records)
        )

    monkeypatch.setattr(spool, "read", read)
    put(spool, record(1))
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 1)
    assert [len(request.resource_spans) for request in rig.collector.requests] == [1]
    await spool.close()


async def test_an_unreachable_collector_is_waited_for(rig: Rig) -> None:
    url, rig.collector.url = rig.collector.url, "http://127.0.0.1:1"
    spool = rig.spool()
    put(spool, record(1))
    async with rig.running(spool) as exporter:
        await eventually(lambda: len(rig.pauses) > 4)
        assert exporter.state.error == "ConnectError"
    assert max(rig.pauses) > 3 * min(rig.pauses[1:])
    rig.collector.url = url
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 1)
    await spool.close()


async def test_a_poisonous_record_is_set_aside_alone(rig: Rig) -> None:
    def answer(spans: list[Span]) -> Response:
        poisonous = any(int.from_bytes(span.trace_id) == 13 for span in spans)
        return Response(400 if poisonous else 200)

    rig.collector.answer = answer
    spool = rig.spool()
    put(spool, *(record(number) for number in range(10, 20)))
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 9)
        await eventually(lambda: exporter.state.set_aside == 1)
    assert rig.collector.trace_ids == [10, 11, 12, 14, 15, 16, 17, 18, 19]
    (entry,) = SegmentLog(rig.directory / "calls-set-aside", maximum_bytes=2**20).records()
    aside = msgspec.msgpack.decode(entry)
    assert aside["reason"] == "status 400"
    assert msgspec.msgpack.decode(aside["record"], type=CallRecord).id == "request-13"
    await spool.close()


async def test_a_partial_success_is_counted_and_not_sent_again(rig: Rig) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 1
    answer.partial_success.error_message = "too old"
    rig.collector.answer = lambda _: Response(200, body=answer.SerializeToString())
    spool = rig.spool()
    put(spool, record(1), record(2))
    async with rig.running(spool) as exporter:
        await eventually(lambda: exporter.state.exported == 2)
        assert exporter.state.rejected == 1
    assert rig.collector.trace_ids == [1, 2]
    await spool.close()


async def test_headers_come_from_a_file(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# collector\nX-Token: abc\n\n")
    rig.headers_file = str(file)
    spool = rig.spool()
    put(spool, record(1))
    async with rig.running(spool):
        await eventually(lambda: rig.collector.headers)
    assert rig.collector.headers[0]["x-token"] == "abc"
    file.write_text("nonsense")
    with pytest.raises(GatewayFileInvalid, match="headers:1"):
        async with rig.running(spool):
            pass
    await spool.close()


async def test_malformed_identifiers_and_foreign_records_stop_nothing(rig: Rig) -> None:
    spool = rig.spool()
    spool.append(encode(b"\xc1 no record"))
    put(spool, record(1, trace_id="not hex", parent_span_id="zz"), record(2))
    async with rig.running(spool):
        await eventually(lambda: len(rig.collector.spans) == 2)
    assert len(rig.collector.spans[0].trace_id) == 16
    await spool.close()


async def test_delivered_segments_are_removed(rig: Rig) -> None:
    spool = rig.spool()
    text = "x" * 20_000
    for number in range(30):
        put(spool, record(number, input=text))
        await asyncio.sleep(0)
    await spool.close()
    again = rig.spool()
    async with rig.running(again) as exporter:
        await eventually(lambda: exporter.state.exported == 30)
        await eventually(lambda: len(list((rig.directory / "calls").iterdir())) == 1)
    assert exporter.state.behind_bytes == 0
    await again.close()
