"""P1, the trace store: a key that somebody sends in a span is in no file and in no row.

Columns and logs are compressed, so rows are read as the engine decodes them, and every medium has a
positive control: a harmless text that was sent with the keys, and must be found there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from tests.support.furnished import bearer, client, founded, tenant
from tests.support.home_databases import database_of

from keylease.platform.db.database import Database
from keylease.platform.server.services import Services
from keylease.platform.traces.keeping import Keeping
from keylease.platform.traces.store.backup import back_up
from keylease.primitives.clock import SystemClock

CONTROL = "harmless-" + secrets.token_hex(16)
TABLES = ("spans", "span_versions", "span_keys", "payloads", "removals")
ANTHROPIC = "sk-ant-api03-" + secrets.token_urlsafe(80)[:93] + "AA"


def openai_key() -> str:
    return "sk-proj-" + secrets.token_hex(40)[:74] + "T3BlbkFJ" + secrets.token_hex(40)[:74]


KEYS = {
    name: openai_key()
    for name in ("name", "value", "key", "event", "resource", "status", "json", "base64", "url",
                 "large", "list", "annotation")
} | {"anthropic": ANTHROPIC}  # fmt: skip


def exported() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="host").value.string_value = KEYS["resource"]
    span = resource_spans.scope_spans.add().spans.add(
        name=f"chat {KEYS['name']}",
        trace_id=b"\x01" * 16,
        span_id=b"\x01" * 8,
        start_time_unix_nano=1_780_000_000_000_000_000,
        end_time_unix_nano=1_780_000_000_000_000_500,
    )
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = f"401 for {KEYS['status']}"
    encoded = base64.b64encode(f"OPENAI_API_KEY={KEYS['base64']}".encode()).decode()
    texts = {
        "control": CONTROL,
        "input.value": f"please use {KEYS['value']} and {KEYS['anthropic']}",
        f"header {KEYS['key']}": "in a key",
        "nested": json.dumps({"body": json.dumps({"api_key": KEYS["json"]})}),
        "encoded": encoded,
        "url": "https://api.example.com/?key=" + quote(KEYS["url"], safe=""),
        "output.value": "many words " * 8_000 + KEYS["large"],
    }
    for name, text in texts.items():
        span.attributes.add(key=name).value.string_value = text
    span.attributes.add(key="list").value.array_value.values.add().string_value = KEYS["list"]
    event = span.events.add(name="tool", time_unix_nano=1_780_000_000_000_000_100)
    event.attributes.add(key="arguments").value.string_value = KEYS["event"]
    return request


async def test_a_key_in_a_span_is_in_no_file_and_in_no_row(tmp_path: Path) -> None:
    clock = SystemClock()
    database = Database(database_of(tmp_path), clock=clock)
    async with founded(database, clock, tmp_path) as services:
        acme = await tenant(services, "Acme")
        async with client(services, await bearer(services, acme)) as api:
            answers = await sent(api)
            keeping = await services.traces.keeping()
            async with asyncio.timeout(60):
                while keeping.intake.log.backlog():  # noqa: ASYNC110 - written a moment later
                    await asyncio.sleep(0.05)
            rows = await keeping.read(lambda: b"".join(everything(keeping)))
            target = tmp_path / "back-up"
            await keeping.read(
                lambda: back_up(keeping.store, keeping.directory / "store", target, clock=clock)
            )
            answers += await told(api, services)
    await database.close()
    log = b"".join(files(tmp_path / "traces" / "log"))
    assert CONTROL.encode() in log, "the log holds what was sent"
    assert CONTROL.encode() in rows, "the rows are read as they are decoded"
    assert CONTROL.encode() in answers
    everywhere = {"files": b"".join(files(tmp_path)), "rows": rows, "answers": answers}
    for name, key in KEYS.items():
        for form in forms(key):
            found = [medium for medium, content in everywhere.items() if form in content]
            assert not found, f"{name} in {found}"


async def sent(api: httpx.AsyncClient) -> bytes:
    """Send the spans by an ingest key; what was answered."""
    wish = {"name": "spans", "kind": "ingest", "permissions": ["trace:ingest"]}
    made = await api.post("/v1/api-keys", json=wish)
    headers = {
        "authorization": f"Bearer {made.json()['text']}",
        "content-type": "application/x-protobuf",
    }
    content = exported().SerializeToString()
    taken = await api.post("/v1/traces", content=content, headers=headers)
    assert taken.status_code == httpx.codes.OK, taken.text
    return taken.content


async def told(api: httpx.AsyncClient, services: Services) -> bytes:
    """What the API answers about it; an annotation with a key is refused."""
    projects = (await api.get("/v1/projects")).json()["items"]
    base = f"/v1/projects/{projects[0]['id']}"
    (line,) = (await api.get(f"{base}/spans")).json()["items"]
    path = f"{base}/traces/{line['trace_id']}/spans/{line['span_id']}"
    refused = await api.patch(path, json={"comment": f"the key was {KEYS['annotation']}"})
    assert refused.json()["code"] == "secret_in_request"
    answers = [
        await api.get(path),
        await api.get(f"{path}/history"),
        await api.get(f"{base}/traces"),
        await api.get("/v1/inventory/secrets"),
    ]
    del services
    return b"".join(answer.content for answer in answers) + refused.content


def everything(keeping: Keeping) -> Iterator[bytes]:
    for table in TABLES:
        answer = keeping.store.select(f"SELECT * FROM {table}")  # noqa: S608 - our own names
        for row in answer.rows:
            yield json.dumps(row, default=str, ensure_ascii=False).encode()


def files(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def forms(key: str) -> Iterator[bytes]:
    """As it is, and as it would stand in base64 at any offset, in hex and in a URL."""
    yield key.encode()
    yield quote(key, safe="").encode()
    yield key.encode().hex().encode()
    for offset in range(3):
        yield base64.b64encode(b"x" * offset + key.encode())[4:-4]
