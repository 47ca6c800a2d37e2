"""Durable spans per second through the real server, what each step costs, and crashes that count.

    python bench/traces_ingest.py                  the rate, and the cost of each step
    python bench/traces_ingest.py --kills 20       also: kill -9 in the middle, so many times

Bodies are encoded beforehand: 100 spans of about 2.3 KB with chat messages, as an instrumented
program sends them, over loopback, by connections that each wait for their answer. A span counts
when its request was answered, which is after the log's fsync. Masking is on.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from tests.support.furnished import first_tenant, founded
from tests.support.platform_process import RunningPlatform, running_platform

from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.traces.ingest.decoding import Encoding, decode
from keylease.platform.traces.ingest.entries import decoded_batch, encoded_batch
from keylease.platform.traces.ingest.limits import Limits
from keylease.platform.traces.ingest.masking import Masker
from keylease.platform.traces.ingest.write_log import encoded
from keylease.platform.traces.interfaces import PutSpan
from keylease.platform.traces.model import Source
from keylease.platform.traces.store.store import open_embedded
from keylease.platform.traces.understanding.understander import Understander
from keylease.primitives.clock import SystemClock
from processes import cpu_seconds
from report import Table

SPANS = 100
WANTED = 10_000
TEXT = (
    "the model answered with a list of what customers had bought before and then it asked whether"
    " delivery on Tuesday would be fine price is 42 euros payment by invoice we support returns"
    " within 30 days of receipt provided that goods remain unused please look into order number"
)
WORDS = TEXT.split()


# --- what is sent --------------------------------------------------------------------------


def prose(chance: random.Random, size: int) -> str:
    parts: list[str] = []
    length = 0
    while length < size:
        parts.append(chance.choice(WORDS))
        length += len(parts[-1]) + 1
    return " ".join(parts)[:size]


def attribute(target: WireSpan, key: str, value: str | float) -> None:
    added = target.attributes.add(key=key)
    if isinstance(value, str):
        added.value.string_value = value
    elif isinstance(value, int):
        added.value.int_value = value
    else:
        added.value.double_value = value


def fill(span: WireSpan, chance: random.Random) -> None:
    """One chat call, with messages in, messages out and what it cost."""
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": prose(chance, 300)}]},
        {"role": "user", "parts": [{"type": "text", "content": prose(chance, 480) + '\n"quoted"'}]},
    ]
    call = {"type": "tool_call", "id": f"call_{chance.randbytes(8).hex()}", "name": "lookup"}
    answered = [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": prose(chance, 420)}, call],
            "finish_reason": "tool_call",
        }
    ]
    values: dict[str, str | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{chance.randbytes(12).hex()}",
        "gen_ai.conversation.id": chance.randbytes(8).hex(),
        "user.id": f"user-{chance.randrange(1000)}",
        "gen_ai.input.messages": json.dumps(asked),
        "gen_ai.output.messages": json.dumps(answered),
        "server.address": "api.openai.com",
        "server.port": 443,
        "gen_ai.usage.input_tokens": chance.randrange(900),
        "gen_ai.usage.output_tokens": chance.randrange(300),
        "gen_ai.request.max_tokens": 512,
        "gen_ai.request.temperature": 0.7,
    }
    for key, value in values.items():
        attribute(span, key, value)
    event = span.events.add(name="gen_ai.choice", time_unix_nano=span.end_time_unix_nano)
    event.attributes.add(key="note").value.string_value = prose(chance, 100)


def body(seed: int, *, now: int | None = None) -> bytes:
    """An export of 100 spans in ten traces; the same seed gives the same spans."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in {
        "service.name": "shop-assistant",
        "service.version": "1.4.2",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "deployment.environment.name": "production",
        "host.name": "worker-7f9c",
    }.items():
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "opentelemetry.instrumentation.openai"
    trace_id = parent = b""
    begin = (now or int(time.time())) * 10**9
    for number in range(SPANS):
        if number % 10 == 0:
            trace_id, parent = chance.randbytes(16), b""
        start = begin + chance.randrange(10**9)
        span = scope_spans.spans.add(
            trace_id=trace_id,
            span_id=chance.randbytes(8),
            parent_span_id=parent,
            name="chat gpt-4o-mini",
            kind=WireSpan.SPAN_KIND_CLIENT,
            start_time_unix_nano=start,
            end_time_unix_nano=start + chance.randrange(10**9),
        )
        parent = span.span_id
        fill(span, chance)
    return request.SerializeToString()


