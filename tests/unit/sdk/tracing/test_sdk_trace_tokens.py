"""The SDK's trace tokens: when the gateway is asked, what it is told, what its failure means."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import httpx
import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import (
    GatewayNotRunning,
    KeyleaseError,
    NotSignedIn,
    SettingsInvalid,
    TokenExchangeRefused,
)
from keylease.sdk.tracing.trace_tokens import TraceTokens

GATEWAY = "http://127.0.0.1:4141"
PLATFORM = "https://keylease.example.com"
LEASE = "kll_" + "x" * 40
GOOD = 200


class Gateway:
    """Gives one token after another; ``answer`` is replaced by tests."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.requests: list[httpx.Request] = []
        self.number = 0
        self.expires_in = 900
        self.ingest_url = PLATFORM
        self.answer: Callable[[], httpx.Response] = self.token
        self.wait = threading.Event()
        self.wait.set()

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.wait.wait()
        self.requests.append(request)
        return self.answer()

    def token(self) -> httpx.Response:
        self.number += 1
        body = {
            "access_token": f"klt_{self.number}",
            "issued_token_type": "x",
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "ingest_url": self.ingest_url,
        }
        return httpx.Response(GOOD, json=body)

    def tokens(
        self, *, url: str = GATEWAY, lease: Callable[[], str] = lambda: LEASE, server: str = ""
    ) -> TraceTokens:
        transport = httpx.MockTransport(self.handle)
        return TraceTokens(url, lease, server=server, clock=self.clock, transport=transport)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def refusal(status: int = 400, **said: str) -> httpx.Response:
    body = {
        "error": "invalid_target",
        "error_description": "This gateway is enrolled at no platform.",
        "code": "gateway_not_linked",
        **said,
    }
    return httpx.Response(status, json=body)


def test_the_lease_goes_to_the_gateway_and_nowhere_else(gateway: Gateway) -> None:
    token = gateway.tokens().current()
    assert (token.text, token.server) == ("klt_1", PLATFORM)
    [request] = gateway.requests
    assert str(request.url) == f"{GATEWAY}/oauth/token"
    assert parse_qs(request.content.decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [LEASE],
        "subject_token_type": ["urn:keylease:params:oauth:token-type:lease"],
        "audience": ["keylease-ingest"],
    }
    assert LEASE not in str(request.url) + repr(request.headers)
    assert "klt_1" not in repr(token)


def test_it_is_renewed_before_it_ends(gateway: Gateway) -> None:
    tokens = gateway.tokens()
    assert [tokens.current().text for _ in range(3)] == ["klt_1"] * 3
    gateway.clock.advance(599)
    assert tokens.current().text == "klt_1"
    gateway.clock.advance(2)
    assert tokens.current().text == "klt_2"
    assert len(gateway.requests) == 2


def test_each_token_is_asked_for_with_the_present_lease(gateway: Gateway) -> None:
    leases = iter([LEASE + "1", LEASE + "2"])
    tokens = gateway.tokens(lease=lambda: next(leases))
    tokens.current()
    gateway.clock.advance(700)
    tokens.current()
    shown = [parse_qs(one.content.decode())["subject_token"] for one in gateway.requests]
    assert shown == [[LEASE + "1"], [LEASE + "2"]]


def test_a_refused_token_is_replaced_once_in_a_while(gateway: Gateway) -> None:
    tokens = gateway.tokens()
    assert tokens.current().text == "klt_1"
    assert tokens.current(refused="klt_1").text == "klt_2"
    # The platform refuses all of them: the gateway is not asked with every request.
    assert tokens.current(refused="klt_2").text == "klt_2"
    # Another thread was refused with the one before.
    assert tokens.current(refused="klt_1").text == "klt_2"
    gateway.clock.advance(31)
    assert tokens.current(refused="klt_2").text == "klt_3"


def away() -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_while_the_gateway_is_away_the_token_at_hand_is_used(gateway: Gateway) -> None:
    tokens = gateway.tokens()
    tokens.current()
    gateway.answer = away
    gateway.clock.advance(700)
    assert tokens.current().text == "klt_1"
    assert tokens.current().text == "klt_1"
    assert len(gateway.requests) == 2  # asked again after a pause
    gateway.clock.advance(6)
    assert tokens.current().text == "klt_1"
    assert len(gateway.requests) == 3
    gateway.clock.advance(190)  # five seconds before its end
    with pytest.raises(GatewayNotRunning, match="cannot be reached"):
        tokens.current()
    with pytest.raises(GatewayNotRunning):
        tokens.current()
    assert len(gateway.requests) == 4
    gateway.answer = gateway.token
    gateway.clock.advance(6)
    assert tokens.current().text == "klt_2"


