"""The client's lease source: renewal, single flight, and what a gateway may answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import parse_qs

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.plain_server import http, plain_server

from keylease.errors import GatewayNotRunning, KeyleaseError, TokenExchangeRefused
from keylease.sdk.leases import (
    ControlSocketSource,
    LeaseSource,
    LeaseWish,
    ObtainedLease,
    TokenExchangeSource,
)

WISH = LeaseWish(purpose="eval", environment="ci", models=("gpt-*", "claude-*"), lifetime=300)


class CountingSource:
    """Gives numbered leases of 900 seconds, or fails."""

    def __init__(self) -> None:
        self.given = 0
        self.failure: KeyleaseError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def obtain(self) -> ObtainedLease:
        await self.gate.wait()
        self.given += 1
        if self.failure:
            raise self.failure
        return ObtainedLease(f"kll_{self.given}", 900.0)


async def test_a_lease_is_renewed_at_two_thirds_of_its_life() -> None:
    clock, source = ManualClock(), CountingSource()
    leases = LeaseSource(source, clock=clock)
    assert await leases.current() == "kll_1"
    clock.advance(599)
    assert await leases.current() == "kll_1"
    clock.advance(2)
    assert await leases.current() == "kll_2"


async def test_the_wall_clock_does_not_matter() -> None:
    clock, source = ManualClock(), CountingSource()
    leases = LeaseSource(source, clock=clock)
    await leases.current()
    clock.set_back(10_000)
    assert await leases.current() == "kll_1"


async def test_many_callers_cause_one_renewal() -> None:
    clock, source = ManualClock(), CountingSource()
    leases = LeaseSource(source, clock=clock)
    assert set(await asyncio.gather(*(leases.current() for _ in range(50)))) == {"kll_1"}
    clock.advance(700)
    source.gate.clear()
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(leases.current())
        await asyncio.sleep(0)
        # While it is under way the lease at hand still serves.
        assert await leases.current() == "kll_1"
        source.gate.set()
    assert renewing.result() == "kll_2"
    assert source.given == 2


async def test_a_caller_that_gives_up_does_not_stop_the_others() -> None:
    clock, source = ManualClock(), CountingSource()
    leases = LeaseSource(source, clock=clock)
    source.gate.clear()
    first = asyncio.get_running_loop().create_task(leases.current())
    second = asyncio.get_running_loop().create_task(leases.current())
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert await second == "kll_1"


async def test_a_failed_renewal_is_bridged_while_the_lease_is_good_and_raised_after() -> None:
    clock, source = ManualClock(), CountingSource()
    leases = LeaseSource(source, clock=clock)
    await leases.current()
    source.failure = GatewayNotRunning("The gateway cannot be reached.")
    clock.advance(601)
    assert await leases.current() == "kll_1"
    assert await leases.current() == "kll_1"
    assert source.given == 2
    clock.advance(6)
    assert await leases.current() == "kll_1"
    assert source.given == 3
    clock.advance(288)
    with pytest.raises(GatewayNotRunning):
        await leases.current()
    source.failure = None
    assert (await leases.current()).startswith("kll_")


async def test_a_forgotten_lease_is_replaced() -> None:
    leases = LeaseSource(CountingSource(), clock=ManualClock())
    await leases.current()
    leases.forget()
    assert await leases.current() == "kll_2"


def test_a_lease_is_not_printed() -> None:
    lease = ObtainedLease("kll_secret", 5.0)
    leases = LeaseSource(CountingSource(), clock=ManualClock())
    assert "kll_secret" not in f"{lease} {lease!r} {leases!r}"


async def test_the_control_socket_is_asked_for_a_lease() -> None:
    asked: list[tuple[str, Mapping[str, object]]] = []

    async def request(operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        asked.append((operation, parameters))
        return {"token": "kll_x", "expires_at": clock.now() + 60_000_000}

    clock = ManualClock()
    lease = await ControlSocketSource(request, WISH, clock=clock).obtain()
    assert (lease.token, lease.expires_in) == ("kll_x", 60.0)
    expected = {
        "purpose": "eval",
        "environment": "ci",
        "models": ("gpt-*", "claude-*"),
        "lifetime": 300,
    }
    assert asked == [("lease.create", expected)]
    assert json.dumps(asked[0][1])


@pytest.mark.parametrize(
    "result",
    [{}, {"token": "x", "expires_at": 2**60}, {"token": "kll_x", "expires_at": 0}],
    ids=str,
)
async def test_what_is_no_lease_is_refused(result: Mapping[str, object]) -> None:
    async def request(_operation: str, _wish: Mapping[str, object]) -> Mapping[str, object]:
        return result

    with pytest.raises(TokenExchangeRefused):
        await ControlSocketSource(request, WISH).obtain()


async def subject_token() -> str:
    return "header.payload.signature"


async def test_a_token_is_exchanged() -> None:
    bodies: list[bytes] = []
    async with plain_server() as server:

        async def answer(writer: asyncio.StreamWriter) -> None:
            length = int(server.heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            bodies.append(await server.readers[-1].readexactly(length))
            writer.write(http({"access_token": "kll_x", "expires_in": 60}))

        server.answers["/oauth/token"] = answer
        source = TokenExchangeSource(server.url + "/", subject_token=subject_token, wish=WISH)
        assert (await source.obtain()).token == "kll_x"
    assert parse_qs(bodies[0].decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["header.payload.signature"],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:jwt"],
        "purpose": ["eval"],
        "environment": ["ci"],
        "models": ["gpt-* claude-*"],
        "requested_lifetime": ["300"],
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            http(
                {"error": "invalid_scope", "error_description": "No grant.\x1b[2J"},
                status="400 Bad Request",
            ),
            r"No grant\.\[2J",
        ),
        (http(b"<html>", status="502 Bad Gateway"), "502"),
        (http(b"", status="302 Found", headers="Location: /x\r\n"), "302"),
        (http({"access_token": "sk-test", "expires_in": 60}), "no lease"),
        (http({"access_token": "kll_x", "expires_in": True}), "no lease"),
    ],
    ids=range(5),
)
async def test_refusals_and_nonsense_are_told_apart(answer: bytes, reason: str) -> None:
    async with plain_server() as server:
        server.answers["/oauth/token"] = answer
        source = TokenExchangeSource(server.url, subject_token=subject_token, wish=WISH)
        with pytest.raises(TokenExchangeRefused, match=reason):
            await source.obtain()


async def test_a_gateway_that_is_not_there() -> None:
    async with plain_server() as server:
        url = server.url
    source = TokenExchangeSource(url, subject_token=subject_token, wish=WISH)
    with pytest.raises(GatewayNotRunning):
        await source.obtain()
