"""A trace store of one million spans of about 3.2 KB, and how long it takes to ask it.

    .venv-dev/bin/python bench/traces_corpus.py --rows 1000000 [--directory build/bench/traces]

Two projects, one with nine tenths of the spans, and one trace of 33,000 spans in it. Texts are
words drawn by Zipf's law, so that they compress about as prose does, and searches meet frequent
and rare words. Rows go into the tables as the writer's do, in blocks of 10,000.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from keylease.platform.traces.model import PREVIEW, Span, SpanKind, Status
from keylease.platform.traces.store import states
from keylease.platform.traces.store.columns import KEY_COLUMNS, columns_of, kind_of, spans_table
from keylease.platform.traces.store.store import TraceStore, open_embedded

ORGANIZATION = "01900000-0000-7000-8000-000000000001"
BIG = "01900000-0000-7000-8000-0000000000b1"
SMALL = "01900000-0000-7000-8000-0000000000a1"
WIDE_TRACE = "f" * 32
WIDE_SPANS = 33_000
BLOCK = 10_000
START = 1_790_000_000_000_000
A_DAY = 86_400_000_000
SPANS_A_DAY = 250_000
MODELS = ("gpt-5-mini", "claude-sonnet-5", "gpt-5", "gemini-3-flash")
SYLLABLES = [
    *("ka", "lo", "mi", "re", "sta", "ver", "ton", "ing", "ed", "ex", "pro", "con", "al", "ter"),
    *("na", "shi", "qui", "bra", "fu", "ge", "hol", "jun", "kre", "pli"),
]


class Words:
    """Texts; the same for the same seed."""

    def __init__(self, seed: int = 7) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        drawn = {
            "".join(self.random.choice(SYLLABLES) for _ in range(self.random.randint(1, 4)))
            for _ in range(40_000)
        }
        self.words = sorted(drawn)
        self.random.shuffle(self.words)
        weights = (1 / (rank + 3) for rank in range(len(self.words)))
        self._weights = list(itertools.accumulate(weights))
        self._sentences = [self._draw(12) for _ in range(20_000)]

    def text(self, length: int) -> str:
        """About ``length`` characters: sentences, every third of them new words."""
        parts, size = [], 0
        while size < length:
            if self.random.random() < 0.33:
                part = self._draw(12)
            else:
                part = self._sentences[int(self.random.random() * 20_000)]
            parts.append(part)
            size += len(part) + 2
        return ". ".join(parts)[:length]

    def _draw(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self._weights, k=count))


def spans(rows: int, words: Words) -> Iterator[list[Span]]:
    """Blocks of rows, oldest first."""
    step = A_DAY // SPANS_A_DAY
    at, made, block = START, 0, 0
    wide_at = rows // BLOCK // 2
    while made < rows:
        project = SMALL if block % 10 == 9 else BIG
        wide = block == wide_at
        size = min(WIDE_SPANS, rows - made) if wide else min(BLOCK, rows - made)
        batch: list[Span] = []
        while len(batch) < size:
            count = size if wide else words.random.randint(3, 12)
            trace = WIDE_TRACE if wide else f"{words.random.getrandbits(128):032x}"
            for number in range(min(count, size - len(batch))):
                at += step
                batch.append(_span(words, project, trace, number, at))
        yield batch
        made += len(batch)
        block += 1


def _span(words: Words, project: str, trace: str, number: int, at: int) -> Span:
    draw = words.random
    kind = (
        SpanKind.AGENT if number == 0 else draw.choice((SpanKind.LLM, SpanKind.LLM, SpanKind.TOOL))
    )
    model = draw.choice(MODELS) if kind is SpanKind.LLM else ""
    asked = json.dumps([{"role": "user", "content": words.text(880)}])
    answered = json.dumps([{"role": "assistant", "content": words.text(420)}])
    duration = int(draw.lognormvariate(13, 1))
    return Span(
        organization_id=ORGANIZATION,
        project_id=project,
        trace_id=trace,
        span_id=f"{draw.getrandbits(64):016x}",
        parent_span_id="" if number == 0 else f"{number // 8:016x}",
        xact_id=at * 1000,
        created_at=at,
        sort_at=at,
        name=f"chat {model}" if model else f"{kind.value} step",
        kind=kind,
        status=Status.ERROR if draw.random() < 0.03 else Status.OK,
        started_at=at,
        ended_at=at + duration,
        duration=duration,
        service=f"service-{draw.randrange(6)}",
        environment="production",
        scope="openinference",
        input=asked,
        output=answered,
        input_preview=asked[:PREVIEW],
        output_preview=answered[:PREVIEW],
        model=model,
        requested_model=model,
        provider="openai" if model else "",
        input_tokens=draw.randint(50, 3000) if model else None,
        output_tokens=draw.randint(5, 900) if model else None,
        cost=draw.randint(10, 90_000) if model else None,
        price_version="genai-prices" if model else "",
        session_id=f"session-{draw.randrange(20_000)}",
        user_id=f"user-{draw.randrange(5_000)}",
        metadata=json.dumps({"customer": f"c{draw.randrange(300)}", "region": "eu"}),
        attributes={
            "gen_ai.operation.name": '"chat"',
            "gen_ai.request.model": json.dumps(model),
            "gen_ai.usage.input_tokens": "812",
            "app.customer": f'"c{draw.randrange(300)}"',
            "app.build": f'"{draw.getrandbits(32):08x}"',
            "http.route": '"/v1/chat"',
            "app.note": json.dumps(words.text(300)),
        },
        resource={"service.name": '"app"', "host.name": '"host-1"'},
    )


def fill(store: TraceStore, rows: int) -> int:
    """Write the corpus; gives its raw size in bytes: what the values of its columns take."""
    words, raw, done, started = Words(), 0, 0, time.monotonic()
    writing = 0.0
    for block in spans(rows, words):
        table = spans_table(block)
        raw += sum(_value_bytes(table[name]) for name in table.column_names)
        begun = time.monotonic()
        store.engine.insert(store.layout.table("spans"), table)
        keys = [
            (*(getattr(span, name) for name in KEY_COLUMNS[:-1]), states.digest_of(span))
            for span in block
        ]
        kinds = {"digest": kind_of("digest_bytes")}
        store.engine.insert(
            store.layout.table("span_keys"), columns_of(KEY_COLUMNS, keys, kinds=kinds)
        )
        writing += time.monotonic() - begun
        done += len(block)
        if done % 100_000 < BLOCK:
            spent = time.monotonic() - started
            print(f"{done:>9,} rows, {done / writing:,.0f} rows/s, {spent:.0f} s", flush=True)
    return raw


def _value_bytes(column: pa.ChunkedArray) -> int:
    return sum(chunk.nbytes for chunk in column.chunks)


def resident() -> float:
    """Megabytes of memory that are this process's own, without files that are mapped into it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon",))) / 1024


