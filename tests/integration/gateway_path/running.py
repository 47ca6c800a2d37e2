"""A worker's call path on a real port: real server, real pools, a coordinator in memory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from tests.support.call_rig import ORGANIZATION, FakeLeases, binding, bundle, credential
from tests.support.fake_link import FakeLink

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Credential, PolicyBundle
from keylease.contracts.purposes import Purpose
from keylease.primitives.clock import SystemClock
from keylease.primitives.http1.server import Http1Server
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.configuration import GatewayConfiguration, WireLimits
from keylease.strongroom.gateway.call.call_path import CallPath, build_call_path
from keylease.strongroom.gateway.call.upstreams import read_base_url
from keylease.strongroom.gateway.interfaces import HttpAnswer, PriceQuote
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.sender_proof import SenderProof

QUOTE = PriceQuote(
    input=1_000_000, output=2_000_000, cache_read=500_000, cache_write=0, version="prices-1"
)


class Running:
    """What a test needs to call it and to look behind it."""

    def __init__(self, *, path: CallPath, link: FakeLink, server: Http1Server) -> None:
        self.path = path
        self.link = link
        self.server = server
        self.leases = FakeLeases()
        self.revocations = RevocationList()
        self.errors: list[BaseException] = []
        self.url = ""

    def make_lease(self, **changes: object) -> str:
        clock = SystemClock()
        now = clock.now() // 1_000_000
        plain = LeaseClaims(
            iss="local", sub="user:ada", iat=now, exp=now + 900, jti=uuid7(clock),
            organization=ORGANIZATION, purpose=Purpose.DEVELOPMENT, environment="local",
            models=("*",),
        )  # fmt: skip
        token = f"kll_{secrets.token_hex(16)}"
        self.leases.known[token.encode()] = msgspec.structs.replace(plain, **changes)
        return token


@asynccontextmanager
async def running(
    openai_url: str,
    anthropic_url: str,
    *,
    policy: PolicyBundle | None = None,
    limits: WireLimits | None = None,
    upstream_ca_file: str = "",
    listed: bool = True,
) -> AsyncIterator[Running]:
    """Serve on a free port; the upstreams are bound by listed hosts."""
    plain = policy or bundle()
    upstream = {"openai": openai_url, "anthropic": anthropic_url}
    moved: tuple[Credential, ...] = tuple(
        credential(
            known.id,
            provider=known.provider,
            purposes=known.purposes,
            upstream=upstream[known.provider],
        )
        for known in plain.credentials
    )
    bindings = tuple(
        binding(provider, origins=(read_base_url(url).origin,), listed=listed)
        for provider, url in upstream.items()
    )
    clock = SystemClock()
    link = FakeLink(clock)
    leases = FakeLeases()
    revocations = RevocationList()
    errors: list[BaseException] = []
    wire = limits or WireLimits()
    path = build_call_path(
        configuration=GatewayConfiguration(
            path="gateway.toml",
            bindings=bindings,
            limits=wire,
            upstream_ca_file=upstream_ca_file,
        ),
        clock=clock,
        link=link,
        leases=leases,
        revocations=revocations,
        senders=SenderProof(clock),
        on_error=errors.append,
        ready=lambda: HttpAnswer(200, (("content-type", "application/json"),), b"{}"),
    )
    path.replace_policy(msgspec.structs.replace(plain, credentials=moved))
    server = Http1Server(path.listener, on_error=errors.append)
    await server.listen(host="127.0.0.1")
    found = Running(path=path, link=link, server=server)
    found.leases = leases
    found.revocations = revocations
    found.errors = errors
    host, port = server.addresses[0]
    found.url = f"http://{host}:{port}"
    try:
        yield found
    finally:
        await server.drain(0.5)
        await path.close()
    assert not errors, errors
