"""What all workers decide by: sent to each, and for revocations confirmed by each.

Promise: when ``put_in_force`` returns, no worker serves by older revocations; one that does not
    confirm in time is ended.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec

from keylease.errors import KeyleaseError
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.coordinator.lease_desk import LeaseDesk
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.coordinator.policy_source import PolicySource
from keylease.strongroom.gateway.coordinator.worker_group import WorkerGroup
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.gateway.records.spool import CallSpool

_IN_FORCE_SECONDS: Final = 1.0
_HANGS_SECONDS: Final = 5.0
_JSON: Final = (("content-type", "application/json"), ("cache-control", "no-store"))


class Parts(Protocol):
    """What of a coordinator workers decide by; each is there once workers are."""

    @property
    def desk(self) -> LeaseDesk:
        """Signing keys and revocations."""
        ...

    @property
    def credentials(self) -> CredentialDesk:
        """Their states."""
        ...

    @property
    def spool(self) -> CallSpool:
        """Whether it can be written."""
        ...


class Enforcement:
    """One per coordinator. Until ``workers`` is set, there is nobody to tell."""

    def __init__(
        self,
        *,
        configuration: GatewayConfiguration,
        policy: PolicySource,
        parts: Parts,
        log: Log,
    ) -> None:
        self._configuration = configuration
        self._policy = policy
        self._parts = parts
        self._log = log
        self._orders = 0
        self._confirmed = asyncio.Condition()
        self.workers: WorkerGroup | None = None

    def begin(self) -> messages.Begin:
        """The first message to a worker."""
        return messages.Begin(
            configuration=self._configuration,
            jwks=self._parts.desk.keys.public_jwks(),
            policy=self._policy.bundle if self._policy.in_force else None,
            revocations=self._parts.desk.revocations(),
            accepts_calls=self.accepts_calls(),
            readiness=self.readiness(),
        )

    def tell(self, message: messages.ToWorker) -> None:
        """Say the same to every worker."""
        if self.workers is not None:
            self.workers.tell(message)

    # --- revocations and keys --------------------------------------------------------------

    async def put_in_force(self) -> int:
        """Send keys and revocations; the number of workers that have them now."""
        self._orders += 1
        order = self._orders
        if self.workers is None:
            return 0
        self.workers.tell(messages.ReplaceKeys(self._parts.desk.keys.public_jwks()))
        self.workers.tell(messages.ReplaceRevocations(order, self._parts.desk.revocations()))
        if not await self._all_confirm(order, _IN_FORCE_SECONDS):
            self._log.warning("worker_slow_to_confirm")
            if not await self._all_confirm(order, _HANGS_SECONDS):
                # A worker that does not take a revocation must not go on serving.
                for worker in self.workers.running:
                    if worker.confirmed < order and worker.serving.is_set():
                        worker.process.kill()
        return sum(worker.confirmed >= order for worker in self.workers.running)

    async def _all_confirm(self, order: int, seconds: float) -> bool:
        def confirmed() -> bool:
            running = self.workers.running if self.workers is not None else ()
            return all(worker.confirmed >= order for worker in running)

        try:
            async with asyncio.timeout(seconds), self._confirmed:
                await self._confirmed.wait_for(confirmed)
        except TimeoutError:
            return False
        return True

    async def note_confirmed(self) -> None:
        """A worker confirmed something, or is gone."""
        async with self._confirmed:
            self._confirmed.notify_all()

    # --- policy ----------------------------------------------------------------------------

    async def put_policy_in_force(self) -> None:
        """Have every worker decide by the policy that the source has now, or by none."""
        bundle = self._policy.bundle if self._policy.in_force else None
        self.tell(messages.ReplacePolicy(bundle))
        self.tell(messages.RecallSlices(0))
        self.tell(messages.SpoolChanged(self.accepts_calls()))
        await self.put_in_force()
        self.readiness_changed()

    # --- readiness -------------------------------------------------------------------------

    def accepts_calls(self) -> bool:
        """Whether calls can be recorded, or need not be."""
        return self._parts.spool.writable or self._policy.bundle.serve_when_spool_full

    def spool_changed(self, error: KeyleaseError | None) -> None:
        """Call records cannot be written, or can again."""
        if error is None:
            self._log.info("spool_writable_again")
        else:
            self._log.error("spool_not_writable", message=error.message)
        self.tell(messages.SpoolChanged(self.accepts_calls()))

    def readiness(self) -> HttpAnswer:
        """The answer to /readyz: a policy is in force. Stores are listed and never decide."""
        bundle = self._policy.bundle
        names = {credential.id: credential.name for credential in bundle.credentials}
        in_force = self._policy.in_force
        body = {
            "status": "ready" if in_force else "no policy in force",
            "policy": {"version": bundle.version},
            "credentials": {
                names[identifier]: {"state": state.state, "error": state.error, "at": state.at}
                for identifier, state in self._parts.credentials.states().items()
            },
        }
        return HttpAnswer(
            status=200 if in_force else 503, headers=_JSON, body=msgspec.json.encode(body)
        )

    def readiness_changed(self) -> None:
        """Have workers answer /readyz as it is now."""
        if self.workers is not None:
            self.workers.tell(messages.ReplaceReadiness(self.readiness()))