def ask(store: TraceStore, times: int) -> list[tuple[str, float, float, float]]:
    """Each question with its median, its slowest answer and its CPU time, in milliseconds."""
    answers = []
    for name, question in Questions(store).all().items():
        question()
        walls, cpu = [], time.process_time()
        for _ in range(times):
            begun = time.perf_counter()
            question()
            walls.append((time.perf_counter() - begun) * 1000)
        used = (time.process_time() - cpu) / times * 1000
        answers.append((name, statistics.median(walls), max(walls), used))
    return answers


PARTS = {
    "whose": "organization_id = {organization_id:String} AND project_id = {project_id:String}",
    "light": "trace_id, span_id, parent_span_id, name, kind, status, sort_at, started_at, duration,"
    " service, model, input_preview, output_preview, input_tokens, output_tokens, cost, session_id,"
    " user_id, tags, scores",
}
LAST_MINUTE = """
    SELECT min(m) FROM (
      SELECT toUnixTimestamp(toStartOfMinute(sort_at)) AS m FROM spans PREWHERE @whose
      ORDER BY toStartOfMinute(sort_at) DESC LIMIT 100)
"""
NEWEST = """
    SELECT @light FROM spans FINAL
    PREWHERE @whose AND sort_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
    ORDER BY sort_at DESC LIMIT 50
"""
SOME_TRACES = """
    SELECT trace_id FROM spans PREWHERE @whose ORDER BY trace_hash LIMIT 50
"""
WITH_WORD = """
    SELECT toUnixTimestamp(toStartOfMinute(sort_at)) AS minute, trace_hash AS hash,
      span_id FROM spans PREWHERE @whose
    WHERE hasAllTokens(searched, {word:String}) ORDER BY sort_at DESC LIMIT 50
"""
STILL_WITH_WORD = """
    SELECT @light FROM spans FINAL
    PREWHERE @whose AND toStartOfMinute(sort_at) IN {minutes:Array(DateTime('UTC'))}
      AND trace_hash IN {hashes:Array(UInt64)}
      AND span_id IN {spans:Array(String)}
    WHERE hasAllTokens(searched, {word:String}) ORDER BY sort_at DESC LIMIT 50
"""
HOURLY = """
    SELECT toStartOfHour(sort_at) AS hour, count(), countIf(status = 'error'),
      quantiles(0.5, 0.9, 0.99)(duration), sum(input_tokens), sum(cost)
    FROM spans FINAL PREWHERE @whose GROUP BY hour ORDER BY hour
"""


