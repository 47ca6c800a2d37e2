"""A worker: serves connections on sockets that its coordinator bound.

Holds: public lease keys, the policy, revocations, secrets up to their age, slices of limits.
Imports: nothing that a model call does not need; a worker's memory is what a gateway costs.
Ends: when it is told to drain, on SIGTERM, and at once when its coordinator is gone.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import uvloop

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import PolicyBundle
from keylease.primitives.allocator import keep_freed_memory
from keylease.primitives.clock import Clock, SystemClock
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.server import Http1Server
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.call.admission import SenderChecks
from keylease.strongroom.gateway.call.call_path import CallPath, build_call_path
from keylease.strongroom.gateway.channel import worker_end
from keylease.strongroom.gateway.defects import place_of
from keylease.strongroom.gateway.descriptors import connections_within_limit
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.gateway.worker.link import WorkerLink
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.verify import LeaseVerifier

_COORDINATOR_GONE: Final = 75
_START_SECONDS: Final = 30.0
_ALLOCATIONS: Final = 20_000
"""Of containers that were not freed again, between two looks of the collector at the newest."""
_KEPT: Final = 12 * 1024 * 1024
"""Bytes of freed memory that a worker keeps at most: for about ten calls of 300 KB at a time. With
more of them at a time memory is given back now and then, and a worker stays under 90 MB."""
_LARGEST_BUFFER: Final = 4 * 1024 * 1024


def main(*, channel_fd: int, listen_fds: Sequence[int]) -> int:
    """Serve until told to drain or until the coordinator is gone; gives the exit status.

    Started by the coordinator as ``python -I -m keylease.strongroom worker --channel-fd N
    --listen-fd N [--listen-fd N ...]``.
    """
    keep_freed_memory(kept=_KEPT, buffer=_LARGEST_BUFFER)
    pair = socket.socket(fileno=channel_fd)
    listeners = [socket.socket(fileno=descriptor) for descriptor in listen_fds]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(pair, listeners))


async def _run(pair: socket.socket, listeners: list[socket.socket]) -> int:
    worker = Worker(clock=SystemClock())
    return await worker.run(pair, listeners)


class Worker:
    """One worker process, after its sockets were taken over."""

    def __init__(self, *, clock: Clock) -> None:
        """Must be made where an event loop runs."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._link = WorkerLink(clock=clock)
        self._begun: asyncio.Future[messages.Begin] = self._loop.create_future()
        self._stop = asyncio.Event()
        self._gone = False
        self._readiness = HttpAnswer(503, (), b"")
        self._revocations = RevocationList()
        self._channel = worker_end(on_message=self._received, on_closed=self._closed)
        self._path: CallPath | None = None
        self._policy: PolicyBundle | None = None
        self._leases: LeaseVerifier | None = None

    async def run(self, pair: socket.socket, listeners: list[socket.socket]) -> int:
        """Serve; gives the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            # The coordinator decides when to drain; a terminal's Ctrl-C reaches both.
            self._loop.add_signal_handler(number, lambda: None)
        await self._channel.open(pair)
        async with asyncio.timeout(_START_SECONDS):
            await asyncio.wait({self._begun})
        if self._begun.cancelled():
            return _COORDINATOR_GONE
        begin = self._begun.result()
        configuration = begin.configuration
        self._leases = LeaseVerifier(
            self._link.jwks(),
            issuer=configuration.group,
            clock=self._clock,
            maximum_lifetime=configuration.maximum_lease_seconds,
        )
        path = self._path = build_call_path(
            configuration=configuration,
            clock=self._clock,
            link=self._link,
            leases=self._leases,
            revocations=self._revocations,
            senders=_SenderChecks(self._clock, origins=configuration.public_urls),
            on_error=self._on_error,
            ready=lambda: self._readiness,
        )
        path.replace_policy(self._policy)
        server = Http1Server(
            path.listener,
            limits=_server_limits(configuration),
            on_error=self._on_error,
            clock=self._clock,
        )
        context = _tls(configuration)
        for listener in listeners:
            listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
            await server.listen(sock=listener, ssl_context=context)
        _spare_the_collector()
        self._channel.send(messages.Serving())
        await self._stop.wait()
        await self._drain(server, configuration)
        return _COORDINATOR_GONE if self._gone else 0

    async def _drain(self, server: Http1Server, configuration: GatewayConfiguration) -> None:
        # Without a coordinator nothing can be recorded or charged: answers are cut, not finished.
        await server.drain(0.0 if self._gone else configuration.limits.drain_seconds)
        if self._path is not None:
            await self._path.close()
        self._link.finish()
        self._channel.send(messages.Drained())
        self._channel.close()
        self._link.closed()

    def _received(self, message: messages.ToWorker) -> None:
        match message:
            case messages.Begin():
                # Taken in at once: what follows in the same read may already replace parts of it.
                self._link.open(self._channel, message)
                self._readiness = message.readiness
                self._revocations.replace(message.revocations)
                self._policy = message.policy
                if not self._begun.done():
                    self._begun.set_result(message)
            case messages.Drain():
                self._stop.set()
            case messages.ReplacePolicy(policy):
                self._policy = policy
                if self._path is not None:
                    self._path.replace_policy(policy)
            case messages.ReplaceReadiness(readiness):
                self._readiness = readiness
            case messages.ReplaceRevocations(order, revocations):
                self._revocations.replace(revocations)
                self._channel.send(messages.RevocationsInForce(order))
            case messages.ReplaceKeys(jwks):
                self._link.received(message)
                if self._leases is not None:
                    self._leases.replace_keys(jwks)
            case _:
                self._link.received(message)

    def _closed(self, _error: Exception | None) -> None:
        if not self._stop.is_set():
            self._gone = True
        self._link.closed()
        if not self._begun.done():
            self._begun.cancel()
        self._stop.set()

    def _on_error(self, error: BaseException) -> None:
        """Report a defect: its class and place. Its text could hold what a caller sent."""
        self._link.report_problem(error=type(error).__name__, place=place_of(error))


def _spare_the_collector() -> None:
    """Keep what was loaded out of the collector's sight, and have it look more seldom.

    A look at all of it takes many milliseconds, in which no call proceeds, and finds nothing:
    calls leave no circles of references behind (a test holds this).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


