"""LangSmith: names of a workspace's secrets.

Source: docs.langchain.com, LangSmith API, workspace secrets: GET gives keys only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import Session, items_of, moment, text_of
from keylease.strongroom.secrets import Secret


class LangSmith:
    """``account`` names the workspace for people; the key decides which one it is."""

    system: ClassVar[str] = "langsmith"
    title: ClassVar[str] = "LangSmith"
    origin: ClassVar[str] = "https://api.smith.langchain.com"
    vendor: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """An API key of the workspace."""
        return {"X-Api-Key": secret.reveal(why="list secrets at LangSmith").decode()}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Names; LangSmith gives neither values nor previews out."""
        del values
        for item in items_of(await session.get("/api/v1/workspaces/current/secrets")):
            yield Listed(
                name=text_of(item, "key"),
                container=account or "workspace",
                kind=PlaceKind.VENDOR_SECRET,
                created_at=moment(item.get("created_at")),
                changed_at=moment(item.get("updated_at")),
            )