def test_a_refusal_is_said_and_remembered(gateway: Gateway) -> None:
    gateway.answer = refusal
    tokens = gateway.tokens()
    for _ in range(3):
        with pytest.raises(TokenExchangeRefused, match="gateway_not_linked") as refused:
            tokens.current()
        assert refused.value.oauth_error == "invalid_target"
        assert LEASE not in str(refused.value)
    assert len(gateway.requests) == 1
    gateway.clock.advance(31)
    gateway.answer = gateway.token
    assert tokens.current().text == "klt_1"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: httpx.Response(503), GatewayNotRunning),
        (lambda: httpx.Response(429), GatewayNotRunning),
        (lambda: refusal(401), TokenExchangeRefused),
        (lambda: httpx.Response(404, content=b"not found"), TokenExchangeRefused),
        (lambda: httpx.Response(200, content=b"<html>"), TokenExchangeRefused),
        (lambda: httpx.Response(200, json={"access_token": LEASE}), TokenExchangeRefused),
        (
            lambda: httpx.Response(
                200,
                json={"access_token": LEASE, "issued_token_type": "x", "expires_in": 9},
            ),
            TokenExchangeRefused,
        ),
        (lambda: httpx.Response(200, content=b" " * 70_000), TokenExchangeRefused),
        # A redirect would take the lease along.
        (
            lambda: httpx.Response(307, headers={"location": f"{PLATFORM}/oauth/token"}),
            TokenExchangeRefused,
        ),
    ],
    ids=["away", "later", "refused", "no gateway", "no JSON", "half", "a lease", "long", "on"],
)
def test_other_answers_give_no_token(
    gateway: Gateway, answer: Callable[[], httpx.Response], error: type[KeyleaseError]
) -> None:
    gateway.answer = answer
    with pytest.raises(error) as raised:
        gateway.tokens().current()
    assert LEASE not in str(raised.value)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    ("url", "server", "words"),
    [
        ("http://gateway.example.com", "", "TLS"),
        ("gateway", "", "address"),
        ("https://a:b@gateway.example.com", "", "address"),
        ("https://one.example.com", "https://one.example.com:443/", "same address"),
        ("http://127.0.0.1:4140", "http://localhost:4140", "same address"),
    ],
)
def test_a_lease_is_not_sent_there(gateway: Gateway, url: str, server: str, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        gateway.tokens(url=url, server=server)


@pytest.mark.parametrize(
    ("url", "told", "words"),
    [
        (GATEWAY, "", "does not say where"),
        (GATEWAY, "http://keylease.example.com", "TLS"),
        ("https://gateway.example.com", "http://127.0.0.1:4140", "machine of its own"),
    ],
)
def test_a_token_is_not_sent_there(gateway: Gateway, url: str, told: str, words: str) -> None:
    gateway.ingest_url = told
    with pytest.raises(SettingsInvalid, match=words):
        gateway.tokens(url=url).current()
    # What the program says itself counts.
    assert gateway.tokens(url=url, server=PLATFORM).current().server == PLATFORM


def test_what_is_no_lease_is_not_sent(gateway: Gateway) -> None:
    with pytest.raises(NotSignedIn):
        gateway.tokens(lease=lambda: "").current()
    with pytest.raises(SettingsInvalid, match="characters"):
        gateway.tokens(lease=lambda: "two words").current()

    def broken() -> str:
        raise RuntimeError(LEASE)

    with pytest.raises(GatewayNotRunning, match="RuntimeError") as failed:
        gateway.tokens(lease=broken).current()
    assert LEASE not in str(failed.value)
    assert gateway.requests == []


def test_of_many_threads_one_asks(gateway: Gateway) -> None:
    tokens = gateway.tokens()
    gateway.wait.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(tokens.current) for _ in range(4)]
        gateway.wait.set()
        assert {one.result().text for one in asked} == {"klt_1"}
    assert len(gateway.requests) == 1


def test_a_forked_process_does_not_wait_for_its_parents_thread(gateway: Gateway) -> None:
    tokens = gateway.tokens()
    reading, writing = os.pipe()
    with tokens._asking:  # a thread of the parent is at it
        child = os.fork()
        if child == 0:
            os.write(writing, tokens.current().text.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"klt_1"
    assert os.waitpid(child, 0)[1] == 0


def test_what_the_gateway_says_is_cleaned(gateway: Gateway) -> None:
    gateway.answer = lambda: refusal(error_description="no\x1b[31m\nway" + "x" * 5000)
    with pytest.raises(TokenExchangeRefused) as refused:
        gateway.tokens().current()
    assert json.dumps(refused.value.message).count("\\") == 0
    assert len(refused.value.message) < 700