def span_ids(content: bytes) -> set[str]:
    request = ExportTraceServiceRequest.FromString(content)
    return {
        span.trace_id.hex() + span.span_id.hex()
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    }


# --- who sends it --------------------------------------------------------------------------


class Senders:
    """Connections that each send one body after the other until they are told to stop."""

    def __init__(
        self,
        url: str,
        key: str,
        bodies: Iterator[bytes],
        connections: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._address = urlsplit(url)
        self._headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/x-protobuf",
            **(headers or {}),
        }
        self._bodies = bodies
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.acknowledged: list[bytes] = []
        self.sent: list[bytes] = []
        self.refused = 0
        self.seconds: list[float] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(connections)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=30
        )
        while not self._stop.is_set():
            with self._lock:
                content = next(self._bodies, None)
                if content is None:
                    return
                self.sent.append(content)
            began = time.perf_counter()
            try:
                connection.request("POST", "/v1/traces", content, self._headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return  # the server was killed
            if answer.status == 200:
                self.acknowledged.append(content)
                self.seconds.append(time.perf_counter() - began)
            else:
                self.refused += 1
                time.sleep(float(answer.headers.get("Retry-After", "1")))


async def prepared(directory: Path) -> str:
    """A database with an organization, and an ingest key of it."""
    clock = SystemClock()
    database = Database(sqlite_url(directory / "platform.sqlite"), clock=clock)
    await migrate(database)
    try:
        async with founded(database, clock, directory) as services:
            tenant = await first_tenant(services)
            shown = await services.identity.api_keys.create(
                tenant.owner,
                NewApiKey(name="bench", permissions=("trace:ingest",), kind=ApiKeyKind.INGEST),
            )
    finally:
        await database.close()
    return shown.text


# --- the rate ------------------------------------------------------------------------------


def rate(platform: RunningPlatform, key: str, *, seconds: float, connections: int) -> Table:
    made = [body(seed) for seed in range(int(WANTED * 2.2 * seconds) // SPANS)]
    warm = Senders(platform.url, key, iter([body(-1), body(-2)]), 1)
    warm.start()
    warm.stop()
    time.sleep(2)
    before = cpu_seconds(platform.process.pid)
    senders = Senders(platform.url, key, iter(made), connections)
    began = time.perf_counter()
    senders.start()
    time.sleep(seconds)
    senders.stop()
    elapsed = time.perf_counter() - began
    until_applied(platform.data)
    readable = time.perf_counter() - began
    cpu = cpu_seconds(platform.process.pid) - before
    spans = len(senders.acknowledged) * SPANS
    times = sorted(senders.seconds)
    table = Table("Ingest: durable spans", ["", "measured", "wanted"])
    table.add("spans a second", f"{spans / elapsed:,.0f}", f"> {WANTED:,}")
    table.add("the same, until all can be read", f"{spans / readable:,.0f}", "")
    table.add("bytes of a span", f"{sum(map(len, senders.acknowledged)) / spans:,.0f}", "2,300")
    table.add("server's CPU, us a span", f"{cpu / spans * 1e6:.1f}", "")
    table.add("answered after, p50 ms", f"{times[len(times) // 2] * 1000:.0f}", "")
    table.add("answered after, p99 ms", f"{times[len(times) * 99 // 100] * 1000:.0f}", "")
    table.add("refused requests", str(senders.refused), "0")
    table.notes.append(f"{connections} connections, {elapsed:.0f} s, {spans:,} spans")
    return table


def steps() -> Table:
    """What each step of the way costs, one thread, nothing else running."""
    bodies = [body(seed) for seed in range(20)]
    table = Table("Ingest: CPU of each step", ["", "us a span"])
    masker, understand, limits = Masker(), Understander(), Limits()

    def measure(name: str, step: Callable[[], object]) -> None:
        step()
        began = time.process_time()
        for _ in range(3):
            step()
        table.add(name, f"{(time.process_time() - began) / (3 * SPANS * len(bodies)) * 1e6:.1f}")

    decoded = [decode(one, Encoding.PROTOBUF, limits).groups[0].spans for one in bodies]
    writes = [[PutSpan(span=span) for span in spans] for spans in decoded]
    entries = [
        encoded_batch(
            organization_id="o",
            project_id="p",
            xact_id=number,
            received_at=1,
            writes=encoded(one)[0][0],
        )
        for number, one in enumerate(writes)
    ]
    measure("decode", lambda: [decode(one, Encoding.PROTOBUF, limits) for one in bodies])
    measure("mask", lambda: [masker.masked(spans, lambda _: ()) for spans in decoded])
    measure("encode", lambda: [encoded(one) for one in writes])
    measure("read the log", lambda: [decoded_batch(entry) for entry in entries])
    measure(
        "understand",
        lambda: [
            understand(
                span,
                organization_id="o",
                project_id="p",
                source=Source.OTLP,
                xact_id=1,
                received_at=1,
            )
            for spans in decoded
            for span in spans
        ],
    )
    return table


# --- crashes -------------------------------------------------------------------------------


def crashes(directory: Path, key: str, kills: int) -> Table:
    """Kill the server while it takes spans; afterwards every acknowledged span is there once."""
    chance = random.Random(7)  # noqa: S311 - no secret
    acknowledged: set[str] = set()
    seeds = iter(range(10**6, 10**9))
    resend: list[bytes] = []
    for _ in range(kills):
        with running_platform(directory) as platform:
            bodies = [*resend, *(body(next(seeds)) for _ in range(60))]
            senders = Senders(platform.url, key, iter(bodies), 6)
            senders.start()
            wanted = chance.randrange(3, 40)
            while len(senders.acknowledged) < wanted and senders.alive():
                time.sleep(0.001)
            platform.process.kill()
            platform.process.wait()
            senders.stop()
        for content in senders.acknowledged:
            acknowledged |= span_ids(content)
        # A sender sends again what was not answered; it may be there already.
        resend = [content for content in senders.sent if content not in senders.acknowledged][:5]
    with running_platform(directory) as platform:
        senders = Senders(platform.url, key, iter([body(1)]), 1)
        senders.start()
        senders.stop()
        acknowledged |= span_ids(body(1))
        until_applied(directory)
    rows = stored(directory)
    table = Table("Ingest: kill -9 while spans come in", ["", "measured", "wanted"])
    table.add("kills", str(kills), "")
    table.add("spans acknowledged", f"{len(acknowledged):,}", "")
    table.add("of them missing", str(len(acknowledged - set(rows))), "0")
    table.add("there more than once", str(len(rows) - len(set(rows))), "0")
    return table


def until_applied(directory: Path) -> None:
    """Wait until the store has everything that the log has."""
    log = directory / "traces" / "log"
    while True:
        end = max(log.glob("*.seg"))
        # There is no mark before the first block is in the store.
        if (log / "mark").exists():
            mark = json.loads((log / "mark").read_bytes())["cursor"]
            if (mark["segment"], mark["offset"]) == (int(end.stem), end.stat().st_size):
                return
        time.sleep(0.2)


def stored(directory: Path) -> list[str]:
    """Every span of the store, as its readers see it."""
    store = open_embedded(directory / "traces" / "store")
    try:
        found = store.select(
            "SELECT concat(trace_id, span_id) FROM spans FINAL", settings={"max_result_rows": 0}
        )
        return [str(row[0]) for row in found.rows]
    finally:
        store.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    print(steps().text())
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "platform"
        directory.mkdir(mode=0o700)
        key = asyncio.run(prepared(directory))
        with running_platform(directory) as platform:
            print(
                rate(platform, key, seconds=options.seconds, connections=options.connections).text()
            )
        if options.kills:
            print(crashes(directory, key, options.kills).text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
