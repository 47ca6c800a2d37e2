"""The API of traces on a real store: what is sent is found, spoken of, and removed for good."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow.parquet as pq
import pytest
from tests.support.eventually import eventually
from tests.support.furnished import Tenant, bearer, client, founded, tenant
from tests.support.home_databases import database_of
from tests.support.platform_kit import server_of
from tests.support.trace_kit import NOW, put, raw_span

from keylease.errors import TraceBatchRefused
from keylease.platform.db.database import Database
from keylease.platform.server.services import Services
from keylease.platform.traces.interfaces import PutSpan
from keylease.platform.traces.model import Source
from keylease.platform.traces.query import newest
from keylease.platform.traces.retention import clean, forget
from keylease.primitives.clock import SystemClock

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROOT = "b7ad6b7169203331"
CALL = "00f067aa0ba902b7"
SECOND = 1_000_000


@dataclass(frozen=True)
class Place:
    """A project with a trace of two spans and the span of another session."""

    services: Services
    api: httpx.AsyncClient
    stranger: httpx.AsyncClient
    acme: Tenant
    project_id: str

    @property
    def base(self) -> str:
        return f"/v1/projects/{self.project_id}"

    async def get(self, path: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        answer = await self.api.get(f"{self.base}{path}", params=parameters)  # type: ignore[arg-type]  # numbers and texts
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    async def take(self, *spans: PutSpan) -> None:
        keeping = await self.services.traces.keeping()
        xact_id = await keeping.intake.take(self.acme.organization_id, self.project_id, spans)
        await keeping.intake.settled(xact_id)


def spans() -> list[PutSpan]:
    call = raw_span(
        trace_id=TRACE,
        span_id=CALL,
        parent_span_id=ROOT,
        name="chat gpt-4o-mini",
        started_at=NOW + 1000,
        ended_at=NOW + SECOND,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"the '
            'quick brown fox"}]}]',
            "gen_ai.conversation.id": "talk",
            "customer": "zebra",
        },
    )
    root = raw_span(trace_id=TRACE, span_id=ROOT, name="answer", ended_at=NOW + 2 * SECOND)
    return [PutSpan(span=root), PutSpan(span=call), put(7, name="alone", started_at=NOW - SECOND)]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = SystemClock()
    database = Database(database_of(tmp_path), clock=clock)
    async with founded(database, clock, tmp_path) as services:
        acme, zebra = await tenant(services, "Acme"), await tenant(services, "Zebra")
        async with (
            client(services, await bearer(services, acme)) as api,
            client(services, await bearer(services, zebra)) as stranger,
        ):
            made = await api.post("/v1/projects", json={"name": "apollo"})
            found = Place(services, api, stranger, acme, made.json()["id"])
            await found.take(*spans())
            yield found
    await database.close()


async def test_what_was_sent_is_found(place: Place) -> None:
    # lists
    traces = (await place.get("/traces"))["items"]
    assert [line["name"] for line in traces] == ["answer", "alone"]
    assert traces[0]["trace"]["spans"] == 2
    assert traces[0]["trace"]["sum_input_tokens"] == 100
    (only,) = (await place.get("/spans", filter='attributes.customer = "zebra"'))["items"]
    assert only["span_id"] == CALL
    assert isinstance(only["xact_id"], str)
    (only,) = (await place.get("/spans", filter='text:"brown fox" and cost > 0'))["items"]
    assert only["model"] == "gpt-4o-mini"
    # pages
    first = await place.get("/spans", limit=2)
    rest = await place.get("/spans", limit=2, cursor=first["next_cursor"])
    assert [line["name"] for page in (first, rest) for line in page["items"]] == [
        "chat gpt-4o-mini",
        "answer",
        "alone",
    ]
    # one trace, one span
    tree = await place.get(f"/traces/{TRACE}")
    assert tree["summary"]["spans"] == 2
    assert tree["summary"]["ended_at"] == NOW + 2 * SECOND
    assert [
        dict(zip(tree["columns"], row, strict=True))["parent_span_id"] for row in tree["rows"]
    ] == [
        "",
        ROOT,
    ]
    span = await place.get(f"/traces/{TRACE}/spans/{CALL}")
    assert "quick brown fox" in span["input"]
    assert span["attributes"]["customer"] == '"zebra"'
    # sessions and sums
    (session,) = (await place.get("/sessions"))["items"]
    assert (session["session_id"], session["traces"]) == ("talk", 1)
    (everything,) = (await place.get("/trace-sums"))["items"]
    assert (everything["spans"], everything["sum_output_tokens"]) == (3, 10)
    steps = (
        await place.get(
            "/trace-sums",
            bucket="hour",
            group_by="model",
            since=NOW - 60 * SECOND,
            until=NOW + 60 * SECOND,
        )
    )["items"]
    assert {(step["group_value"], step["spans"]) for step in steps} >= {("gpt-4o-mini", 1)}


async def test_sql_reads_the_callers_spans_and_no_others(place: Place) -> None:
    question = {
        "query": "SELECT name, sum(input_tokens) AS tokens FROM spans WHERE kind = {kind:String} "
        "GROUP BY name",
        "parameters": {"kind": "llm"},
    }
    for path in (f"{place.base}/sql", "/v1/sql"):
        answer = await place.api.post(path, json=question)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.json()["rows"] == [["chat gpt-4o-mini", 100]]
    explained = await place.api.post(f"{place.base}/sql", json=question | {"explain": True})
    assert explained.json()["columns"] == ["explain"]
    plan = "\n".join(row[0] for row in explained.json()["rows"])
    assert "Granules: " in plan
    assert "/" not in plan  # how much there is in all is not said
    foreign = await place.stranger.post("/v1/sql", json=question)
    assert foreign.json()["rows"] == []
    for query, status, code in (
        ("SELECT * FROM system.tables", 403, "query_not_allowed"),
        ("SELECT nonsense FROM spans", 422, "query_invalid"),
        ("SELECT 1 FROM", 422, "query_invalid"),
    ):
        refused = await place.api.post("/v1/sql", json={"query": query})
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text


async def test_what_people_say_has_a_history(place: Place) -> None:
    path = f"{place.base}/traces/{TRACE}/spans/{CALL}"
    before = await place.api.get(path)
    said = {
        "scores": {"quality": 0.5},
        "tags": ["wrong"],
        "metadata": {"reviewed": True},
        "expected": {"answer": 42},
        "comment": "It should have said so.",
    }
    changed = await place.api.patch(path, json=said, headers={"if-match": before.headers["etag"]})
    assert changed.status_code == httpx.codes.OK, changed.text
    assert changed.json()["scores"] == {"quality": 0.5}
    assert changed.headers["etag"] > before.headers["etag"]
    late = await place.api.patch(path, json=said, headers={"if-match": before.headers["etag"]})
    assert late.status_code == httpx.codes.PRECONDITION_FAILED
    more = await place.api.patch(path, json={"scores": {"tone": 1, "quality": None}})
    assert more.json()["scores"] == {"tone": 1.0}
    assert more.json()["tags"] == ["wrong"]
    newest, middle, sent = (await place.get(f"/traces/{TRACE}/spans/{CALL}/history"))["items"]
    assert newest["changed_by"] == middle["changed_by"] == str(place.acme.owner.principal)
    assert middle["change"]["comment"] == "It should have said so."
    assert sent["changed_by"] == ""
    # as it was before
    old = await place.get(f"/traces/{TRACE}/spans/{CALL}", at=sent["xact_id"])
    assert old["scores"] == {}
    assert (await place.get("/spans", filter="scores.tone >= 1"))["items"]
    assert not (await place.get("/spans", filter="scores.tone >= 1", at=sent["xact_id"]))["items"]


async def test_nothing_is_summed_where_nothing_is(place: Place) -> None:
    (nothing,) = (await place.get("/trace-sums", filter="name = never"))["items"]
    assert (nothing["spans"], nothing["duration_p50"], nothing["sum_cost"]) == (0, None, None)


async def test_a_call_that_program_and_gateway_report_counts_once(place: Place) -> None:
    call = spans()[1].span
    record = msgspec.structs.replace(call, span_id="5" * 16, parent_span_id=CALL)
    await place.take(PutSpan(span=record, source=Source.GATEWAY))
    (everything,) = (await place.get("/trace-sums"))["items"]
    assert (everything["spans"], everything["sum_input_tokens"]) == (3, 100)
    (both,) = (await place.get("/trace-sums", count_twins=True))["items"]
    assert (both["spans"], both["sum_input_tokens"]) == (4, 200)
    (billed,) = (await place.get("/trace-sums", filter="source = gateway"))["items"]
    assert (billed["spans"], billed["sum_input_tokens"]) == (1, 100)
    listed = (await place.get("/traces"))["items"][0]["trace"]
    assert (listed["spans"], listed["sum_input_tokens"]) == (3, 100)
    tree = await place.get(f"/traces/{TRACE}")
    assert (tree["summary"]["spans"], tree["summary"]["input_tokens"]) == (3, 100)
    assert tree["summary"]["cost"] == everything["sum_cost"] == listed["sum_cost"]
    source = tree["columns"].index("source")
    assert [row[source] for row in tree["rows"]] == ["otlp", "otlp", "gateway"]
    lines = (await place.get("/spans", filter='name = "chat gpt-4o-mini"'))["items"]
    assert sorted(line["source"] for line in lines) == ["gateway", "otlp"]


async def test_a_list_is_asked_again_when_versions_took_its_places(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "LOOKED_AT", (1,))
    path = f"{place.base}/traces/{TRACE}/spans/{ROOT}"
    for tag in ("one", "two", "three"):
        answer = await place.api.patch(path, json={"tags": [tag]})
        assert answer.status_code == httpx.codes.OK
    lines = (await place.get("/spans", filter="kind = other", limit=2))["items"]
    assert [line["name"] for line in lines] == ["answer", "alone"]
    lines = (await place.get("/traces", limit=2))["items"]
    assert [line["name"] for line in lines] == ["answer", "alone"]


async def test_a_tree_is_the_state_at_the_transaction_that_it_names(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = await place.services.traces.keeping()
    before = keeping.store.applied()
    late = raw_span(trace_id=TRACE, span_id="6" * 16, parent_span_id=ROOT, name="late")
    renamed = msgspec.structs.replace(spans()[0].span, name="again", ended_at=NOW + 9 * SECOND)
    await place.take(PutSpan(span=late), PutSpan(span=renamed))
    tree = await place.get(f"/traces/{TRACE}")
    assert (tree["at"], len(tree["rows"])) == (str(keeping.store.applied()), 3)
    # The rows are there a moment before the store says so.
    monkeypatch.setattr(keeping.store, "applied", lambda: before)
    tree = await place.get(f"/traces/{TRACE}")
    name = tree["columns"].index("name")
    assert tree["at"] == str(before)
    assert [row[name] for row in tree["rows"]] == ["answer", "chat gpt-4o-mini"]
    assert await place.get(f"/traces/{TRACE}", at=before) == tree


async def test_what_is_removed_is_gone(place: Place) -> None:
    gone = await place.api.delete(f"{place.base}/traces/{TRACE}")
    assert gone.status_code == httpx.codes.NO_CONTENT
    assert (await place.api.get(f"{place.base}/traces/{TRACE}")).status_code == 404
    assert [line["name"] for line in (await place.get("/spans"))["items"]] == ["alone"]

    async def logged() -> list[str]:
        found = await place.api.get("/v1/audit/entries", params={"action": "trace.removed"})
        return [item["entry"]["object"] for item in found.json()["items"]]

    async with asyncio.timeout(10):
        while await logged() != [place.project_id]:  # noqa: ASYNC110 - sequenced a moment later
            await asyncio.sleep(0.05)


async def test_all_of_a_project_is_removed_and_no_other(place: Place) -> None:
    made = await place.api.post("/v1/projects", json={"name": "gemini"})
    other = Place(place.services, place.api, place.stranger, place.acme, made.json()["id"])
    await other.take(put(9, name="stays"))
    for wrong in ("", "?everything=false", "?everything=true&user_id=ann"):
        refused = await place.api.delete(f"{place.base}/traces{wrong}")
        assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    hidden = await place.stranger.delete(f"{place.base}/traces?everything=true")
    assert hidden.status_code == httpx.codes.NOT_FOUND
    assert len((await place.get("/spans"))["items"]) == 3
    gone = await place.api.delete(f"{place.base}/traces?everything=true")
    assert gone.status_code == httpx.codes.NO_CONTENT
    assert not (await place.get("/spans"))["items"]
    assert [line["name"] for line in (await other.get("/spans"))["items"]] == ["stays"]

    async def logged() -> list[dict[str, str]]:
        found = await place.api.get("/v1/audit/entries", params={"action": "trace.removed"})
        return [item["entry"]["details"] for item in found.json()["items"]]

    async with asyncio.timeout(10):
        while not (said := await logged()):  # noqa: ASYNC110 - sequenced a moment later
            await asyncio.sleep(0.05)
    assert [one["what"] for one in said] == ["project"]


async def test_what_is_said_about_a_span_is_bounded_in_depth(place: Place) -> None:
    path = f"{place.base}/traces/{TRACE}/spans/{CALL}"
    for depth, status in ((90, httpx.codes.OK), (900, httpx.codes.UNPROCESSABLE_ENTITY)):
        content = b'{"expected":' + b"[" * depth + b"]" * depth + b"}"
        headers = {"content-type": "application/json"}
        answer = await place.api.patch(path, content=content, headers=headers)
        assert answer.status_code == status, answer.text


async def test_a_change_that_the_store_never_takes_is_not_said_to_be_made(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = await place.services.traces.keeping()

    def refuse(*_: object) -> None:
        raise TraceBatchRefused("It is not liked here.")

    monkeypatch.setattr(keeping.store, "apply", refuse)
    path = f"{place.base}/traces/{TRACE}"
    for answer in (
        await place.api.delete(path),
        await place.api.patch(f"{path}/spans/{CALL}", json={"tags": ["seen"]}),
    ):
        assert answer.is_error
        assert answer.json()["code"] == "trace_batch_refused"


async def test_the_bytes_of_what_is_removed_leave_the_disk(place: Place) -> None:
    keeping = await place.services.traces.keeping()
    marks = {"keylease.test": "marzipan-".join("removed" * 3), "user.id": "someone"}
    span = raw_span(9, name="gone", attributes=marks)
    await place.take(PutSpan(span=span))
    await place.take(PutSpan(span=msgspec.structs.replace(span, ended_at=NOW + SECOND)))
    gone = await place.api.delete(f"{place.base}/traces/{span.trace_id}")
    assert gone.status_code == httpx.codes.NO_CONTENT
    assert await keeping.read(keeping.store.removal.is_due)
    await clean(keeping)

    def is_gone() -> bool:
        log = b""
        for path in (keeping.directory / "log").glob("*.seg"):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                log += path.read_bytes()
        return b"marzipan" not in log and not keeping.store.removal.is_due()

    await eventually(is_gone)
    assert [line["name"] for line in (await place.get("/spans"))["items"]] != []
    await place.take(put(10, name="after"))
    assert (await place.get("/spans", filter='name = "after"'))["items"]


@contextlib.asynccontextmanager
async def streaming(place: Place, path: str, query: str) -> AsyncIterator[asyncio.Queue[bytes]]:
    """The parts of an answer as they come; httpx's transport would wait for the end of all."""
    parts: asyncio.Queue[bytes] = asyncio.Queue()
    gone = asyncio.Event()
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        parts.put_nowait(message.get("body", str(message.get("status")).encode()))

    headers = [
        (b"host", b"localhost"),
        (b"authorization", place.api.headers["authorization"].encode()),
    ]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"{place.base}{path}",
        "raw_path": b"",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 4140),
    }

    async def serve() -> None:
        await server_of(place.services)(scope, receive, send)

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        try:
            yield parts
        finally:
            gone.set()