class _SenderChecks:
    """``leases.SenderProof``, loaded with the first lease that is bound to a sender key.

    It needs a JOSE library, and most gateways never see such a lease.
    """

    def __init__(self, clock: Clock, *, origins: Sequence[str]) -> None:
        self._clock = clock
        self._origins = origins
        self._checks: SenderChecks | None = None

    def check(
        self, claims: LeaseClaims, *, method: str, url: str, token: bytes, dpop_header: str | None
    ) -> None:
        """Raise ``SenderNotProven`` unless the request proves the lease's key."""
        if self._checks is None:
            from keylease.strongroom.leases.sender_proof import (  # noqa: PLC0415 - see above
                SenderProof,
            )

            self._checks = SenderProof(self._clock, origins=self._origins)
        self._checks.check(claims, method=method, url=url, token=token, dpop_header=dpop_header)


def _server_limits(configuration: GatewayConfiguration) -> ServerLimits:
    limits = configuration.limits
    return ServerLimits(
        header_bytes=limits.header_bytes,
        body_bytes=max(limits.body_bytes, limits.upload_bytes),
        header_seconds=limits.header_seconds,
        body_seconds=limits.body_seconds,
        idle_seconds=limits.idle_seconds,
        connections=connections_within_limit(limits.client_connections),
    )


def _tls(configuration: GatewayConfiguration) -> ssl.SSLContext | None:
    if not configuration.tls_certificate_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(configuration.tls_certificate_file, configuration.tls_key_file)
    context.set_alpn_protocols(["http/1.1"])
    if configuration.tls_client_ca_file:
        # Shown or not is the client's choice; leases that are bound to one need it.
        context.load_verify_locations(configuration.tls_client_ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
