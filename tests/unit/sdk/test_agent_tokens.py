"""Trace tokens through the agent of `keylease run`: the lease takes the bearer's place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import httpx
import pytest

from keylease.errors import GatewayNotRunning
from keylease.primitives.http1.simple import Request, Response, serve
from keylease.sdk.agent import LoopbackAgent, loopback_socket, new_bearer

INGEST = "keylease-ingest"
LEASE = "kll_1"


class Rig:
    """A gateway that answers with what it is told to, an agent before it, a program's client."""

    def __init__(self) -> None:
        self.bearer = new_bearer()
        self.seen: list[Request] = []
        self.status = 200
        self.error: GatewayNotRunning | None = None
        self.forgotten = 0
        self.client: httpx.AsyncClient

    async def current(self) -> str:
        if self.error is not None:
            raise self.error
        return LEASE

    def forget(self) -> None:
        self.forgotten += 1

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        return Response(
            status=self.status,
            headers=(("content-type", "application/json"),),
            body=b'{"access_token": "klt_1"}',
        )

    async def ask(self, headers: dict[str, str] | None = None, **form: str) -> httpx.Response:
        wanted = {"subject_token": self.bearer, "audience": INGEST, **form}
        return await self.client.post("/oauth/token", data=wanted, headers=headers)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    errors: list[BaseException] = []
    server = await serve(made.handle, host="127.0.0.1", on_error=errors.append)
    host, port = server.addresses[0]
    agent = LoopbackAgent(
        gateway_url=f"http://{host}:{port}",
        leases=made,
        bearer=made.bearer,
        on_error=errors.append,
    )
    listener = loopback_socket()
    await agent.start(listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as made.client:
        yield made
    await agent.close()
    await server.close(drain_seconds=0.1)
    assert errors == []


async def test_the_gateway_gets_the_lease_and_the_program_the_token(rig: Rig) -> None:
    answer = await rig.ask(requested_lifetime="60", scope="purpose:production", project="other")
    assert (answer.status_code, answer.json()) == (200, {"access_token": "klt_1"})
    [seen] = rig.seen
    assert (seen.method, seen.path) == ("POST", "/oauth/token")
    assert parse_qs(seen.body.decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [LEASE],
        "subject_token_type": ["urn:keylease:params:oauth:token-type:lease"],
        "audience": [INGEST],
        "requested_lifetime": ["60"],
    }
    assert rig.bearer not in repr(seen.headers)
    assert LEASE not in answer.text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"subject_token": "klr_of_another_run"}, 401),
        ({"subject_token": ""}, 401),
        ({"subject_token": "\xe4"}, 401),
        # The program gets what sends spans, and no lease.
        ({"audience": "keylease-gateway"}, 403),
        ({"audience": ""}, 403),
        ({"padding": "x" * 20_000}, 413),
    ],
    ids=["another's", "none", "no ASCII", "a lease", "no audience", "large"],
)
async def test_nothing_else_is_exchanged(rig: Rig, form: dict[str, str], status: int) -> None:
    assert (await rig.ask(None, **form)).status_code == status
    assert rig.seen == []


async def test_web_pages_and_other_names_are_refused_here_too(rig: Rig) -> None:
    assert (await rig.ask({"origin": "https://evil.example"})).status_code == 403
    assert (await rig.ask({"host": "evil.example"})).status_code == 403
    assert (await rig.client.get("/oauth/token")).status_code == 401
    assert rig.seen == []


async def test_failures_are_said(rig: Rig) -> None:
    rig.status = 400
    assert (await rig.ask()).status_code == 400
    assert rig.forgotten == 1  # the next token is asked for with another lease
    rig.error = GatewayNotRunning("No gateway is running.")
    answer = await rig.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway_not_running")


async def test_a_gateway_that_is_away_is_said(rig: Rig) -> None:
    agent = LoopbackAgent(
        gateway_url="http://127.0.0.1:1", leases=rig, bearer=rig.bearer, on_error=_never
    )
    listener = loopback_socket()
    await agent.start(listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/oauth/token"
    form = {"subject_token": rig.bearer, "audience": INGEST}
    answer = await rig.client.post(url, data=form)
    await agent.close()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway_not_running")


def _never(error: BaseException) -> None:
    raise AssertionError from error