class Questions:
    """What people ask, in the statements that docs/design/traces.md recommends."""

    def __init__(self, store: TraceStore) -> None:
        self.store = store
        self.owner: dict[str, object] = {"organization_id": ORGANIZATION, "project_id": BIG}
        self.traces = itertools.cycle([str(row[0]) for row in self._select(SOME_TRACES)])

    def all(self) -> dict[str, Callable[[], object]]:
        words, reader = Words().words, self.store.reader
        light = PARTS["light"].split(", ")
        return {
            "newest 50 of a project": self.newest,
            "a trace by its identifier": lambda: reader.trace(
                ORGANIZATION, BIG, next(self.traces), columns=light
            ),
            "a frequent word": lambda: self.search(words[60]),
            "a rare word": lambda: self.search(words[-200]),
            "a project by hours": lambda: self._select(HOURLY),
            "33,000 spans of a trace": lambda: reader.trace(ORGANIZATION, BIG, WIDE_TRACE),
        }

    def newest(self) -> object:
        few = {"max_threads": 1, "max_block_size": 1024}
        minute = self._select(LAST_MINUTE, settings=few)[0][0]
        return self._select(NEWEST, since=int(str(minute)) * 1_000_000)

    def search(self, word: str) -> object:
        found = self._select(WITH_WORD, word=word)
        return self._select(
            STILL_WITH_WORD,
            word=word,
            minutes=sorted({int(str(row[0])) for row in found}),
            hashes=[row[1] for row in found],
            spans=[row[2] for row in found],
        )

    def _select(
        self, sql: str, *, settings: Mapping[str, object] | None = None, **values: object
    ) -> Sequence[tuple[object, ...]]:
        text = self.store.layout.sql(sql, **PARTS)
        return self.store.select(text, self.owner | values, settings=settings).rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=Path("build/bench/traces"))
    parser.add_argument("--keep", action="store_true", help="ask a store that was filled before")
    chosen = parser.parse_args()
    raw_file = chosen.directory / "raw"
    if not chosen.keep:
        shutil.rmtree(chosen.directory, ignore_errors=True)
        chosen.directory.mkdir(parents=True)
    store = open_embedded(chosen.directory / "store")
    if not chosen.keep:
        raw_file.write_text(str(fill(store, chosen.rows)))
        store.close()
        store = open_embedded(chosen.directory / "store")
    raw = int(raw_file.read_text())
    rows, disk = store.select(
        "SELECT sumIf(rows, table = 'spans'), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = 'keylease'"
    ).rows[0]
    for name, median, slowest, cpu in ask(store, chosen.times):
        print(f"{name:28s} p50 {median:7.1f} ms   slowest {slowest:7.1f} ms   CPU {cpu:7.1f} ms")
    count = int(str(rows))
    kept = int(str(disk)) / raw
    print(f"{count:,} rows, raw {raw / count:,.0f} bytes each, on disk {kept:.0%} of that")
    print(f"{resident():.0f} MB resident")
    store.close()


if __name__ == "__main__":
    main()
