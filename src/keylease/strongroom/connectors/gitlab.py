"""GitLab: CI/CD variables of groups and projects. Hidden variables give no value; others could.

Source: docs.gitlab.com/api/project_level_variables, group_level_variables (v4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.connectors.interfaces import Ability, Listed, ListedValue
from keylease.strongroom.connectors.session import Session, items_of, segment, text_of
from keylease.strongroom.secrets import Secret


class GitLab:
    """``account`` is the full path of a group or of a project."""

    system: ClassVar[str] = "gitlab"
    title: ClassVar[str] = "GitLab"
    origin: ClassVar[str] = "https://gitlab.com"
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """A token with ``read_api``, of a maintainer."""
        return {"PRIVATE-TOKEN": secret.reveal(why="list variables at GitLab").decode()}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Variables of the group with everything below it, or of the one project."""
        group = await session.get(f"/api/v4/groups/{segment(account)}", absent_is_none=True)
        if group is None:
            async for found in self._variables(session, "projects", account, values=values):
                yield found
            return
        async for found in self._variables(session, "groups", account, values=values):
            yield found
        projects = f"/api/v4/groups/{segment(account)}/projects"
        async for page in session.linked_pages(
            projects, {"include_subgroups": "true", "per_page": 100, "simple": "true"}
        ):
            for item in items_of(page):
                name = text_of(item, "path_with_namespace")
                async for found in self._variables(session, "projects", name, values=values):
                    yield found

    async def _variables(
        self, session: Session, kind: str, name: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        path = f"/api/v4/{kind}/{segment(name)}/variables"
        async for page in session.linked_pages(path, {"per_page": 100}):
            for item in items_of(page):
                scope = text_of(item, "environment_scope")
                listed = Listed(
                    name=text_of(item, "key"),
                    container=name,
                    kind=PlaceKind.CI_SECRET,
                    environment="" if scope == "*" else scope,
                )
                value = item.get("value")
                if values and isinstance(value, str) and value:
                    yield ListedValue(listed, Secret(value))
                else:
                    yield listed
