"""Vercel: environment variables of projects. Values stay where they are.

Source: vercel.com/docs/rest-api, projects: list (v10) and environment variables (v10).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorAnswerInvalid
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import (
    MAXIMUM_PAGES,
    Session,
    items_of,
    part_of,
    segment,
    text_of,
)
from keylease.strongroom.secrets import Secret

_MILLISECONDS: Final = 1000


class Vercel:
    """``account`` is a team's id or slug; empty is the token's own account."""

    system: ClassVar[str] = "vercel"
    title: ClassVar[str] = "Vercel"
    origin: ClassVar[str] = "https://api.vercel.com"
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """An access token."""
        return {"Authorization": f"Bearer {secret.reveal(why='list at Vercel').decode()}"}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Names, targets and dates of every project's variables."""
        del values
        team: dict[str, str | int] = {"teamId": account} if account else {}
        query: dict[str, str | int] = {**team, "limit": 100}
        for _ in range(MAXIMUM_PAGES):
            page = await session.get("/v10/projects", query)
            for project in items_of(page, "projects"):
                async for listed in self._project(session, project, team):
                    yield listed
            following = part_of(page, "pagination").get("next")
            if not isinstance(following, int | str) or not following:
                return
            if following == query.get("from"):
                break
            query = {**team, "limit": 100, "from": following}
        raise ConnectorAnswerInvalid("Vercel gives pages without an end.")

    async def _project(
        self, session: Session, project: dict[str, Any], team: dict[str, str | int]
    ) -> AsyncIterator[Listed]:
        path = f"/v10/projects/{segment(text_of(project, 'id'))}/env"
        for item in items_of(await session.get(path, team), "envs"):
            target = item.get("target")
            targets = target if isinstance(target, list) else [target]
            yield Listed(
                name=text_of(item, "key"),
                container=text_of(project, "name", "id"),
                kind=PlaceKind.DEPLOYMENT_SECRET,
                environment=",".join(sorted(str(one) for one in targets if one))[:100],
                created_at=_moment(item.get("createdAt")),
                changed_at=_moment(item.get("updatedAt")),
            )


def _moment(value: object) -> int:
    """Vercel counts milliseconds."""
    return value * _MILLISECONDS if isinstance(value, int) and 0 < value < 2**43 else 0
