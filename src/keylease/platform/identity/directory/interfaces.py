"""What the directory needs from other domains; joined in ``server/assembly.py``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from keylease.platform.db.callers import Caller
from keylease.platform.db.holdings import Sighting
from keylease.platform.db.transaction import Transaction


class Authority(Protocol):
    """What a change may give and take. Checks raise ``PermissionDenied``."""

    def transaction(self, caller: Caller) -> AbstractAsyncContextManager[Transaction]:
        """A transaction; a denial that ends it gets its audit entry."""
        ...

    async def begin_change(self, tx: Transaction, *, directory: bool = False) -> int:
        """First in every transaction that changes who there is or who is in what."""
        ...

    async def check_joining(self, tx: Transaction, group_id: str, *, giver: str = "") -> None:
        """The caller, or ``giver``, holds all that members of the group get."""
        ...

    async def check_standing(self, tx: Transaction, holder: str, *, giver: str = "") -> None:
        """The caller, or ``giver``, holds all that ``KIND:ID`` holds."""
        ...

    async def check_role(
        self, tx: Transaction, role_id: str, project_id: str, *, giver: str = ""
    ) -> None:
        """The caller, or ``giver``, may give the role in the project ("" is everywhere)."""
        ...

    async def check_taking(self, tx: Transaction, holder: str) -> None:
        """``KIND:ID`` is no Owner, or the caller is one."""
        ...

    async def check_owner_remains(self, tx: Transaction) -> None:
        """After what was done, somebody is Owner. Raises ``ResourceConflict``."""
        ...

    async def give_role(
        self, tx: Transaction, holder: str, role_id: str, project_id: str, *, giver: str = ""
    ) -> None:
        """Grant a role that was checked."""
        ...

    async def make_owner(self, tx: Transaction, holder: str) -> None:
        """Make the first Owner of a new organization."""
        ...


class SignIns(Protocol):
    """How users come in."""

    async def end_all(self, tx: Transaction, principal: str) -> None:
        """End every session of ``KIND:ID``, because it may not act for now."""
        ...


class SightingSource(Protocol):
    """What principals were shown: the audit log."""

    async def seen(self, organization_id: str, principal: str, *, limit: int) -> Sequence[Sighting]:
        """What ``KIND:ID`` was shown or fetched, the newest first."""
        ...


class GroupWatcher(Protocol):
    """A domain in which members of groups get something besides rights on the platform."""

    async def check_joining(self, tx: Transaction, groups: frozenset[str]) -> None:
        """Refuse unless the caller may give what new members of these groups, ``group:ID``, get."""
        ...

    async def members_changed(self, tx: Transaction) -> None:
        """Somebody is in more groups or in fewer, once this transaction has committed."""
        ...
