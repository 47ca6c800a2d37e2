"""Ingest beside Phoenix and MLflow, kills, and what a project of a million spans answers.

    python bench/traces/run.py [--quick] [--only ingest,kills,queries] [--keep] [--write]

Loopback only; the same bodies of 100 spans of about 2.3 KB for everybody, sent by connections that
each wait for their answer. A span counts when it is persisted: for us when it is acknowledged,
which is after an fsync; for the others when their database has it. A rival that is not installed is
"not measured": ``python bench/traces/rivals.py install``. Questions go to the API of a real server,
by a client that reads the whole answer.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import http.client
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2]))

from rivals import RIVALS, Rival
from tests.support.furnished import bearer, client, first_tenant, founded
from tests.support.platform_process import RunningPlatform, running_platform

import processes
import report
import traces_corpus
import traces_ingest
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.primitives.clock import SystemClock
from report import ABSENT, Table, number

BENCH = Path(__file__).parents[1]
PAGE = BENCH.parent / "docs" / "reference" / "performance.md"
KEPT = BENCH.parent / "build" / "bench" / "traces-api"
BEGIN, END = "<!-- traces measured: begin -->", "<!-- traces measured: end -->"
WANTED_RATE = 10_000
WANTED_RATIO = 15
MOST_MEMORY = 700
MOST_DISK = 0.5
WARM = 10**9
"""A seed that no measured body has."""
STALLED_SECONDS = 30.0
"""For so long nothing more may be persisted before the rest counts as lost."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float = 15.0
    connections: int = 8
    rival_spans: int = 10_000
    kills: int = 20
    rows: int = 1_000_000
    times: int = 30


QUICK = Plan(seconds=3.0, rival_spans=1_000, kills=2, rows=40_000, times=5)


@dataclasses.dataclass(frozen=True)
class Rate:
    """What one subject did."""

    acknowledged: float
    """Spans a second."""
    persisted: float
    """Spans a second until the last was persisted."""
    lost: int
    """Acknowledged, and not there in the end."""
    memory: float
    """MB of its processes."""
    cpu: float
    """Microseconds a span."""


# --- ingest --------------------------------------------------------------------------------


def our_rate(plan: Plan, directory: Path) -> Rate:
    """Durable spans of ours; read back afterwards."""
    key = asyncio.run(traces_ingest.prepared(directory))
    count = int(WANTED_RATE * 2.5 * plan.seconds) // traces_ingest.SPANS
    bodies = [traces_ingest.body(seed) for seed in range(count)]
    with running_platform(directory) as platform:
        warm = traces_ingest.Senders(platform.url, key, iter([traces_ingest.body(WARM)]), 1)
        warm.start()
        warm.stop()
        cpu = processes.cpu_seconds(platform.process.pid)
        senders = traces_ingest.Senders(platform.url, key, iter(bodies), plan.connections)
        began = time.perf_counter()
        senders.start()
        end = began + plan.seconds
        while senders.alive() and time.perf_counter() < end:
            time.sleep(0.01)
        senders.stop()
        elapsed = time.perf_counter() - began
        traces_ingest.until_applied(directory)
        cpu = processes.cpu_seconds(platform.process.pid) - cpu
        memory = sum(processes.resident_mb(platform.process.pid).values())
    spans = len(senders.acknowledged) * traces_ingest.SPANS
    rows = set(traces_ingest.stored(directory))
    sent = {span for content in senders.acknowledged for span in traces_ingest.span_ids(content)}
    return Rate(spans / elapsed, spans / elapsed, len(sent - rows), memory, cpu / spans * 1e6)


def rival_rate(rival: Rival, plan: Plan, directory: Path) -> Rate:
    """Spans of a rival, counted in its database."""
    port = processes.free_port()
    process = rival.start(directory, port)
    try:
        url = f"http://127.0.0.1:{port}"
        warm = send(rival, url, [traces_ingest.body(WARM)])
        before = until_persisted(rival, directory, len(warm.acknowledged) * traces_ingest.SPANS)
        count = plan.rival_spans // traces_ingest.SPANS
        bodies = [traces_ingest.body(seed) for seed in range(count)]
        cpu = processes.cpu_seconds(process.pid)
        began = time.perf_counter()
        senders = send(rival, url, bodies, connections=plan.connections)
        elapsed = time.perf_counter() - began
        spans = len(senders.acknowledged) * traces_ingest.SPANS
        if not spans:
            raise RuntimeError("it acknowledged no span")
        there = until_persisted(rival, directory, before[0] + spans)
        cpu = processes.cpu_seconds(process.pid) - cpu
        persisted = there[0] - before[0]
        memory = sum(processes.resident_mb(process.pid).values())
    finally:
        processes.stop(process)
    until = there[1] - began
    return Rate(spans / elapsed, persisted / until, spans - persisted, memory, cpu / spans * 1e6)


def send(
    rival: Rival, url: str, bodies: list[bytes], *, connections: int = 1
) -> traces_ingest.Senders:
    senders = traces_ingest.Senders(url, "none", iter(bodies), connections, rival.headers)
    senders.start()
    while senders.alive():
        time.sleep(0.01)
    senders.stop()
    return senders


