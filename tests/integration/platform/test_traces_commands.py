"""`keylease traces` and `keylease sql`, against a server with spans."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from tests.support.eventually import eventually
from tests.support.furnished import bearer, first_tenant
from tests.support.serving_platform import ServingPlatform, serving_platform
from tests.support.trace_kit import NOW, put, raw_span

from keylease.cli.main import main
from keylease.contracts import span_attributes as names
from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.platform.traces.interfaces import PutSpan

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROOT = "b7ad6b7169203331"
CALL = "00f067aa0ba902b7"
TOOL = "00f067aa0ba902b8"
SECOND = 1_000_000
LARGE = "the beginning " + "and more " * 10_000 + "the end"
Run = Callable[..., str]


def spans() -> list[PutSpan]:
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"fox"}]}]',
        "gen_ai.conversation.id": "talk",
        "user.id": "ada",
    }
    tool = {names.KIND: "tool", names.INPUT: json.dumps(LARGE), names.OUTPUT: '{"found": 3}'}
    shared: dict[str, Any] = {"trace_id": TRACE, "parent_span_id": ROOT}
    return [
        PutSpan(
            span=raw_span(
                trace_id=TRACE, span_id=ROOT, name="answer\x1b[2J", ended_at=NOW + 2 * SECOND
            )
        ),
        PutSpan(
            span=raw_span(
                **shared,
                span_id=CALL,
                name="chat gpt-4o-mini",
                started_at=NOW + 1000,
                ended_at=NOW + SECOND,
                attributes=call,
            )
        ),
        PutSpan(
            span=raw_span(
                **shared,
                span_id=TOOL,
                name="search",
                started_at=NOW + SECOND,
                ended_at=NOW + 2 * SECOND,
                attributes=tool,
            )
        ),
        put(7, name="alone", started_at=NOW - SECOND, ended_at=NOW),
    ]


@dataclass(frozen=True)
class Place:
    platform: ServingPlatform
    key: Path
    project_id: str

    def take(self, *some: PutSpan) -> None:
        services, owner = self.platform.services, self.platform.owner

        async def taken() -> None:
            keeping = await services.traces.keeping()
            xact_id = await keeping.intake.take(owner.organization_id, self.project_id, some)
            await keeping.intake.settled(xact_id)

        self.platform.do(taken)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("traces")
    with serving_platform(directory / "platform") as platform:

        async def signed_in() -> str:
            services = platform.services
            return (await bearer(services, await first_tenant(services))).removeprefix("Bearer ")

        key = directory / "key"
        key.write_text(platform.do(signed_in))
        shown = Place(platform, key, project_of(platform))
        shown.take(*spans())
        yield shown


def project_of(platform: ServingPlatform) -> str:
    async def made() -> str:
        projects = await platform.services.traces.projects.all_of(platform.owner.organization_id)
        return projects[0]

    return platform.do(made)


@pytest.fixture
def run(place: Place, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str, status: int = 0) -> str:
        got = main([*arguments, "--server", place.platform.url, "--api-key-file", str(place.key)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured.out + captured.err

    return command


def ingest_key(place: Place) -> str:
    wish = NewApiKey(name="program", permissions=("trace:ingest",), kind=ApiKeyKind.INGEST)
    api_keys = place.platform.services.identity.api_keys
    return place.platform.do(lambda: api_keys.create(place.platform.owner, wish)).text


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_lists_show_what_was_sent(run: Run) -> None:
    table = run("traces", "list", 'name = "alone" or kind = llm')
    assert table.splitlines()[0].split()[:2] == ["BEGAN", "NAME"]
    assert "answer?[2J" in table  # foreign text does not clear the screen
    assert "100+10" in table
    (line,) = lines(run("traces", "list", "--spans", "kind = llm", "--ndjson"))
    assert (line["span_id"], line["input_tokens"]) == (CALL, 100)
    longest = json.loads(
        run("traces", "list", "--spans", "--sort", "duration", "--json", "-n", "1")
    )
    assert [one["span_id"] for one in longest] == [ROOT]
    assert "talk" in run("traces", "list", "--sessions")
    assert run("traces", "list", 'name = "nobody"') == "No trace matches.\n"
    assert "1" in run("traces", "sum", "--by", "model", "kind = llm")
    assert "gpt-4o-mini" in run("traces", "sum", "--by", "model")


GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "tracing-python.md"


def test_what_the_program_of_the_guide_records_is_found_again(
    run: Run, place: Place, tmp_path: Path
) -> None:
    program = GUIDE.read_text().split("```python\n")[1].partition("```")[0]
    environment = {**os.environ, "KEYLEASE_CONFIG_DIR": str(tmp_path)}
    environment |= {"KEYLEASE_API_KEY": ingest_key(place)}
    environment |= {"KEYLEASE_SERVER_URL": place.platform.url}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert ran.stdout == b"I found 2 pages.\none two three\n"

    found: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    while len(found) < 3 and time.monotonic() < deadline:
        listed = lines(run("traces", "list", "--spans", 'service = "shop"', "--ndjson"))
        found = {line["name"]: line for line in listed}
    answer, search, words = (found[name] for name in ("answer", "search", "words"))
    assert [line["kind"] for line in (answer, search, words)] == ["agent", "retrieval", "function"]
    assert search["parent_span_id"] == answer["span_id"]
    assert answer["environment"] == "development"
    whole = json.loads(run("traces", "show", answer["trace_id"], answer["span_id"], "--json"))
    assert whole["input"] == '{"question":"When do you deliver?"}'  # and no password
    assert whole["output"] == '"I found 2 pages."'
    assert json.loads(whole["metadata"]) == {"team": "search"}
    assert words["output_preview"] == "onetwothree"
    assert "function" in run("traces", "sum", "--by", "kind", "--step", "hour")


def test_a_wrong_filter_is_pointed_at(run: Run) -> None:
    said = run("traces", "list", "name = answer and dration > 2s", status=1).splitlines()
    assert said[1:3] == ["  name = answer and dration > 2s", "                    ^"]
    said = run("sql", "SELECT name FROM\n  url('http://x')", status=1).splitlines()
    assert "^" in said[2]
    assert said[1] == "    url('http://x')"


def test_a_trace_is_a_tree_and_a_span_is_whole(run: Run) -> None:
    tree = run("traces", "show", TRACE).splitlines()
    assert tree[0].startswith(f"trace {TRACE}: 3 spans, no errors, 2.00s, 100+10 tokens, $0.")
    assert tree[2].startswith("answer")
    assert tree[3].startswith(("├─ chat gpt-4o-mini", "|- chat gpt-4o-mini"))
    assert tree[4].startswith(("└─ search", "`- search"))
    whole = json.loads(run("traces", "show", TRACE, "--json"))
    assert [span["span_id"] for span in whole["spans"]] == [ROOT, CALL, TOOL]
    few = run("traces", "show", TRACE, "--limit", "1")
    assert "2 more" in few
    span = run("traces", "show", TRACE, TOOL)
    assert "the beginning" in span
    assert "the end" not in span
    assert "`--payloads` shows all of it" in span
    assert "the end" in run("traces", "show", TRACE, TOOL, "--payloads")
    told = run("traces", "show", TRACE, "--payloads")
    assert "fox" in told
    assert "the end" in told


def test_what_is_said_has_a_history(run: Run) -> None:
    run(
        *("traces", "annotate", TRACE, CALL, "--score", "quality=0.5", "--tag", "wrong"),
        *("--metadata", 'reviewed={"by": "ada"}', "--expected", "42", "--comment", "No."),
    )
    span = json.loads(run("traces", "show", TRACE, CALL, "--json"))
    assert (span["scores"], span["tags"], span["expected"]) == ({"quality": 0.5}, ["wrong"], "42")
    assert json.loads(span["metadata"]) == {"reviewed": {"by": "ada"}}
    run("traces", "annotate", TRACE, CALL, "--score", "quality=", "--tag", "")
    newest, *_, sent = json.loads(run("traces", "history", TRACE, CALL, "--json"))
    assert (newest["span"]["scores"], newest["span"]["tags"]) == ({}, [])
    assert sent["changed_by"] == ""
    assert "as it was sent" in run("traces", "history", TRACE, CALL)
    late = ("traces", "annotate", TRACE, CALL, "--comment", "x", "--if-version", sent["xact_id"])
    assert "the request changes version" in run(*late, status=1)
    old = json.loads(run("traces", "show", TRACE, CALL, "--json", "--at", sent["xact_id"]))
    assert old["expected"] == ""
    # without a span it is about the root
    run("traces", "annotate", TRACE, "--comment", "All of it.")
    assert "All of it." in run("traces", "history", TRACE, ROOT)
    assert "Nothing is said" in run("traces", "annotate", TRACE, status=64)
    assert "no number" in run("traces", "annotate", TRACE, "--score", "quality=good", status=64)


def test_sql_answers_as_a_table_and_as_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    statement = "SELECT name, input_tokens AS tokens FROM spans WHERE kind = {kind:String}"
    table = run("sql", statement, "--param", "kind=llm")
    assert table.splitlines()[0].split() == ["name", "tokens"]
    assert "100" in table
    (row,) = lines(run("sql", statement, "--param", "kind=llm", "--ndjson", "--all-projects"))
    assert row == {"name": "chat gpt-4o-mini", "tokens": 100}
    assert "ReadFrom" in run("sql", statement, "--param", "kind=llm", "--explain")
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 1 AS one FROM spans LIMIT 1"))
    assert json.loads(run("sql", "--json")) == [{"one": 1}]
    cut = run("sql", "SELECT trace_id FROM spans LIMIT 1")
    assert "warning" not in cut


def test_settings_are_shown_and_changed(run: Run, tmp_path: Path) -> None:
    before = json.loads(run("traces", "settings", "--json"))["wishes"]
    try:
        changed = run(
            *("traces", "settings", "--retention", "30", "--mask", "email", "--mask", "iban"),
            *("--mask-own", "order=ORD-[0-9]{6}", "--price", "our-model*=0.15/0.60"),
        )
        for part in ("30 days", "email, iban", "order: ORD-[0-9]{6}", "$0.150000 in, $0.600000"):
            assert part in changed
        kept = json.loads(run("traces", "settings", "--retention", "forever", "--json"))["wishes"]
        assert kept["retention_days"] is None
        assert kept["personal_data"]["kinds"] == ["email", "iban"]
        assert "secrets only" in run("traces", "settings", "--mask", "")
        assert "number of days" in run("traces", "settings", "--retention", "long", status=64)
        assert "no price" in run("traces", "settings", "--price", "x=cheap", status=64)
    finally:
        file = tmp_path / "wishes.json"
        file.write_bytes(msgspec.json.encode(before))
        after = json.loads(run("traces", "settings", "--file", str(file), "--json"))["wishes"]
    assert after == before


def test_spans_become_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "spans.parquet"
    run("traces", "export", str(file), "--since", "2020-01-01", "--until", "2030-01-01")
    table = pq.read_table(file)
    assert "chat gpt-4o-mini" in table.column("name").to_pylist()
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    run("traces", "export", str(tmp_path / "no" / "where"), status=1)


def test_what_is_deleted_is_gone(run: Run, place: Place) -> None:
    place.take(
        put(20, name="gone"),
        put(21, name="hers", attributes={"user.id": "eve", "gen_ai.operation.name": "chat"}),
    )
    trace, span = f"{20:032x}", f"{20:016x}"
    assert "confirmation" in run("traces", "delete", trace, status=64)
    assert "Name a TRACE" in run("traces", "delete", status=64)
    run("traces", "delete", trace, span, "--yes")
    run("traces", "show", trace, status=1)
    run("traces", "delete", "--user", "eve", "--yes")
    run("traces", "show", f"{21:032x}", status=1)
    assert "Name a TRACE" in run("traces", "delete", "--user", "eve", "--everything", status=64)


def test_projects_are_named(run: Run, place: Place) -> None:
    assert "alone" in run("traces", "list", "--project", place.project_id)
    assert "no project with this name" in run("traces", "list", "--project", "moon", status=64)
    assert "open" in run("traces", "store")


def test_a_tail_goes_on_with_new_spans(place: Place) -> None:
    told = [sys.executable, "-m", "keylease", "traces", "tail", 'name in ("old", "new")']
    told += ["--ndjson", "--server", place.platform.url, "--api-key-file", str(place.key)]
    place.take(put(30, name="old", started_at=NOW + 60 * SECOND))
    with subprocess.Popen(told, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["name"] == "old"
            asyncio.run(eventually(lambda: place.platform.services.traces.tail.listeners == 1))
            place.take(put(31, name="other"), put(32, name="new"))
            assert json.loads(process.stdout.readline())["name"] == "new"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (b"", b"")
            assert process.returncode == 130
        finally:
            process.kill()


def test_a_tail_without_following_ends(run: Run) -> None:
    assert "alone" in run("traces", "tail", 'name = "alone"', "--no-follow")
