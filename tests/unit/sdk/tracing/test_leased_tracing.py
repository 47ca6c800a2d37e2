"""Spans that a program sends with a lease: what travels where, and who is asked again when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from tests.support.manual_clock import ManualClock
from tests.support.scripted_server import ScriptedServer, scripted_server

import keylease.tracing
from keylease.errors import KeyleaseError, NotSignedIn, SettingsInvalid
from keylease.sdk.tracing import setup
from keylease.sdk.tracing.setup import Destination, exporter_to
from keylease.sdk.tracing.trace_tokens import TraceTokens

LEASE = "kll_" + "x" * 40
KEY = "kl_ing_" + "x" * 20
GATEWAY = "http://127.0.0.1:4141"


@pytest.fixture
def platform() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


class Rig:
    """An exporter whose gateway is ``answer``."""

    def __init__(self, platform: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = platform
        self.asked = 0
        self.answers: list[Callable[[], httpx.Response]] = []
        real = Destination.tokens

        def tokens(destination: Destination) -> TraceTokens:
            made = real(destination)
            made._transport = httpx.MockTransport(self.handle)
            made._clock = ManualClock()
            return made

        monkeypatch.setattr(Destination, "tokens", tokens)

    def handle(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) == f"{GATEWAY}/oauth/token"
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)()
        body = {
            "access_token": f"klt_{self.asked}",
            "issued_token_type": "x",
            "expires_in": 900,
            "ingest_url": self.platform.url,
        }
        return httpx.Response(200, json=body)

    def exporter(self, **parts: str) -> SpanExporter:
        return exporter_to(Destination(server="", lease=LEASE, gateway=GATEWAY, **parts))


@pytest.fixture
def rig(platform: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(platform, monkeypatch)


def send(exporter: SpanExporter, *names: str) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for name in names or ("x",):
        provider.get_tracer("test").start_span(name).end()
    provider.shutdown()


def test_the_token_goes_to_the_platform_that_the_gateway_names(rig: Rig) -> None:
    send(rig.exporter(project="apollo"), "one", "two")
    assert rig.asked == 1
    assert rig.platform.shown == ["Bearer klt_1"] * 2
    for path, head, body in rig.platform.requests:
        assert path == "/v1/traces"
        assert head["x-keylease-project"] == "apollo"
        assert LEASE not in repr(head)
        assert LEASE.encode() not in body


def test_after_a_401_there_is_one_more_try_with_a_fresh_token(rig: Rig) -> None:
    rig.platform.statuses = [401]
    send(rig.exporter())
    assert rig.platform.shown == ["Bearer klt_1", "Bearer klt_2"]
    assert rig.platform.requests[0][2] == rig.platform.requests[1][2]


def test_a_platform_that_refuses_every_token_is_not_asked_for_more_of_them(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.platform.statuses = [401] * 10
    with caplog.at_level(logging.ERROR):
        send(rig.exporter(), "one", "two", "three")
    assert rig.asked == 2
    assert rig.platform.shown == ["Bearer klt_1"] + ["Bearer klt_2"] * 3
    assert "401" in caplog.text


def away() -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_while_the_gateway_is_away_opentelemetry_tries_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keylease.sdk.tracing.trace_tokens._FAILURE_PAUSE", 0.0)
    rig.answers = [away]
    send(rig.exporter())
    assert rig.platform.shown == ["Bearer klt_2"]


def test_what_a_gateway_refuses_is_said_and_not_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    said = {"error": "invalid_request", "error_description": "Revoked.", "code": "lease_revoked"}
    rig.answers = [lambda: httpx.Response(400, json=said)]
    send(rig.exporter(), "one", "two")
    assert (rig.asked, rig.platform.requests) == (1, [])
    assert "lease_revoked" in caplog.text
    assert LEASE not in caplog.text


def test_nobody_takes_the_token_elsewhere(rig: Rig) -> None:
    with scripted_server() as elsewhere:
        rig.platform.statuses = [307]
        rig.platform.headers = {"Location": f"{elsewhere.url}/v1/traces"}
        send(rig.exporter())
        assert elsewhere.requests == []
    assert len(rig.platform.requests) == 1


def test_no_line_of_netrc_takes_the_tokens_place(
    rig: Rig, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w", encoding="ascii") as file:  # noqa: PTH123 - one line of a test
        file.write("machine 127.0.0.1 login ada password nothing\n")
    monkeypatch.setenv("NETRC", netrc)
    send(rig.exporter())
    assert rig.platform.shown == ["Bearer klt_1"]


# --- what init is told ----------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> list[Destination]:
    """Destinations that ``init`` has made, in an environment without any setting of ours."""
    found: list[Destination] = []

    def noted(destination: Destination, **_: object) -> setup.Tracing:
        setup._check(destination)
        found.append(destination)
        return setup.Tracing(None)

    monkeypatch.setattr(trace, "get_tracer_provider", object)
    monkeypatch.setattr(keylease.tracing, "_started", [])
    monkeypatch.setattr(keylease.tracing, "start", noted)
    monkeypatch.setenv("KEYLEASE_CONFIG_DIR", str(tmp_path))
    for name in ("API_KEY", "LEASE", "GATEWAY_URL", "SERVER_URL"):
        monkeypatch.delenv(f"KEYLEASE_{name}", raising=False)
    return found


def test_under_keylease_run_nothing_has_to_be_said(
    asked: list[Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYLEASE_LEASE", "klr_" + "x" * 40)
    monkeypatch.setenv("KEYLEASE_GATEWAY_URL", "http://127.0.0.1:9999")
    keylease.tracing.init()
    [found] = asked
    assert found.is_leased
    assert found.gateway == "http://127.0.0.1:9999"
    assert (found.server, found.api_key) == ("", "")
    assert found.present_lease() not in repr(found)


def test_a_key_that_is_set_is_used_and_a_lease_that_is_given_comes_first(
    asked: list[Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYLEASE_LEASE", "klr_" + "x" * 40)
    monkeypatch.setenv("KEYLEASE_GATEWAY_URL", GATEWAY)
    monkeypatch.setenv("KEYLEASE_API_KEY", KEY)
    monkeypatch.setenv("KEYLEASE_SERVER_URL", "https://keylease.example.com/")
    keylease.tracing.init()
    assert (asked[-1].api_key, asked[-1].is_leased, asked[-1].gateway) == (KEY, False, "")
    keylease.tracing._started.clear()
    keylease.tracing.init(lease=lambda: LEASE)
    assert (asked[-1].api_key, asked[-1].is_leased) == ("", True)
    assert asked[-1].server == "https://keylease.example.com"
    assert asked[-1].present_lease() == LEASE


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, NotSignedIn, "no key and no lease"),
        ({"lease": LEASE}, SettingsInvalid, "no gateway"),
        ({"lease": LEASE, "api_key": KEY, "gateway": GATEWAY}, SettingsInvalid, "not with both"),
        ({"api_key": LEASE}, SettingsInvalid, "no key"),
        ({"lease": "two words", "gateway": GATEWAY}, SettingsInvalid, "characters"),
        ({"lease": LEASE, "gateway": "http://far.example.com"}, SettingsInvalid, "TLS"),
        ({"lease": LEASE, "gateway": "http://localhost:4140"}, SettingsInvalid, "platform"),
        (
            {"lease": LEASE, "gateway": GATEWAY, "server": "http://far.example.com"},
            SettingsInvalid,
            "TLS",
        ),
        (
            {"lease": LEASE, "gateway": "https://one.example", "server": "https://one.example"},
            SettingsInvalid,
            "same address",
        ),
    ],
)
@pytest.mark.usefixtures("asked")
def test_what_can_never_work_is_said_at_once(
    given: dict[str, str], error: type[KeyleaseError], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        keylease.tracing.init(**given)  # type: ignore[arg-type]  # by keyword, all of them texts
    assert LEASE not in str(refused.value)
