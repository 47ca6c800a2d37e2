"""Braintrust: provider keys that were stored there (``ai_secret``) and environment variables.

Source: Braintrust's OpenAPI document of 2026-07-01: GET /v1/ai_secret, GET /v1/env_var.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorAnswerInvalid
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import (
    MAXIMUM_PAGES,
    Session,
    items_of,
    moment,
    text_of,
)
from keylease.strongroom.secrets import Secret

_AT_ONCE: Final = 100


class Braintrust:
    """``account`` is the organization's name; empty is the key's own."""

    system: ClassVar[str] = "braintrust"
    title: ClassVar[str] = "Braintrust"
    origin: ClassVar[str] = "https://api.braintrust.dev"
    vendor: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """An API key of an organization's owner."""
        return {"Authorization": f"Bearer {secret.reveal(why='list at Braintrust').decode()}"}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Names, kinds, dates and previews; Braintrust gives no values out."""
        del values
        for path, container in (("/v1/ai_secret", "ai_secret"), ("/v1/env_var", "env_var")):
            async for listed in self._list(session, path, container, account):
                yield listed

    async def _list(
        self, session: Session, path: str, container: str, account: str
    ) -> AsyncIterator[Listed]:
        query: dict[str, str | int] = {"limit": _AT_ONCE}
        if account:
            query["org_name"] = account
        for _ in range(MAXIMUM_PAGES):
            found = items_of(await session.get(path, query), "objects")
            for item in found:
                yield Listed(
                    name=text_of(item, "name"),
                    container=f"{account}/{container}" if account else container,
                    kind=PlaceKind.VENDOR_SECRET,
                    provider=text_of(item, "type", limit=64).lower(),
                    preview=text_of(item, "preview_secret", limit=100),
                    owner=text_of(item, "secret_updated_by_user_id"),
                    created_at=moment(item.get("created")),
                    changed_at=moment(item.get("secret_updated_at") or item.get("updated_at")),
                )
            if len(found) < _AT_ONCE or container == "env_var":
                return
            following = text_of(found[-1], "id")
            if following in {"", query.get("starting_after")}:
                break
            query["starting_after"] = following
        raise ConnectorAnswerInvalid("Braintrust gives pages without an end.")
