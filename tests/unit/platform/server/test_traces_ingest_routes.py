"""OTLP over HTTP: who may send, where it goes, and what the answer says."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from backports import zstd
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.types import Message, Scope
from tests.support.furnished import bearer
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import HOST
from tests.support.span_house import PROTOBUF, House
from tests.support.trace_kit import export

from keylease.errors import StorageFull
from keylease.platform.server.app import LARGER_BODIES, create_app
from keylease.platform.server.edge import Edge
from keylease.platform.server.routes.traces_ingest import MAXIMUM_BODY


async def test_spans_are_taken_in_every_way_that_otlp_has(house: House) -> None:
    key = await house.key(house.acme, project_id=await house.project(house.acme, "apollo"))
    body = export("one").SerializeToString()
    document = {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "a" * 32,
                                "spanId": "b" * 16,
                                "name": "in json",
                                "startTimeUnixNano": "1780000000000000000",
                                "endTimeUnixNano": "1780000000000001000",
                            }
                        ]
                    }
                ]
            }
        ]
    }
    plain = await house.send(key, body)
    assert (plain.status_code, plain.content) == (200, b"")
    assert plain.headers["content-type"] == PROTOBUF
    for name, packed in (("gzip", gzip.compress(body)), ("zstd", zstd.compress(body))):
        answer = await house.send(key, packed, "/otel/v1/traces", content_encoding=name)
        assert answer.status_code == 200
    answer = await house.send(key, json.dumps(document).encode(), content_type="application/json")
    assert (answer.status_code, answer.json()) == (200, {})
    await house.settled()
    assert {name for _, name in house.found()} == {"one", "in json"}


async def test_what_is_refused_of_a_body_is_said_in_its_own_encoding(house: House) -> None:
    key = await house.key(house.acme)
    request = export("good", "bad")
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    answer = await house.send(key, request.SerializeToString())
    assert answer.status_code == 200
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert said.rejected_spans == 1
    assert "trace id" in said.error_message
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "x"}]}]}]}
    answer = await house.send(key, json.dumps(document).encode(), content_type="application/json")
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize("ingest", [True, False], ids=["ingest key", "API key"])
async def test_the_key_says_whose_spans_they_are(house: House, ingest: bool) -> None:  # noqa: FBT001 - a test's parameter
    apollo = await house.project(house.acme, "apollo")
    other = await house.project(house.zebra, "apollo")
    assert (
        await house.send(await house.key(house.acme, project_id=apollo, ingest=ingest))
    ).is_success
    assert (
        await house.send(await house.key(house.zebra, project_id=other, ingest=ingest))
    ).is_success
    await house.settled()
    assert {(row.organization_id, row.project_id) for row in house.store.rows.values()} == {
        (house.acme.organization_id, apollo),
        (house.zebra.organization_id, other),
    }


async def test_a_key_of_the_organization_names_the_project(house: House) -> None:
    apollo, gemini = [await house.project(house.acme, name) for name in ("apollo", "gemini")]
    key = await house.key(house.acme)
    assert (await house.send(key, x_keylease_project="apollo")).is_success
    body = export("by attribute", project="gemini")
    body.MergeFrom(export("without"))
    body.MergeFrom(export("lost", project="nowhere"))
    answer = await house.send(key, body.SerializeToString(), x_keylease_project=apollo)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    assert "project" in partial.error_message
    await house.settled()
    assert house.found() >= {(gemini, "by attribute"), (apollo, "without")}
    assert "lost" not in house.store.names


async def test_spans_that_name_no_project_go_to_the_default_one(house: House) -> None:
    assert (await house.send(await house.key(house.acme))).is_success
    await house.settled()
    ((project_id, _),) = house.found()
    assert project_id == await house.services.traces.projects.find(
        house.acme.organization_id, "default"
    )


async def test_an_unknown_or_foreign_project_is_not_there(house: House) -> None:
    foreign = await house.project(house.zebra, "gemini")
    key = await house.key(house.acme)
    for name in ("nowhere", foreign, "x" * 5000):
        answer = await house.send(key, x_keylease_project=name)
        assert answer.status_code == 404
        assert name.encode() not in answer.content
        body = export("one", project=name).SerializeToString()
        assert (await house.send(key, body)).status_code == 404
    assert not house.store.rows


async def test_a_key_of_one_project_sends_to_no_other(house: House) -> None:
    apollo = await house.project(house.acme, "apollo")
    await house.project(house.acme, "gemini")
    key = await house.key(house.acme, project_id=apollo)
    assert (await house.send(key, x_keylease_project="gemini")).status_code == 403
    body = export("elsewhere", project="gemini")
    assert (await house.send(key, body.SerializeToString())).status_code == 403
    body.MergeFrom(export("here"))
    answer = await house.send(key, body.SerializeToString())
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 1
    await house.settled()
    assert house.found() == {(apollo, "here")}


async def test_what_is_no_key_for_spans_is_refused_with_advice(house: House) -> None:
    session = (await bearer(house.services, house.acme)).removeprefix("Bearer ")
    reader = await house.key(house.acme, "trace:read", ingest=False)
    scanner = await house.key(house.acme, "inventory:write")
    for text, status, word in (
        ("kll_eyJhbGciOiJFZERTQSJ9.e30.c2ln", 401, "ingest key"),
        (session, 401, "ingest key"),
        (reader, 403, "trace:ingest"),
        (scanner, 403, "trace:ingest"),
        ("kl_ing_" + "0" * 39, 401, "key"),
        ("nonsense", 401, "API key"),
    ):
        answer = await house.send(text)
        assert answer.status_code == status
        assert word.encode() in answer.content
        assert text.encode() not in answer.content
    answer = await house.api.post("/v1/traces", content=b"", headers={"content-type": PROTOBUF})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert not house.store.rows


async def test_a_revoked_key_sends_for_a_second_at_most(house: House, clock: ManualClock) -> None:
    text = await house.key(house.acme)
    assert (await house.send(text)).is_success
    keys = house.services.identity.api_keys
    (key,) = (await keys.listed(house.acme.owner, _page())).items
    await keys.revoke(house.acme.owner, key.id, expected=key.version)
    clock.advance(1.1)
    assert (await house.send(text)).status_code == 401


def _page() -> Any:  # noqa: ANN401 - imported where it is needed
    from keylease.platform.db.paging import PageRequest  # noqa: PLC0415 - for one test

    return PageRequest()


async def test_a_full_queue_and_a_full_disk_say_when_to_come_again(house: House) -> None:
    key = await house.key(house.acme)
    house.store.may_go_on.clear()
    large = export("large")
    attribute = large.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="text")
    attribute.value.string_value = "word " * 15_000
    body = large.SerializeToString()
    assert (await house.send(key, body)).is_success
    full = await house.send(key, body)
    assert full.status_code == 429
    assert int(full.headers["retry-after"]) > 0
    house.store.may_go_on.set()
    await house.settled()
    house.disk.full = True
    answer = await house.send(key, content_type="application/json", content=b'{"resourceSpans":[]}')
    assert answer.is_success  # nothing had to be written
    answer = await house.send(key)
    assert answer.status_code == 503
    assert StorageFull.code.encode() in answer.content
    assert int(answer.headers["retry-after"]) > 0
    house.disk.full = False
    assert (await house.send(key)).is_success


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (PROTOBUF, b"\xff\xff\xff", 400),
        ("application/json", b"{", 400),
        ("text/plain", b"", 415),
        ("", b"", 415),
    ],
)
async def test_what_is_no_otlp_gets_a_status_document(
    house: House, content_type: str, body: bytes, status: int
) -> None:
    answer = await house.send(await house.key(house.acme), body, content_type=content_type)
    assert answer.status_code == status
    if content_type == PROTOBUF:
        assert answer.content[:1] == b"\x08"
        assert b"OTLP" in answer.content
    else:
        assert answer.json()["message"]


async def test_a_body_of_fifty_megabytes_is_refused_before_it_is_read(house: House) -> None:
    key = await house.key(house.acme)
    answer = await house.send(key, b"\0" * 50_000_000)
    assert answer.status_code == 413
    assert b"fewer spans" in answer.content

    async def without_length() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"\0" * 1_000_000

    headers = {"content-type": PROTOBUF, "authorization": f"Bearer {key}"}
    answer = await house.api.post("/v1/traces", content=without_length(), headers=headers)
    assert answer.status_code == 413
    assert LARGER_BODIES["/v1/traces"] == MAXIMUM_BODY


async def test_a_body_that_is_compressed_in_another_way_is_refused(house: House) -> None:
    key = await house.key(house.acme)
    assert (await house.send(key, b"x", content_encoding="br")).status_code == 400


async def test_a_client_that_never_finishes_its_body_is_let_go(house: House) -> None:
    key = await house.key(house.acme)
    edge = Edge(
        create_app(house.services),
        clock=house.services.clock,
        hosts=[HOST],
        larger_bodies=LARGER_BODIES,
        body_seconds=0.1,
    )
    sent: list[Message] = []
    first = [True]

    async def receive() -> Message:
        if first.pop() if first else False:
            return {"type": "http.request", "body": b"\x0a", "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"host": HOST, "content-type": PROTOBUF, "authorization": f"Bearer {key}"}
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/traces",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": (HOST, 80),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await edge(scope, receive, send)
    assert sent[0]["status"] == 408
    assert b"in time" in sent[1]["body"]
    with house.intake.room("one") as one, house.intake.room("other") as other:
        one.take(142 * 1024 * 1024)  # what it had taken up was given back
        other.take(48 * 1024 * 1024)


async def test_secrets_in_spans_are_masked_and_not_refused(house: House) -> None:
    key = await house.key(house.acme)
    secret = "AKIA" + "QYLPMN5HHHFPZAM2"
    body = export(f"call with {secret}")
    assert (await house.send(key, body.SerializeToString())).is_success
    await house.settled()
    (name,) = house.store.names
    assert name.startswith("call with [secret:aws-")
