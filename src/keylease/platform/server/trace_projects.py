"""Which project a span belongs to, by what its sender calls it."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.errors import ResourceConflict, ResourceNotFound
from keylease.platform.db.callers import platform_itself
from keylease.platform.db.database import Database
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.projects import Projects
from keylease.platform.identity.directory.shelf import Content
from keylease.primitives.clock import Clock

DEFAULT: Final = "default"
"""Name of the project of spans that name none; made when the first one comes."""
_KNOWN_FOR: Final = 1.0
"""Seconds until a project that was made, renamed or archived is known to be."""


class _Names(msgspec.Struct, frozen=True):
    read_at: float
    ids: dict[str, str]
    """Identifier or name -> identifier, of the projects in use."""


class TraceProjects:
    """Finds projects without asking the database for every body of spans."""

    def __init__(self, database: Database, projects: Projects, clock: Clock) -> None:
        self._database = database
        self._projects = projects
        self._clock = clock
        self._known: dict[str, _Names] = {}

    async def find(self, organization_id: str, called: str) -> str:
        """The identifier of a project in use, by identifier or name; of ``DEFAULT`` for "".

        Raises ``ResourceNotFound``.
        """
        names = await self._names(organization_id)
        if (found := names.get(called or DEFAULT)) is not None:
            return found
        if called:
            raise ResourceNotFound(
                "There is no such project in use.",
                advice="Name a project by its identifier or its name; `keylease` people with the "
                "permission project:manage make one.",
            )
        return await self._default(organization_id)

    async def find_or_default(self, organization_id: str, called: str) -> str:
        """The same, for spans that must not be lost: what is unknown goes to ``DEFAULT``."""
        names = await self._names(organization_id)
        return names.get(called) or await self.find(organization_id, "")

    async def all_of(self, organization_id: str) -> tuple[str, ...]:
        """Every project of an organization, archived ones included."""
        async with self._database.reading(platform_itself(organization_id)) as tx:
            return tuple(project.id for project in await repository.PROJECT_ROWS.all(tx))

    async def _default(self, organization_id: str) -> str:
        try:
            made = await self._projects.create(
                platform_itself(organization_id),
                Content(name=DEFAULT, description="Spans that name no project."),
            )
        except ResourceConflict:  # another request was faster
            self._known.pop(organization_id, None)
            return (await self._names(organization_id))[DEFAULT]
        self._known.pop(organization_id, None)
        return made.id

    async def _names(self, organization_id: str) -> dict[str, str]:
        known = self._known.get(organization_id)
        now = self._clock.monotonic()
        if known is not None and now - known.read_at < _KNOWN_FOR:
            return known.ids
        caller = platform_itself(organization_id)
        async with self._database.reading(caller) as tx:
            projects = await repository.PROJECT_ROWS.all(tx)
        in_use = [project for project in projects if project.archived_at is None]
        ids = {project.name: project.id for project in in_use}
        ids.update({project.id: project.id for project in in_use})  # a name cannot hide an id
        self._known[organization_id] = _Names(now, ids)
        return ids
