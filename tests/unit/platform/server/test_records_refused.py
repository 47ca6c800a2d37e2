"""Call records that cannot be taken now: a documented answer, and the gateway keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import msgspec
import pytest
from starlette.types import Message
from tests.support.furnished import Tenant, call_record, first_tenant
from tests.support.link_kit import GatewayHand, headers_of
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, server_of, services_for

from keylease.contracts import platform_link as wire
from keylease.contracts.call_records import CallRecord
from keylease.errors import (
    FingerprintKeyInvalid,
    KeyleaseError,
    StorageFull,
    TraceQueueFull,
    TraceStoreUnavailable,
)
from keylease.platform.db.database import Database
from keylease.platform.server.app import create_app
from keylease.platform.server.services import Services


class Spans:
    """A trace store that is as a test wants it."""

    def __init__(self) -> None:
        self.trouble: KeyleaseError | None = None

    async def take(
        self, organization_id: str, gateway_id: str, records: Sequence[CallRecord]
    ) -> None:
        del organization_id, gateway_id, records
        if self.trouble is not None:
            raise self.trouble


class Sender:
    """An enrolled gateway with one record to tell."""

    def __init__(self, services: Services, owner: Tenant, hand: GatewayHand) -> None:
        self.services = services
        self.hand = hand
        self.push = wire.CallRecordPush(
            spool_id="spool-1",
            start=wire.SpoolPosition(),
            end=wire.SpoolPosition(segment=1, offset=100),
            records=(msgspec.msgpack.encode(call_record(services.clock, owner, "credential")),),
        )

    async def send(self) -> httpx.Response:
        signed = self.hand.msgpack(wire.CALL_RECORDS, self.push)
        async with client_of(server_of(self.services)) as api:
            return await api.post(signed.target, content=signed.body, headers=headers_of(signed))


@pytest.fixture
async def sender(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Sender]:
    async with services_for(database, clock, tmp_path) as services:
        await services.identity.first_start.sign_in_link()
        owner = await first_tenant(services)
        hand = GatewayHand(clock)
        minted = await services.link.gateways.create_code(owner.owner, group="local")
        enrolment = hand.json(wire.ENROLMENTS, hand.wish(minted.text))
        hand.gateway_id = (await services.link.service.enroll(enrolment)).gateway_id
        yield Sender(services, owner, hand)


async def test_each_failure_is_documented_and_nothing_is_lost(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = Spans()
    monkeypatch.setattr(sender.services.link.records, "_spans", spans)
    documented = create_app(sender.services).openapi()["paths"][wire.CALL_RECORDS]["post"]
    for trouble, status in (
        (TraceQueueFull("More than can be written.", retry_after=2), 429),
        (TraceStoreUnavailable("It does not answer."), 503),
        (StorageFull("No room."), 503),
        (FingerprintKeyInvalid("Others may read it."), 503),
    ):
        spans.trouble = trouble
        answer = await sender.send()
        assert answer.status_code == status
        assert answer.json()["code"] == trouble.code
        assert int(answer.headers["retry-after"]) > 0
        assert str(status) in documented["responses"]
    spans.trouble = None
    answer = await sender.send()
    assert (answer.status_code, answer.json()["taken"]) == (200, 1)


async def test_a_gateway_that_goes_away_in_the_middle_is_no_defect(
    sender: Sender, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = sender.hand.msgpack(wire.CALL_RECORDS, sender.push)
    headers = {"host": "localhost", **headers_of(signed)}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": signed.target, "raw_path": signed.target.encode(),
        "query_string": b"", "server": ("localhost", 4140), "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    parts: list[Message] = [
        {"type": "http.request", "body": signed.body[:20], "more_body": True},
        {"type": "http.disconnect"},
    ]
    said: list[Message] = []

    async def receive() -> Message:
        return parts.pop(0)

    async def send(message: Message) -> None:
        said.append(message)

    await server_of(sender.services)(scope, receive, send)
    assert said[0]["status"] == httpx.codes.BAD_REQUEST
    assert "defect" not in capsys.readouterr().out
    assert (await sender.send()).json()["taken"] == 1


async def test_a_trace_store_that_is_closed_says_come_again(sender: Sender) -> None:
    await sender.services.traces.keeping.close()
    answer = await sender.send()
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.json()["code"] == "trace_store_unavailable"