async def test_a_project_is_exported_as_a_file_that_leaves_none_behind(place: Place) -> None:
    answer = await place.api.get(f"{place.base}/trace-export")
    assert answer.status_code == httpx.codes.OK, answer.text
    table = pq.read_table(io.BytesIO(answer.content))
    assert sorted(table.column("name").to_pylist()) == ["alone", "answer", "chat gpt-4o-mini"]
    keeping = await place.services.traces.keeping()
    assert list((keeping.directory / "exports").iterdir()) == []
    nothing = await place.api.get(f"{place.base}/trace-export", params={"until": 1})
    assert pq.read_table(io.BytesIO(nothing.content)).num_rows == 0
    state = (await place.api.get("/v1/trace-store")).json()
    assert (state["state"], state["waiting_bytes"]) == ("open", 0)
    assert (await place.api.get("/v1/trace-store/set-aside")).json() == {"items": []}


async def test_spans_older_than_their_project_keeps_them_are_removed(place: Place) -> None:
    settings = place.services.traces.settings
    keeping = await place.services.traces.keeping()
    old = 3 * 86_400 * SECOND
    now = place.services.clock.now()
    await place.take(put(8, name="young", started_at=now), put(9, name="old", started_at=now - old))
    two_days = {"retention_days": 2}
    path = f"{place.base}/trace-settings"
    changed = await place.api.put(path, json=two_days, headers={"if-match": '"0"'})
    assert changed.status_code == httpx.codes.OK, changed.text
    assert await forget(keeping, settings.in_force, now=now) == 1
    assert [line["name"] for line in (await place.get("/spans"))["items"]] == ["young"]
    assert await forget(keeping, settings.in_force, now=now) == 0


