"""What this domain needs from others; joined in ``server/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from keylease.contracts.call_records import CallRecord


class CallSpans(Protocol):
    """Where calls become spans."""

    async def take(
        self, organization_id: str, gateway_id: str, records: Sequence[CallRecord]
    ) -> None:
        """Return when they are durable; the same call again is the same span.

        Raises ``TraceQueueFull``, ``StorageFull`` or ``TraceStoreUnavailable``.
        """
        ...
