"""OTLP over gRPC goes through the same door as over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.support.furnished import first_tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for
from tests.support.ports import free_port
from tests.support.trace_kit import MemoryStore, export, plainly
from tests.support.trace_token_kit import TokenHand

from keylease.contracts.api_keys import ApiKeyKind
from keylease.errors import TraceQueueFull
from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.server.ingest_access import span_door
from keylease.platform.server.otlp_grpc import SERVICE, otlp_grpc
from keylease.platform.traces.ingest.intake import Intake, opened


@dataclasses.dataclass
class Door:
    call: Any
    begin: Any
    """The same call, whose message is still to be sent."""
    key: str
    hand: TokenHand
    """A gateway of the same organization."""
    store: MemoryStore
    intake: Intake

    async def send(self, body: bytes, **metadata: str) -> ExportTraceServiceResponse:
        sent = {"authorization": f"Bearer {self.key}", **metadata}
        pairs = tuple((name.replace("_", "-"), value) for name, value in sent.items())
        answer = await self.call(body, metadata=pairs, timeout=30)
        return ExportTraceServiceResponse.FromString(answer)


@pytest.fixture
async def door(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Door]:
    store = MemoryStore()
    address = f"127.0.0.1:{free_port()}"
    async with (
        services_for(database, clock, tmp_path / "platform") as services,
        opened(
            tmp_path / "traces",
            store=store,
            understanding=plainly,
            clock=clock,
            gather_seconds=0.01,
        ) as intake,
    ):
        tenant = await first_tenant(services)
        wanted = NewApiKey(name="x", permissions=("trace:ingest",), kind=ApiKeyKind.INGEST)
        key = (await services.identity.api_keys.create(tenant.owner, wanted)).text

        async def keeping() -> Any:  # noqa: ANN401 - what the door uses of it
            return SimpleNamespace(intake=intake)

        behind = span_door(
            services.authenticator,
            services.access,
            projects=services.traces.projects,
            keeping=keeping,
            database=services.database,
            clock=clock,
        )
        async with otlp_grpc(behind, address, clock=clock), grpc.aio.insecure_channel(address) as c:
            path = f"/{SERVICE}/Export"
            hand = await TokenHand(clock).join(services, tenant)
            yield Door(c.unary_unary(path), c.stream_unary(path), key, hand, store, intake)


async def test_spans_are_taken_and_refused_with_the_codes_of_grpc(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = export("good", "bad")
    request.resource_spans[0].scope_spans[0].spans[1].span_id = b""
    answer = await door.send(request.SerializeToString())
    assert answer.partial_success.rejected_spans == 1
    await door.intake.settled(door.intake.log.last_logged)
    assert door.store.names == ["good"]

    token = door.hand.token()
    leased = export("leased").SerializeToString()
    await door.send(leased, authorization=f"Bearer {token}")
    await door.intake.settled(door.intake.log.last_logged)
    assert door.store.names == ["leased"]  # a later version of the same span

    body = export("one").SerializeToString()
    for sent, metadata, code in (
        (body, {"authorization": "Bearer kll_x"}, "UNAUTHENTICATED"),
        (body, {"authorization": f"Bearer {token}x"}, "UNAUTHENTICATED"),
        (
            body,
            {"authorization": f"Bearer {token}", "x_keylease_project": "x"},
            "PERMISSION_DENIED",
        ),
        (body, {"authorization": "Bearer kl_ing_wrong"}, "UNAUTHENTICATED"),
        (body, {"x_keylease_project": "nowhere"}, "NOT_FOUND"),
        (b"\xff\xff", {}, "INVALID_ARGUMENT"),
        (b"\0" * 17_000_000, {}, "RESOURCE_EXHAUSTED"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await door.send(sent, **metadata)
        assert refused.value.code().name == code

    def full(_: object) -> None:
        raise TraceQueueFull("More spans arrive than can be written.", retry_after=7)

    monkeypatch.setattr(door.intake.log, "submit", full)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await door.send(body)
    assert refused.value.code().name == "RESOURCE_EXHAUSTED"
    details = dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    assert b"google.rpc.RetryInfo" in details
    assert details.endswith(b"\x12\x04\x0a\x02\x08\x07")

    def broken(_: object) -> None:
        raise KeyError("a defect that says something secret")

    monkeypatch.setattr(door.intake.log, "submit", broken)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await door.send(body)
    assert refused.value.code().name == "INTERNAL"
    assert "secret" not in str(refused.value.details())


async def test_nobody_sends_megabytes_who_has_not_shown_a_key(door: Door) -> None:
    for key, code in (("kll_x", "UNAUTHENTICATED"), ("kl_ing_wrong", "UNAUTHENTICATED")):
        call = door.begin(metadata=(("authorization", f"Bearer {key}"),), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call  # and not a byte of a message was sent
        assert refused.value.code().name == code
    call = door.begin(metadata=(("authorization", f"Bearer {door.key}"),), timeout=30)
    await call.write(export("late").SerializeToString())
    await call.done_writing()
    assert not ExportTraceServiceResponse.FromString(await call).HasField("partial_success")


async def test_what_is_small_only_while_it_is_compressed_is_refused(door: Door) -> None:
    bomb = export("x" * 20_000_000).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await door.call(
            bomb,
            metadata=(("authorization", f"Bearer {door.key}"),),
            compression=grpc.Compression.Gzip,
            timeout=60,
        )
    assert refused.value.code().name == "RESOURCE_EXHAUSTED"
    assert door.intake.log.last_logged == 0
