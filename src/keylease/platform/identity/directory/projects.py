"""Projects and environments."""

from __future__ import annotations

from keylease.contracts.audit import AuditAction
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.identity.directory import repository
from keylease.platform.identity.directory.interfaces import Authority
from keylease.platform.identity.directory.records import Environment, Project
from keylease.platform.identity.directory.shelf import Actions, Content, Shelf
from keylease.platform.identity.directory.tables import PROJECTS


class EnvironmentContent(Content, frozen=True, kw_only=True):
    """What its owner says of an environment."""

    production: bool = False


class Projects(Shelf[Project]):
    """Parts of an organization."""

    def __init__(self, database: Database, authority: Authority) -> None:
        actions = Actions(
            created=AuditAction.PROJECT_CREATED,
            changed=AuditAction.PROJECT_CHANGED,
            archived=AuditAction.PROJECT_ARCHIVED,
            restored=AuditAction.PROJECT_RESTORED,
        )
        super().__init__(database, authority, repository.PROJECT_ROWS, actions, kind="project")

    async def page_of(
        self, caller: Caller, request: PageRequest, *, only: frozenset[str] | None
    ) -> Page[Project]:
        """Projects, the oldest first; of ``only`` these, unless it is ``None``."""
        conditions = () if only is None else (PROJECTS.c.id.in_(sorted(only)),)
        return await self.page(caller, request, *conditions)


class Environments(Shelf[Environment]):
    """Where credentials are used."""

    def __init__(self, database: Database, authority: Authority) -> None:
        actions = Actions(
            created=AuditAction.ENVIRONMENT_CREATED,
            changed=AuditAction.ENVIRONMENT_CHANGED,
            archived=AuditAction.ENVIRONMENT_ARCHIVED,
            restored=AuditAction.ENVIRONMENT_RESTORED,
        )
        rows = repository.ENVIRONMENT_ROWS
        super().__init__(database, authority, rows, actions, kind="environment")
