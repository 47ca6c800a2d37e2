"""LiteLLM: credentials that a proxy stores.

Source: LiteLLM's documentation, credential management: GET /credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import Session, items_of, text_of
from keylease.strongroom.secrets import Secret


class LiteLLM:
    """``account`` names the proxy for people. Everybody runs their own: ``url`` is needed."""

    system: ClassVar[str] = "litellm"
    title: ClassVar[str] = "LiteLLM"
    origin: ClassVar[str] = ""
    vendor: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """An administrator's key."""
        return {"Authorization": f"Bearer {secret.reveal(why='list at LiteLLM').decode()}"}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Names and providers. Values, which some versions answer masked, are not kept."""
        del values
        for item in items_of(await session.get("/credentials"), "credentials"):
            about: Any = item.get("credential_info")
            about = about if isinstance(about, dict) else {}
            yield Listed(
                name=text_of(item, "credential_name"),
                container=account or "proxy",
                kind=PlaceKind.VENDOR_SECRET,
                provider=text_of(about, "custom_llm_provider", limit=64).lower(),
            )