def until_persisted(rival: Rival, directory: Path, wanted: int) -> tuple[int, float]:
    """Wait for so many rows, as long as they become more: how many, and when the last came."""
    count, changed = 0, time.perf_counter()
    while count < wanted and time.perf_counter() - changed < STALLED_SECONDS:
        if (found := rival.persisted(directory)) != count:
            count, changed = found, time.perf_counter()
        time.sleep(0.2)
    return count, changed


def ingest(plan: Plan, scratch: Path, goals: Table) -> Table:
    table = Table(
        "Traces: spans of 2.3 KB, 100 in a request",
        ("", "persisted/s", "acknowledged/s", "lost", "CPU us/span", "RSS MB", "ratio"),
    )
    ours = our_rate(plan, made(scratch / "keylease"))
    best = 0.0
    rows: list[tuple[str, Rate]] = [("Keylease", ours)]
    for rival in RIVALS.values():
        if not rival.installed():
            hint = f"python bench/traces/rivals.py install {rival.name}"
            table.notes.append(f"{rival.title}: not measured ({hint})")
            continue
        try:
            rate = rival_rate(rival, plan, made(scratch / rival.name))
        except (OSError, RuntimeError) as error:
            table.notes.append(f"{rival.title}: not measured ({error})")
            continue
        rows.append((f"{rival.title} {rival.version()}", rate))
        best = max(best, rate.persisted)
    for name, rate in rows:
        table.add(
            name,
            number(rate.persisted, 0),
            number(rate.acknowledged, 0),
            str(rate.lost),
            number(rate.cpu, 0),
            number(rate.memory, 0),
            ABSENT if rate is ours else number(ours.persisted / rate.persisted, 1),
        )
    table.notes.append("ratio: what Keylease persists over what it persists")
    table.notes.append("only Keylease masks what looks like a secret, and demands a key")
    goal(
        goals,
        "durable spans/s",
        f"at least {WANTED_RATE:,}",
        number(ours.persisted, 0),
        reached=ours.persisted >= WANTED_RATE and not ours.lost,
    )
    ratio = ours.persisted / best if best else None
    goal(
        goals,
        "over the better of Phoenix and MLflow",
        f"at least {WANTED_RATIO}",
        number(ratio, 1),
        reached=None if ratio is None else ratio >= WANTED_RATIO,
    )
    return table


# --- questions -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Filled:
    """A server's directory with a corpus, and how to ask it."""

    organization: str
    big: str
    small: str
    key: str
    raw: int = 0
    """Bytes of the corpus's values."""


async def furnished(directory: Path) -> Filled:
    """A platform with two projects and a key that may read them."""
    clock = SystemClock()
    database = Database(sqlite_url(directory / "platform.sqlite"), clock=clock)
    await migrate(database)
    try:
        async with founded(database, clock, directory) as services:
            tenant = await first_tenant(services)
            async with client(services, await bearer(services, tenant)) as api:
                ids = [
                    (await api.post("/v1/projects", json={"name": name})).json()["id"]
                    for name in ("big", "small")
                ]
            shown = await services.identity.api_keys.create(
                tenant.owner, NewApiKey(name="bench", permissions=("trace:read",))
            )
    finally:
        await database.close()
    return Filled(tenant.organization_id, ids[0], ids[1], shown.text)


def fill(directory: Path, rows: int) -> None:
    """In a process of its own, which the engine is alone in: write the corpus."""
    filled = asyncio.run(furnished(directory))
    traces_corpus.ORGANIZATION = filled.organization
    traces_corpus.BIG, traces_corpus.SMALL = filled.big, filled.small
    (directory / "traces").mkdir(mode=0o700, exist_ok=True)
    store = traces_corpus.open_embedded(directory / "traces" / "store")
    raw = traces_corpus.fill(store, rows)
    questions = traces_corpus.Questions(store)
    traces = [next(questions.traces) for _ in range(50)]
    store.close()
    known = dataclasses.asdict(dataclasses.replace(filled, raw=raw)) | {"traces": traces}
    (directory / "filled.json").write_text(json.dumps(known))


