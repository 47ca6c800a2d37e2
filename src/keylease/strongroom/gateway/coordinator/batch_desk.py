"""Settles batches: gives back what one was charged over what it really cost.

Promise: once for each batch, also across a crash at any step. A batch whose real cost nobody reads
    keeps the charge of its upper bound.

Two files have to agree, the registry of objects and the ledger's journal, and neither knows the
other. So the steps are: 1. the registry holds the real cost; 2. the ledger has taken the charge
down, and its journal says for which batch; 3. the registry holds that this is done. After a crash
between 1 and 3 the second step is taken again, and the ledger does nothing where it was taken.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import StorageError
from keylease.strongroom.gateway.coordinator.ledger_keeper import LedgerKeeper
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.coordinator.object_registry import ObjectRegistry
from keylease.strongroom.gateway.interfaces import BatchCharge

_MICRO: Final = 1_000_000


class BatchDesk:
    """One per coordinator."""

    def __init__(self, *, objects: ObjectRegistry, ledger: LedgerKeeper, log: Log) -> None:
        self._objects = objects
        self._ledger = ledger
        self._log = log

    async def finish(self) -> None:
        """Take the steps that an earlier life did not come to; raises ``StorageError``."""
        for charge, micro_usd in await self._objects.decided():
            await self._settle(charge, micro_usd)

    async def settle(self, batch_id: str, micro_usd: int) -> None:
        """A batch has ended and cost so much; raises ``StorageError``."""
        try:
            owned = await self._objects.find(batch_id)
            charge = owned.batch_charge if owned is not None else None
            if charge is None or not await self._objects.decide_cost(batch_id, micro_usd):
                return  # settled before, or never charged
            await self._settle(charge, micro_usd)
        except StorageError as error:
            self._log.error("batch_not_settled", batch=batch_id, error=error.code)
            raise

    async def _settle(self, charge: BatchCharge, micro_usd: int) -> None:
        await self._ledger.give_back(charge, micro_usd)
        await self._objects.settled(charge.batch_id)
        self._log.info(
            "batch_settled",
            batch=charge.batch_id,
            charged_usd=charge.micro_usd / _MICRO,
            cost_usd=micro_usd / _MICRO,
        )
