"""Looks around once a second: what changes without anybody saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from keylease.errors import KeyleaseError
from keylease.primitives.clock import Clock
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.coordinator.enforcement import Enforcement
from keylease.strongroom.gateway.coordinator.lease_desk import LeaseDesk
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.leases.exchange import TokenExchange

_LOOK_SECONDS: Final = 1.0
_KEY_LOOK_SECONDS: Final = 60.0


class Surroundings:
    """One per coordinator."""

    def __init__(  # noqa: PLR0913 - what is looked at, by keyword
        self,
        *,
        look_at_policy: Callable[[], Awaitable[None]],
        credentials: CredentialDesk,
        leases: LeaseDesk,
        exchange: TokenExchange,
        enforcement: Enforcement,
        clock: Clock,
        log: Log,
        on_defect: Callable[[BaseException], None],
    ) -> None:
        """``look_at_policy`` reads what changed on the disk, and ends what has expired."""
        self._look_at_policy = look_at_policy
        self._credentials = credentials
        self._leases = leases
        self._exchange = exchange
        self._enforcement = enforcement
        self._clock = clock
        self._log = log
        self._on_defect = on_defect

    async def run(self) -> None:
        """Look until cancelled."""
        keys_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.count_refusals()
            try:
                await self._look_at_policy()
                if changed := await self._credentials.changed():
                    self._enforcement.tell(messages.ForgetCredentials(changed))
                if self._clock.monotonic() - keys_at >= _KEY_LOOK_SECONDS:
                    keys_at = self._clock.monotonic()
                    await self._look_at_keys()
            except Exception as error:  # noqa: BLE001 - a defect must not end the looking
                self._on_defect(error)

    async def _look_at_keys(self) -> None:
        try:
            if await self._leases.refresh_keys():
                self._log.info("signing_keys_replaced", kid=self._leases.keys.kid)
        except KeyleaseError as error:
            self._log.warning("signing_keys_not_read", message=error.message)

    async def count_refusals(self, *, at_once: bool = False) -> None:
        """Write down how many refusals have no entry of their own."""
        try:
            await self._exchange.write_counted(at_once=at_once)
        except KeyleaseError as error:  # they are counted on
            self._log.warning("refusals_not_written", message=error.message)
