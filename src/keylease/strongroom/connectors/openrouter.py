"""OpenRouter: provider keys that were brought along (BYOK).

Source: openrouter.ai/docs, management API: GET /api/v1/byok.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import Session, items_of, moment, text_of
from keylease.strongroom.secrets import Secret


class OpenRouter:
    """``account`` names the account for people; the management key decides which one it is."""

    system: ClassVar[str] = "openrouter"
    title: ClassVar[str] = "OpenRouter"
    origin: ClassVar[str] = "https://openrouter.ai"
    vendor: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """A management key."""
        return {"Authorization": f"Bearer {secret.reveal(why='list at OpenRouter').decode()}"}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Providers, labels and dates."""
        del values
        for item in items_of(await session.get("/api/v1/byok"), "data"):
            yield Listed(
                name=text_of(item, "name", "label", "id"),
                container=account or "byok",
                kind=PlaceKind.VENDOR_SECRET,
                provider=text_of(item, "provider", "provider_slug", limit=64).lower(),
                preview=text_of(item, "masked_key", "label", limit=100),
                created_at=moment(item.get("created_at")),
                changed_at=moment(item.get("updated_at")),
            )
