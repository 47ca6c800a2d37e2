"""The platform, when this gateway has one: its policy, and the link to it.

What asks the platform is loaded only where there is one: a gateway alone needs no HTTP client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keylease.contracts.self_report import SelfReport
from keylease.errors import ConfigurationError
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.coordinator.policy_desk import PolicyDesk
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.gateway.records.spool import CallSpool
from keylease.strongroom.leases.trace_tokens import LinkIdentity
from keylease.strongroom.link.enrolment import EnrolmentFiles, link_directory
from keylease.strongroom.link.policy_store import PlatformPolicy
from keylease.strongroom.stores.interfaces import FetchedSecret

if TYPE_CHECKING:
    from keylease.strongroom.link.fingerprint_reports import FingerprintReports
    from keylease.strongroom.link.link import PlatformLink


class PlatformDesk:
    """One per coordinator that takes its policy from a platform."""

    def __init__(
        self, configuration: GatewayConfiguration, strongroom: Path, *, clock: Clock, log: Log
    ) -> None:
        """``strongroom`` is its part of the data directory. Nothing is read yet."""
        if configuration.platform is None:
            raise ConfigurationError("gateway.toml names no platform.")
        self._settings = configuration.platform
        self._clock = clock
        self._log = log
        self._enrolments = EnrolmentFiles(link_directory(strongroom))
        self._link: PlatformLink | None = None
        self._fingerprints: FingerprintReports | None = None
        self.policy = PlatformPolicy(
            enrolments=self._enrolments,
            settings=self._settings,
            configuration=configuration,
            clock=clock,
        )

    def open(
        self,
        *,
        spool: CallSpool,
        audit: AuditSpool,
        policies: PolicyDesk,
        about: Callable[[], SelfReport],
    ) -> None:
        """Hold what the platform has not taken yet.

        Raises ``StorageError``, and ``FingerprintKeyInvalid``.
        """
        from keylease.strongroom.link.fingerprint_reports import (  # noqa: PLC0415 - see above
            FingerprintReports,
        )
        from keylease.strongroom.link.link import (  # noqa: PLC0415 - see above
            PlatformLink,
            PolicyChanges,
        )

        if self.policy.enrolment is not None:
            audit.organization_id = self.policy.enrolment.organization_id
        if self._settings.fingerprint_key_file:
            self._fingerprints = FingerprintReports(
                Path(self._settings.fingerprint_key_file), log=self._log
            )
            self._log.info("fingerprint_key", key=self._fingerprints.state.key)
        self._link = PlatformLink(
            settings=self._settings,
            policy=self.policy,
            enrolments=self._enrolments,
            spool=spool,
            audit=audit,
            changes=PolicyChanges(
                replaced=policies.replaced,
                revocations=policies.revocations_added,
                refused=policies.write_refused,
            ),
            about=about,
            fingerprints=self._fingerprints,
            clock=self._clock,
            log=self._log,
        )

    async def run(self) -> None:
        """Talk to the platform until cancelled."""
        if self._link is not None:
            await self._link.run()

    async def identity(self) -> LinkIdentity | None:
        """Who this gateway is to the platform; ``None`` before it is enrolled.

        Raises ``StorageCorrupt``. The key is read when it is used, so that a new enrolment counts.
        """
        enrolment = self.policy.enrolment
        key = await asyncio.to_thread(self._enrolments.key)
        if enrolment is None or key is None:
            return None
        return LinkIdentity(
            gateway_id=enrolment.gateway_id,
            organization_id=enrolment.organization_id,
            key=key,
            url=self._settings.url,
        )

    def secret_fetched(self, credential_ids: Iterable[str], fetched: FetchedSecret) -> None:
        """Tell the inventory by what it is recognised, where there is a key for that."""
        if self._fingerprints is not None:
            self._fingerprints.note(credential_ids, fetched)

    def enrolment_changed(self) -> None:
        """Somebody enrolled this gateway."""
        if self._link is not None:
            self._link.enrolment_changed()

    @property
    def state(self) -> dict[str, object]:
        """For people."""
        enrolment = self.policy.enrolment
        state: dict[str, object] = {
            "url": self._settings.url,
            "enrolled": enrolment is not None,
            "gateway_id": enrolment.gateway_id if enrolment is not None else "",
            "objections": msgspec.to_builtins(self.policy.objections),
        }
        if self._link is not None:
            state |= msgspec.to_builtins(self._link.state)
        return state