class Asker:
    """One connection that asks the API."""

    def __init__(self, platform: RunningPlatform, key: str) -> None:
        address = urlsplit(platform.url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=120
        )
        self._headers = {"authorization": f"Bearer {key}"}

    def ask(self, path: str, **query: object) -> Any:  # noqa: ANN401 - JSON
        target = f"{path}?{urlencode(query)}" if query else path
        self._connection.request("GET", target, headers=self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{target}: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def median(self, times: int, ask: Any) -> tuple[float, float]:  # noqa: ANN401 - a callable
        """Milliseconds: the median and the slowest, after a first time."""
        ask()
        walls = []
        for _ in range(times):
            began = time.perf_counter()
            ask()
            walls.append((time.perf_counter() - began) * 1000)
        return statistics.median(walls), max(walls)


def queries(plan: Plan, directory: Path, goals: Table) -> Table:
    known = json.loads((directory / "filled.json").read_text())
    words = traces_corpus.Words().words
    chance = random.Random(3)  # noqa: S311 - no secret
    table = Table(
        f"Traces: questions to the API with {plan.rows:,} spans",
        ("", "p50 ms", "slowest ms", "wanted p50 ms"),
    )
    with running_platform(directory) as platform:
        asker = Asker(platform, known["key"])
        base = f"/v1/projects/{known['big']}"
        wide = f"{base}/traces/{traces_corpus.WIDE_TRACE}"
        questions = {
            "newest 50 spans of a project": (lambda: asker.ask(f"{base}/spans", limit=50), 30),
            "newest 50 traces of a project": (lambda: asker.ask(f"{base}/traces", limit=50), None),
            "a trace by its identifier": (
                lambda: asker.ask(f"{base}/traces/{chance.choice(known['traces'])}"),
                40,
            ),
            "a frequent word": (lambda: search(asker, base, words[60]), 60),
            "a rare word": (lambda: search(asker, base, words[-200]), 60),
            "a project by hours": (lambda: hours(asker, base, plan.rows), 100),
            "first screen of 33,000 spans": (lambda: asker.ask(wide), 300),
        }
        for name, (question, wanted) in questions.items():
            median, slowest = asker.median(plan.times, question)
            table.add(name, number(median, 1), number(slowest, 1), str(wanted or ""))
            if wanted:
                reached = median < wanted
                goal(goals, f"{name}, ms", f"under {wanted}", number(median, 1), reached=reached)
        memory = sum(processes.resident_mb(platform.process.pid).values())
    disk = sum(file.stat().st_size for file in (directory / "traces").rglob("*") if file.is_file())
    table.notes.append(
        f"raw size {known['raw'] / plan.rows:,.0f} bytes a span, on disk {disk / plan.rows:,.0f}"
    )
    goal(
        goals,
        "server's memory then, MB",
        f"under {MOST_MEMORY}",
        number(memory, 0),
        reached=memory < MOST_MEMORY,
    )
    part = disk / known["raw"]
    goal(
        goals,
        "disk, part of the raw size",
        f"under {MOST_DISK}",
        number(part),
        reached=part < MOST_DISK,
    )
    return table


def search(asker: Asker, base: str, word: str) -> object:
    return asker.ask(f"{base}/spans", filter=f'text:"{word}"', limit=50)


def hours(asker: Asker, base: str, rows: int) -> object:
    days = math.ceil(rows / traces_corpus.SPANS_A_DAY)
    since = traces_corpus.START
    until = since + days * traces_corpus.A_DAY
    return asker.ask(f"{base}/trace-sums", bucket="hour", since=since, until=until)


# --- together ------------------------------------------------------------------------------


def goal(goals: Table, what: str, wanted: str, measured: str, *, reached: bool | None) -> None:
    word = "not measured" if reached is None else "yes" if reached else "no"
    goals.add(what, wanted, measured, word)


def made(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True)
    return directory


def corpus(plan: Plan, *, keep: bool) -> Path:
    if not (keep and (KEPT / "filled.json").exists()):
        shutil.rmtree(KEPT, ignore_errors=True)
        made(KEPT)
        command = [sys.executable, __file__, "--fill", str(KEPT), "--rows", str(plan.rows)]
        subprocess.run(command, check=True)
    return KEPT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--only", default="ingest,kills,queries")
    parser.add_argument("--rows", type=int, help="spans of the corpus")
    parser.add_argument("--keep", action="store_true", help="ask the corpus of the last time")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    plan = QUICK if options.quick else Plan()
    if options.rows:
        plan = dataclasses.replace(plan, rows=options.rows)
    if options.fill:
        fill(options.fill, plan.rows)
        return 0
    goals = Table("Traces: goals", ("goal", "wanted", "measured", "reached"))
    about, tables = report.machine(), []

    def show(table: Table) -> None:
        tables.append(table)
        print(f"\n{table.text()}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        scratch, only = Path(folder), options.only.split(",")
        if "queries" in only:
            # First, and while no store is open in this process: the corpus is made by a child.
            show(queries(plan, corpus(plan, keep=options.keep), goals))
        if "ingest" in only:
            show(ingest(plan, scratch, goals))
        if "kills" in only:
            directory = made(scratch / "killed")
            key = asyncio.run(traces_ingest.prepared(directory))
            killed = traces_ingest.crashes(directory, key, plan.kills)
            show(killed)
            missing, twice = (killed.rows[at][1] for at in (2, 3))
            goal(
                goals,
                f"{plan.kills} kills: acknowledged and missing; there twice",
                "0; 0",
                f"{missing}; {twice}",
                reached=(missing, twice) == ("0", "0"),
            )
    if goals.rows:
        show(goals)
    if options.write:
        lines = [f"Measured {about[0]} on {'; '.join(about[1:])}.", ""]
        report.write_section(
            PAGE, "\n".join(lines + [table.markdown() for table in tables]), begin=BEGIN, end=END
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