async def test_a_tail_shows_what_comes_and_nothing_else(place: Place) -> None:
    async with (
        asyncio.timeout(30),
        streaming(place, "/trace-tail", "filter=name=%22late%22") as parts,
    ):
        assert await parts.get() == b"200"
        assert (await parts.get()).startswith(b":")
        while place.services.traces.tail.listeners == 0:  # noqa: ASYNC110 - it is about to listen
            await asyncio.sleep(0.01)
        await place.take(put(8, name="early"), put(9, name="late"))
        event = await parts.get()
    (line,) = [line for line in event.splitlines() if line.startswith(b"data:")]
    assert json.loads(line.removeprefix(b"data:"))["name"] == "late"


async def test_a_stranger_finds_nothing(place: Place) -> None:
    for path in ("/traces", f"/traces/{TRACE}", f"/traces/{TRACE}/spans/{CALL}", "/trace-sums"):
        answer = await place.stranger.get(f"{place.base}{path}")
        assert answer.status_code == httpx.codes.NOT_FOUND, path


REFUSED: list[tuple[str, str, object, int, str]] = [
    ("GET", "/spans?filter=nonsense%20%3D%201", None, 422, "query_invalid"),
    ("GET", "/spans?cursor=zzz", None, 422, "cursor_invalid"),
    ("GET", "/trace-sums?bucket=hour", None, 422, "query_invalid"),
    ("GET", f"/traces/{'0' * 31}1", None, 404, "not_found"),
    ("GET", "/traces/nonsense", None, 422, "input_invalid"),
    ("GET", f"/traces/{TRACE}/texts/{'0' * 64}", None, 404, "not_found"),
    ("PATCH", f"/traces/{TRACE}/spans/{CALL}", {}, 422, "input_invalid"),
    ("PATCH", f"/traces/{TRACE}/spans/{CALL}", {"score": 1}, 422, "input_invalid"),
    ("PATCH", f"/traces/{TRACE}/spans/{CALL}", {"scores": {"a": "b"}}, 422, "input_invalid"),
    ("DELETE", f"/traces/{'0' * 31}1", None, 404, "not_found"),
]


async def test_what_cannot_be_is_refused(place: Place) -> None:
    for method, path, body, status, code in REFUSED:
        answer = await place.api.request(method, f"{place.base}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (path, answer.text)
    wrong = await place.api.get(f"{place.base}/spans", params={"filter": "name = "})
    assert wrong.json()["position"] == len("name = ")
