"""Says who may do what. ``require`` raises; ``explain`` tells why.

Protects: see ``decisions.py``; and the order of things here: a project that is not the
    organization's does not exist (404) before anything is said about rights in it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.errors import ResourceNotFound
from keylease.platform.access.decisions import (
    Decision,
    Question,
    decide,
    places_with,
)
from keylease.platform.access.denials import DenialLog
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place, object_name
from keylease.platform.access.reasons import Denied
from keylease.platform.access.snapshot import Snapshot
from keylease.platform.access.snapshots import Snapshots
from keylease.platform.db.callers import Caller
from keylease.platform.db.transaction import Transaction
from keylease.primitives.clock import Clock


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Where a caller holds a permission: what a list may show it."""

    everywhere: bool = False
    project_ids: frozenset[str] = frozenset()
    objects: frozenset[Place] = frozenset()
    """Single objects, as ``KIND/ID``."""

    def contains(self, *, project_id: str = "", named: str = "") -> bool:
        """Whether something in this project, or this object, is within reach."""
        if self.everywhere or (project_id and project_id in self.project_ids):
            return True
        return bool(named) and any(
            Place(project_id=project, object=named) in self.objects for project in ("", project_id)
        )


class AccessService:
    """Decides. One per process."""

    def __init__(self, snapshots: Snapshots, denials: DenialLog, clock: Clock) -> None:
        self._snapshots: Final = snapshots
        self._denials: Final = denials
        self._clock: Final = clock

    async def require(
        self, caller: Caller, permission: str, *, project_id: str = "", object_id: str = ""
    ) -> None:
        """Raise ``PermissionDenied`` with the reason unless the caller holds the permission there.

        Raises ``ResourceNotFound`` for a project that is not the caller's organization's. Not for
        use inside a transaction, where it would wait for itself: ``require_inside`` is.
        """
        snapshot = await self._snapshots.current(caller.organization_id)
        decision = self._decide(snapshot, caller, Permission(permission), project_id, object_id)
        if not decision.allowed:
            await self._denials.denied(caller, decision.question, decision.reason)
            raise Denied(decision, snapshot)

    async def decision(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> Decision:
        """What ``require`` would go by, for who shows it. Nothing is written.

        Raises ``ResourceNotFound`` as ``require`` does.
        """
        snapshot = await self._snapshots.current(caller.organization_id)
        return self._decide(snapshot, caller, permission, project_id, object_id)

    async def require_inside(
        self,
        tx: Transaction,
        permission: Permission,
        *,
        project_id: str = "",
        object_id: str = "",
    ) -> None:
        """As ``require``, by what the transaction sees.

        The denial's entry is not written: the transaction ends with it. ``Authority.transaction``
        writes it afterwards.
        """
        snapshot = await self._snapshots.inside(tx, tx.caller.organization_id)
        decision = self._decide(snapshot, tx.caller, permission, project_id, object_id)
        if not decision.allowed:
            raise Denied(decision, snapshot)

    async def explain(
        self,
        organization_id: str,
        principal: str,
        permission: Permission,
        *,
        place: Place,
    ) -> tuple[Decision, Snapshot]:
        """What would be decided for a principal without an API key, and what it is decided by.

        Raises ``ResourceNotFound`` for a project that is not the organization's.
        """
        snapshot = await self._snapshots.current(organization_id)
        _check_project(snapshot, place.project_id)
        question = Question(principal=principal, permission=permission, place=place)
        return decide(snapshot, question, now=self._clock.now()), snapshot

    async def reach(self, caller: Caller, permission: Permission) -> Reach:
        """Where the caller holds the permission, for lists that show only that."""
        if caller.permissions is not None and permission not in caller.permissions:
            return Reach()
        snapshot = await self._snapshots.current(caller.organization_id)
        places = places_with(snapshot, caller.name, permission, now=self._clock.now())
        if caller.project_id:
            places = _within(places, caller.project_id)
        return Reach(
            everywhere=Place() in places,
            project_ids=frozenset(p.project_id for p in places if not p.object and p.project_id),
            objects=frozenset(p for p in places if p.object),
        )

    def _decide(
        self,
        snapshot: Snapshot,
        caller: Caller,
        permission: Permission,
        project_id: str,
        object_id: str,
    ) -> Decision:
        _check_project(snapshot, project_id)
        question = Question(
            principal=caller.name,
            permission=permission,
            place=Place(project_id=project_id, object=object_name(permission, object_id)),
            key_permissions=caller.permissions,
            key_project=caller.project_id,
        )
        holders = self._snapshots.holders(snapshot, question.principal)
        return decide(snapshot, question, now=self._clock.now(), holders=holders)


def _check_project(snapshot: Snapshot, project_id: str) -> None:
    if project_id and project_id not in snapshot.projects:
        raise ResourceNotFound("There is no such project.")


def _within(places: frozenset[Place], project_id: str) -> frozenset[Place]:
    """What is left of places for an API key that belongs to one project."""
    if Place() in places or Place(project_id=project_id) in places:
        return frozenset({Place(project_id=project_id)})
    return frozenset(
        Place(project_id=project_id, object=place.object)
        for place in places
        if place.object and place.project_id in {"", project_id}
    )
