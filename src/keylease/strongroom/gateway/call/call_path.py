"""Puts the call path of one worker together.

Everything it needs is handed in, so that a test can run the whole path with a fake coordinator and
a worker can run it with a real one.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from keylease.contracts.policy import PolicyBundle
from keylease.primitives.clock import Clock
from keylease.primitives.http1.interfaces import HandlerFactory
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway.call.admission import (
    Admission,
    LeaseChecks,
    RevocationChecks,
    SenderChecks,
)
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.listener import Listener
from keylease.strongroom.gateway.call.routing import PolicyHolder
from keylease.strongroom.gateway.call.static_keys import StaticKeys
from keylease.strongroom.gateway.call.upstreams import PoolFactory, Upstreams
from keylease.strongroom.gateway.interfaces import CoordinatorLink, HttpAnswer


class CallPath:
    """The call path of one worker: give ``listener`` to the HTTP server."""

    def __init__(
        self,
        *,
        listener: Listener,
        policy: PolicyHolder,
        upstreams: Upstreams,
        tasks: TaskOwner,
        static_keys: StaticKeys | None,
    ) -> None:
        self.listener: HandlerFactory = listener
        self._policy = policy
        self._static_keys = static_keys
        self._upstreams = upstreams
        self._tasks = tasks

    def replace_policy(self, bundle: PolicyBundle | None) -> None:
        """Decide by ``bundle`` from the next request on; calls under way end as they began.

        With ``None`` every call is refused.
        """
        self._policy.replace(bundle)
        if self._static_keys is not None:
            self._static_keys.forget()

    async def close(self) -> None:
        """Give up what waits and close the upstream connections. Drain the server first."""
        await self._tasks.close()
        await self._upstreams.close()


def build_call_path(  # noqa: PLR0913 - one composition root; everything is passed by keyword
    *,
    configuration: GatewayConfiguration,
    clock: Clock,
    link: CoordinatorLink,
    leases: LeaseChecks,
    revocations: RevocationChecks,
    senders: SenderChecks,
    on_error: Callable[[BaseException], None],
    ready: Callable[[], HttpAnswer],
    pool_factory: PoolFactory | None = None,
    uniform: Callable[[], float] = random.random,
) -> CallPath:
    """Build the call path. It serves nothing until ``replace_policy`` was called once.

    Args:
        configuration: the whole of gateway.toml; bindings and limits are taken from it.
        clock: the time.
        link: the worker's side of the channel to the coordinator.
        leases: ``leases.LeaseVerifier``; ``verify`` raises ``LeaseRefused``.
        revocations: ``leases.RevocationList``.
        senders: ``leases.SenderProof``, for leases that are bound to a sender key.
        on_error: told of defects in background tasks and callbacks; never of refusals.
        ready: the answer to ``GET /readyz``.
        pool_factory: makes the pool of one origin; the default connects for real.
        uniform: numbers in [0, 1) for weighted routes.
    """
    tasks = TaskOwner(on_error)
    upstreams = Upstreams(configuration, on_error=on_error, pool_factory=pool_factory)
    policy = PolicyHolder(configuration, upstreams=upstreams)
    environment = CallEnvironment(
        limits=configuration.limits,
        clock=clock,
        link=link,
        policy=policy,
        revocations=revocations,
        tasks=tasks,
        uniform=uniform,
    )
    admission = Admission(
        leases=leases,
        revocations=revocations,
        senders=senders,
        secure=bool(configuration.tls_certificate_file),
    )
    static_keys = StaticKeys(link, leases, clock) if configuration.static_keys is not None else None
    listener = Listener(
        environment=environment,
        admission=admission,
        link=link,
        ready=ready,
        static_keys=static_keys,
    )
    return CallPath(
        listener=listener,
        policy=policy,
        upstreams=upstreams,
        tasks=tasks,
        static_keys=static_keys,
    )
