"""The outbound connection to the platform: fetches policy, hands over records.

Three loops for as long as this gateway is enrolled: one asks for newer policy and waits for it, two
push. Each goes on by itself when the platform, or one of the others, does not.

Promise: a bundle that arrives is in force in every worker, revocations included, before the
    platform is told so. Revocations of a good bundle are put in force even when the disk is full
    and the bundle itself cannot be stored.
Does not protect: against a platform that says nothing new; what it said last ends at its expiry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

import keylease
from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction
from keylease.contracts.self_report import SelfReport
from keylease.errors import (
    BundleRefused,
    GatewayRevoked,
    KeyleaseError,
    NoteInvalid,
    PlatformRefused,
    StorageError,
    WitnessRefused,
)
from keylease.primitives.clock import Clock
from keylease.primitives.egress import Resolver, resolve
from keylease.strongroom.configuration import PlatformSettings
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.gateway.records.spool import CallSpool
from keylease.strongroom.link.backoff import Backoff
from keylease.strongroom.link.client import LinkClient
from keylease.strongroom.link.enrolment import Enrolment, EnrolmentFiles
from keylease.strongroom.link.fingerprint_reports import FingerprintReports, FingerprintState
from keylease.strongroom.link.policy_store import PlatformPolicy
from keylease.strongroom.link.pushes import AuditEntryPush, CallRecordPush, PushState
from keylease.strongroom.link.witnessing import AuditWitness, reason_of

_WAIT: Final = 25.0
"""Seconds that a poll may be held."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_REFUSED_PAUSE: Final = 30.0
"""Seconds, at most, between two questions to a platform that says no."""
_HELD: Final = 1.0
"""Seconds. A poll that comes back sooner and brings nothing was not held."""


class PolicyChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What the coordinator does when the link says so."""

    replaced: Callable[[], Awaitable[None]]
    """Put the policy of the source in force in every worker; returns when it is."""
    revocations: Callable[[], Awaitable[None]]
    """Put only its revocations in force."""
    refused: Callable[[KeyleaseError], Awaitable[None]]
    """Write down that a bundle was refused."""


class LinkState(msgspec.Struct, kw_only=True):
    """How the link is doing, for status and metrics."""

    connected: bool = False
    """The last poll was answered."""
    answered_at: int = 0
    """Microseconds UTC of the last answer."""
    error: str = ""
    """Why the last poll failed; empty when it went well."""
    witness_error: str = ""
    """Why the last checkpoint of the audit log was not cosigned; empty when it was."""
    call_records: PushState = msgspec.field(default_factory=PushState)
    audit_entries: PushState = msgspec.field(default_factory=PushState)
    fingerprints: FingerprintState | None = None
    """None: gateway.toml names no fingerprint key."""


class PlatformLink:
    """One per coordinator; ``run`` it as a task."""

    def __init__(  # noqa: PLR0913 - its collaborators, by keyword
        self,
        *,
        settings: PlatformSettings,
        policy: PlatformPolicy,
        enrolments: EnrolmentFiles,
        spool: CallSpool,
        audit: AuditSpool,
        changes: PolicyChanges,
        about: Callable[[], SelfReport],
        fingerprints: FingerprintReports | None,
        clock: Clock,
        log: Log,
        resolver: Resolver = resolve,
    ) -> None:
        """Holds what lies in the spool from now on. Raises ``StorageError``."""
        self._settings = settings
        self._policy = policy
        self._enrolments = enrolments
        self._spool = spool
        self._audit = audit
        self._changes = changes
        self._about = about
        self._fingerprints = fingerprints
        self._clock = clock
        self._log = log
        self._resolver = resolver
        self._started_at = clock.now()
        self._calls = CallRecordPush(
            spool, directory=Path(enrolments.directory), clock=clock, log=log
        )
        self._entries = AuditEntryPush(audit, log=log)
        self._enrolled = asyncio.Event()
        self._refused: wire.RefusedBundle | None = None
        self._witness = AuditWitness(Path(enrolments.directory), clock=clock)
        self._cosignatures: asyncio.Queue[wire.Cosignature] = asyncio.Queue(maxsize=1)
        self.state = LinkState(
            call_records=self._calls.state,
            audit_entries=self._entries.state,
            fingerprints=fingerprints.state if fingerprints is not None else None,
        )

    def enrolment_changed(self) -> None:
        """Look at the policy's enrolment again: there is one now, or another one."""
        self._enrolled.set()

    async def run(self) -> None:
        """Work until cancelled; a new enrolment begins a new conversation."""
        self._enrolled.set()
        while True:
            await self._enrolled.wait()
            self._enrolled.clear()
            enrolment, key = self._policy.enrolment, self._enrolments.key()
            if enrolment is None or key is None:
                self._log.warning("not_enrolled", platform=self._settings.url)
                continue
            self._audit.organization_id = enrolment.organization_id
            self._refused = None
            await self._witness.load(enrolment.gateway_id)
            async with LinkClient(
                self._settings,
                key=key,
                gateway_id=enrolment.gateway_id,
                clock=self._clock,
                resolver=self._resolver,
            ) as client:
                await self._converse(client, enrolment)

    async def _converse(self, client: LinkClient, enrolment: Enrolment) -> None:
        """Everything that is said under one enrolment; returns when there is another one."""

        async def until_changed() -> None:
            while self._is_still(enrolment):
                await self._enrolled.wait()
                self._enrolled.clear()
            self._enrolled.set()
            raise _EnrolmentChanged

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(until_changed(), name="enrolment")
                group.create_task(self._keep_polling(client), name="poll")
                group.create_task(self._calls.run(client), name="push call records")
                group.create_task(self._entries.run(client), name="push audit entries")
                group.create_task(self._push_cosignatures(client), name="push cosignatures")
                if self._fingerprints is not None:
                    group.create_task(self._fingerprints.run(client), name="push fingerprints")
        except* _EnrolmentChanged:
            pass  # the next conversation begins

    def _is_still(self, enrolment: Enrolment) -> bool:
        present = self._policy.enrolment
        return present is not None and present.gateway_id == enrolment.gateway_id

    # --- policy ----------------------------------------------------------------------------

    async def _keep_polling(self, client: LinkClient) -> None:
        unheard = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        refused = Backoff(first=1.0, longest=_REFUSED_PAUSE)
        empty = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        while True:
            asked_at = self._clock.monotonic()
            try:
                answer = await client.poll(self._report())
                self._heard()
                progress = await self._take(answer)
                if answer.checkpoint is not None:
                    await self._witness_checkpoint(answer.checkpoint)
            except GatewayRevoked as error:
                await self._revoked(error)
                await refused.pause()
            except PlatformRefused as error:
                self._not_heard(error)
                await refused.pause()
            except KeyleaseError as error:
                self._not_heard(error)
                await unheard.pause()
            else:
                for backoff in (unheard, refused):
                    backoff.reset()
                if progress or self._clock.monotonic() - asked_at >= _HELD:
                    empty.reset()
                else:  # it did not wait although nothing is new: be no burden, and no victim
                    await empty.pause()

    def _report(self) -> wire.PollRequest:
        return wire.PollRequest(
            software=keylease.__version__,
            started_at=self._started_at,
            wait_seconds=_WAIT,
            in_force=self._policy.state,
            highest_version=self._policy.highest_version,
            refused=self._refused,
            objections=self._policy.objections,
            witnessed=self._witness.witnessed,
            backlog=wire.Backlog(
                call_record_bytes=self._calls.behind_bytes,
                call_records_lost=self._spool.lost,
                audit_entries=self._audit.waiting,
            ),
            about=self._about(),
        )

    async def _take(self, answer: wire.PollAnswer) -> bool:
        """Whether something new came of it. Raises ``StorageError``."""
        signed = answer.bundle
        if signed is None or signed.digest == self._policy.state.digest:
            return False
        try:
            changed = await asyncio.to_thread(self._policy.take, signed)
        except BundleRefused as error:
            await self._refuse(signed.digest, error)
            return False
        except StorageError as error:
            self._log.error("policy_not_stored", message=error.message)
            if self._policy.add_revocations_of_unstored():
                await self._changes.revocations()
            raise
        self._refused = None
        if changed:
            await self._changes.replaced()
        return True

    async def _refuse(self, digest: str, error: BundleRefused) -> None:
        known = self._refused
        self._refused = wire.RefusedBundle(digest=digest, code=error.code, at=self._clock.now())
        if known is None or (known.digest, known.code) != (digest, error.code):
            self._log.warning("bundle_refused", code=error.code, message=error.message)
            await self._changes.refused(error)

    async def _revoked(self, error: GatewayRevoked) -> None:
        """The platform took this gateway out of service: it serves nothing any more."""
        self._not_heard(error)
        if await asyncio.to_thread(self._policy.withdraw, error):
            await self._changes.refused(error)
            await self._changes.replaced()

    # --- the audit log ---------------------------------------------------------------------

    async def _witness_checkpoint(self, offer: wire.CheckpointOffer) -> None:
        """Cosign what continues the log that was witnessed; anything else is an alarm."""
        try:
            cosignature = await self._witness.cosign(offer)
        except (WitnessRefused, NoteInvalid) as error:
            reason = reason_of(error)
            if self.state.witness_error != reason:
                self._log.error("checkpoint_refused", reason=reason, message=error.message)
                await self._audit.write(
                    AuditAction.AUDIT_CHECKPOINT_REFUSED,
                    subject=offer.origin[:200],
                    reason=reason,
                    details={"size": str(offer.size)},
                )
            self.state.witness_error = reason
            return
        self.state.witness_error = ""
        if self._cosignatures.full():
            self._cosignatures.get_nowait()  # a newer one says more
        self._cosignatures.put_nowait(cosignature)

    async def _push_cosignatures(self, client: LinkClient) -> None:
        backoff = Backoff(first=1.0, longest=_REFUSED_PAUSE)
        while True:
            cosignature = await self._cosignatures.get()
            try:
                await client.push_cosignature(cosignature)
            except KeyleaseError as error:  # the next checkpoint is cosigned all the same
                self._log.warning("cosignature_not_taken", reason=error.message)
                await backoff.pause()
            else:
                backoff.reset()

    # --- state -----------------------------------------------------------------------------

    def _heard(self) -> None:
        if not self.state.connected:
            self._log.info("platform_connected", url=self._settings.url)
        self.state.connected = True
        self.state.answered_at = self._clock.now()
        self.state.error = ""

    def _not_heard(self, error: KeyleaseError) -> None:
        reason = f"{error.code}: {error.message}"
        if self.state.error != reason:
            self._log.warning("platform_not_heard", reason=reason)
        self.state.connected = False
        self.state.error = reason


class _EnrolmentChanged(Exception):
    """Ends the tasks of one conversation."""
