"""Setting tracing up: who is let through, what is sent where, and clients that join a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.collector import running_collector

import keylease.tracing
from keylease.errors import InputInvalid, NotSignedIn, SettingsInvalid
from keylease.sdk.tracing import setup
from keylease.sdk.tracing.propagation import propagate
from keylease.sdk.tracing.setup import Destination, start

KEY = "kl_ing_" + "x" * 20
HERE = "http://127.0.0.1:1"


def to(server: str = HERE, key: str = KEY, project: str = "") -> Destination:
    return Destination(server=server, api_key=key, project=project)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[TracerProvider]]:
    """No provider is set up, and those that a test sets up end with it."""
    providers: list[TracerProvider] = []
    monkeypatch.setattr(
        trace, "get_tracer_provider", lambda: providers[-1] if providers else object()
    )
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    monkeypatch.setattr(keylease.tracing, "_started", [])
    monkeypatch.setenv("KEYLEASE_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("KEYLEASE_API_KEY", raising=False)
    yield providers
    for provider in providers:
        provider.shutdown()


@pytest.mark.parametrize(
    ("destination", "error", "words"),
    [
        (to(key=""), NotSignedIn, "no key"),
        (to(key="kll_" + "x" * 20), SettingsInvalid, "lease"),
        (to(key="two words"), SettingsInvalid, "characters"),
        (to("http://keylease.example.com"), SettingsInvalid, "TLS"),
        (to("ftp://keylease.example.com"), SettingsInvalid, "address"),
    ],
)
def test_what_cannot_be_sent_is_said_at_once(
    destination: Destination, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        start(destination)
    assert KEY not in repr(to())


def test_spans_go_to_the_platform_with_their_resource(fresh: list[TracerProvider]) -> None:
    sent = InMemorySpanExporter()
    tracing = start(
        to(), service="shop", environment="staging", resource={"team": "a"}, exporter=sent
    )
    assert tracing.active
    with fresh[-1].get_tracer("test").start_as_current_span("x"):
        pass
    assert tracing.flush()
    (span,) = sent.get_finished_spans()
    assert span.resource.attributes.items() >= {
        ("service.name", "shop"),
        ("deployment.environment.name", "staging"),
        ("team", "a"),
    }


@pytest.mark.parametrize("near", [True, False])
def test_the_platform_is_told_whose_spans_come(
    fresh: list[TracerProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, near: bool
) -> None:
    if not near:
        monkeypatch.setattr(setup, "_THIS_MACHINE", frozenset())
    with running_collector(tmp_path / "sent") as collector:
        tracing = start(to(collector.url, project="apollo"))
        fresh[-1].get_tracer("test").start_span("x").end()
        assert tracing.flush(seconds=60)
        (request,) = collector.received()
        fresh.pop().shutdown()
    head = request.lower()
    assert head.startswith(b"post /v1/traces ")
    assert f"authorization: bearer {KEY.lower()}".encode() in head
    assert b"x-keylease-project: apollo" in head
    # compressed where a network lies between
    assert (b"content-encoding: gzip" in head) is not near


def test_a_provider_that_is_there_is_kept(fresh: list[TracerProvider]) -> None:
    own = TracerProvider()
    fresh.append(own)
    sent = InMemorySpanExporter()
    with pytest.warns(RuntimeWarning, match="has set up OpenTelemetry itself"):
        tracing = start(to(), service="shop", exporter=sent)
    own.get_tracer("own").start_span("x").end()
    assert tracing.flush()
    assert len(sent.get_finished_spans()) == 1
    assert fresh == [own]


def test_without_opentelemetry_there_is_one_warning(
    fresh: list[TracerProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "is_installed", lambda: False)
    with pytest.warns(RuntimeWarning, match=r"Install keylease\[tracing\]") as told:
        tracing = keylease.tracing.init(api_key=KEY)
    assert len(told) == 1
    assert (tracing.active, tracing.flush(), fresh) == (False, True, [])


def test_settings_say_what_the_call_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Destination] = []

    def noted(destination: Destination, **_: object) -> setup.Tracing:
        asked.append(destination)
        return setup.Tracing(None)

    monkeypatch.setattr(keylease.tracing, "start", noted)
    monkeypatch.setenv("KEYLEASE_API_KEY", KEY)
    monkeypatch.setenv("KEYLEASE_SERVER_URL", "https://keylease.example.com/")
    first = keylease.tracing.init(project="apollo")
    assert asked == [to("https://keylease.example.com", project="apollo")]
    with pytest.warns(RuntimeWarning, match="already"):
        assert keylease.tracing.init() is first


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"got": request.headers.get("traceparent", "")})


@pytest.fixture
def outer() -> Iterator[str]:
    """A span that is current; the identifier of its trace."""
    provider = TracerProvider()
    with provider.get_tracer("test").start_as_current_span("outer") as span:
        yield f"{span.get_span_context().trace_id:032x}"
    provider.shutdown()


def test_a_client_that_is_handed_in_joins_the_trace(outer: str) -> None:
    with httpx.Client(transport=httpx.MockTransport(echo), base_url="http://x") as client:
        assert client.get("/").json() == {"got": ""}
        assert propagate(propagate(client)) is client
        assert len(client.event_hooks["request"]) == 1
        assert outer in client.get("/").json()["got"]
        own = client.get("/", headers={"traceparent": "mine"})
        assert own.json() == {"got": "mine"}


async def test_a_client_of_asyncio_too() -> None:
    provider = TracerProvider()
    transport = httpx.MockTransport(echo)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        with provider.get_tracer("test").start_as_current_span("inner") as span:
            got = (await propagate(client).get("/")).json()["got"]
    assert f"{span.get_span_context().trace_id:032x}" in got
    provider.shutdown()


def test_the_clients_of_sdks_are_known() -> None:
    for client in (
        openai.OpenAI(api_key="x", base_url=HERE),
        anthropic.Anthropic(api_key="x", base_url=HERE),
    ):
        propagate(client)
        assert len(client._client.event_hooks["request"]) == 1
        client.close()
    with pytest.raises(InputInvalid, match="no hooks"):
        propagate(object())
