"""GitHub: secrets of organizations, repositories and environments. Values are never readable.

Source: docs.github.com, REST API, Actions secrets, Dependabot secrets, Codespaces secrets
(2022-11-28).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.connectors.interfaces import Ability, Listed
from keylease.strongroom.connectors.session import Session, items_of, moment, segment, text_of
from keylease.strongroom.secrets import Secret

_NAMESPACES = ("actions", "dependabot", "codespaces")


class GitHub:
    """``account`` is an organization or a user, or ``owner/repository``."""

    system: ClassVar[str] = "github"
    title: ClassVar[str] = "GitHub"
    origin: ClassVar[str] = "https://api.github.com"
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """A token that may read secrets' names."""
        return {
            "Authorization": f"Bearer {secret.reveal(why='list secrets at GitHub').decode()}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed]:
        """Names and dates; GitHub gives no values out."""
        del values
        owner, _, repository = account.partition("/")
        if repository:
            async for listed in self._repository(session, f"{owner}/{repository}"):
                yield listed
            return
        organization = await session.get(f"/orgs/{segment(owner)}", absent_is_none=True)
        if organization is not None:
            for namespace in _NAMESPACES:
                path = f"/orgs/{segment(owner)}/{namespace}/secrets"
                async for listed in self._secrets(session, path, owner):
                    yield listed
        kind = "users" if organization is None else "orgs"
        async for page in session.linked_pages(
            f"/{kind}/{segment(owner)}/repos", {"per_page": 100}
        ):
            for item in items_of(page):
                name = text_of(item, "full_name")
                async for listed in self._repository(session, name):
                    yield listed

    async def _repository(self, session: Session, name: str) -> AsyncIterator[Listed]:
        owner, _, repository = name.partition("/")
        base = f"/repos/{segment(owner)}/{segment(repository)}"
        for namespace in _NAMESPACES:
            async for listed in self._secrets(session, f"{base}/{namespace}/secrets", name):
                yield listed
        environments = await session.get(
            f"{base}/environments", {"per_page": 100}, absent_is_none=True
        )
        for item in items_of(environments or [], "environments"):
            environment = text_of(item, "name")
            path = f"{base}/environments/{segment(environment)}/secrets"
            async for listed in self._secrets(session, path, name, environment):
                yield listed

    async def _secrets(
        self, session: Session, path: str, container: str, environment: str = ""
    ) -> AsyncIterator[Listed]:
        # No page at all: this namespace is switched off here.
        async for page in session.linked_pages(path, {"per_page": 100}):
            for item in items_of(page, "secrets"):
                yield Listed(
                    name=text_of(item, "name"),
                    container=container,
                    kind=PlaceKind.CI_SECRET,
                    environment=environment,
                    created_at=moment(item.get("created_at")),
                    changed_at=moment(item.get("updated_at")),
                )
