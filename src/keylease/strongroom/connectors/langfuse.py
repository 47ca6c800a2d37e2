"""Langfuse: connections to model providers that a project stores.

Source: Langfuse's API reference (fern, 2026-08-22): GET /api/public/llm-connections.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorAnswerInvalid
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import (
    MAXIMUM_PAGES,
    Session,
    items_of,
    moment,
    part_of,
    text_of,
)
from keylease.strongroom.secrets import Secret


class Langfuse:
    """``account`` names the project for people; the keys decide which one it is."""

    system: ClassVar[str] = "langfuse"
    title: ClassVar[str] = "Langfuse"
    origin: ClassVar[str] = "https://cloud.langfuse.com"
    vendor: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """``public:secret`` of the project, as one secret."""
        pair = base64.b64encode(secret.reveal(why="list connections at Langfuse")).decode()
        return {"Authorization": f"Basic {pair}"}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Providers, masked keys and dates."""
        del values
        for page in range(1, MAXIMUM_PAGES + 1):
            answer = await session.get("/api/public/llm-connections", {"page": page, "limit": 100})
            for item in items_of(answer, "data"):
                yield Listed(
                    name=text_of(item, "provider"),
                    container=account or "project",
                    kind=PlaceKind.VENDOR_SECRET,
                    provider=text_of(item, "adapter", limit=64).lower(),
                    preview=text_of(item, "displaySecretKey", limit=100),
                    created_at=moment(item.get("createdAt")),
                    changed_at=moment(item.get("updatedAt")),
                )
            pages = part_of(answer, "meta").get("totalPages")
            if not isinstance(pages, int) or page >= pages:
                return
        raise ConnectorAnswerInvalid("Langfuse gives pages without an end.")
