"""Credentials, routes, grants, budgets and trust rules: changed in the draft, one by one.

Protects: every change is a revision with its author, and an audit entry of the same commit; what
    looks like a key is refused also where it was written in escapes; what the organization does not
    have is not found.
Does not protect: a draft is checked as a whole when it is published, not before.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease import detectors
from keylease.contracts.audit import AuditAction
from keylease.contracts.policy_rules import canonical
from keylease.errors import (
    Mistake,
    PolicyInvalid,
    ResourceConflict,
    SecretInRequest,
)
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.db.versions import check_version
from keylease.platform.policy import repository
from keylease.platform.policy.interfaces import Organizations
from keylease.platform.policy.resources import (
    Content,
    CredentialContent,
    DraftState,
    GrantContent,
    Resource,
    ResourceKind,
    Revision,
    RouteContent,
    SettingsContent,
    encode,
    is_group,
    kind_of,
)
from keylease.platform.policy.rules import Surroundings, mistakes_of
from keylease.primitives.identifiers import derived_id

_ACTIONS: Final = {
    (ResourceKind.CREDENTIAL, "added"): AuditAction.CREDENTIAL_ADDED,
    (ResourceKind.CREDENTIAL, "changed"): AuditAction.CREDENTIAL_CHANGED,
    (ResourceKind.CREDENTIAL, "removed"): AuditAction.CREDENTIAL_REMOVED,
    (ResourceKind.ROUTE, "added"): AuditAction.ROUTE_ADDED,
    (ResourceKind.ROUTE, "changed"): AuditAction.ROUTE_CHANGED,
    (ResourceKind.ROUTE, "removed"): AuditAction.ROUTE_REMOVED,
    (ResourceKind.GRANT, "added"): AuditAction.POLICY_GRANT_ADDED,
    (ResourceKind.GRANT, "changed"): AuditAction.POLICY_GRANT_CHANGED,
    (ResourceKind.GRANT, "removed"): AuditAction.POLICY_GRANT_REMOVED,
    (ResourceKind.BUDGET, "added"): AuditAction.BUDGET_ADDED,
    (ResourceKind.BUDGET, "changed"): AuditAction.BUDGET_CHANGED,
    (ResourceKind.BUDGET, "removed"): AuditAction.BUDGET_REMOVED,
    (ResourceKind.TRUST_RULE, "added"): AuditAction.TRUST_RULE_ADDED,
    (ResourceKind.TRUST_RULE, "changed"): AuditAction.TRUST_RULE_CHANGED,
    (ResourceKind.TRUST_RULE, "removed"): AuditAction.TRUST_RULE_REMOVED,
    (ResourceKind.SETTINGS, "added"): AuditAction.POLICY_SETTINGS_CHANGED,
    (ResourceKind.SETTINGS, "changed"): AuditAction.POLICY_SETTINGS_CHANGED,
}
_MAXIMUM_THINGS: Final = 50_000
"""Of one kind; a gateway reads at most 100,000."""


class PolicyResources:
    """Changes the draft."""

    def __init__(self, database: Database, *, organizations: Organizations) -> None:
        self._database = database
        self._organizations = organizations

    async def create(self, caller: Caller, content: Content) -> Resource:
        """Add a thing to the draft. Raises ``PolicyInvalid`` with every mistake."""
        content = _plain(content)
        kind = kind_of(content)
        async with self._database.transaction(caller) as tx:
            if (before := await tx.created_before(kind.value)) is not None:
                return (await repository.find(tx, kind, before)).resource
            state = await repository.lock_state(tx, caller.organization_id)
            await self._check(tx, content)
            if await repository.count(tx, kind) >= _MAXIMUM_THINGS:
                raise ResourceConflict(f"There are {_MAXIMUM_THINGS} of them, which is the most.")
            object_id = tx.new_id()
            await repository.add(tx, object_id, content, change="added")
            await self._recorded(tx, object_id, content, "added", draft=state.draft)
            await tx.created(kind.value, object_id)
            return (await repository.find(tx, kind, object_id)).resource

    async def update(
        self, caller: Caller, object_id: str, content: Content, *, expected: int
    ) -> Resource:
        """Put another content in the place of a thing's. Nothing happens when it is the same."""
        content = _plain(content)
        kind = kind_of(content)
        async with self._database.transaction(caller) as tx:
            state = await repository.lock_state(tx, caller.organization_id)
            stored = await repository.find(tx, kind, object_id)
            check_version(current=stored.resource.version, expected=expected)
            if encode(stored.resource.content) == encode(content):
                return stored.resource
            await self._check(tx, content, object_id=object_id, before=stored.resource.content)
            await self._write(tx, stored, content, "changed", draft=state.draft)
            return (await repository.find(tx, kind, object_id)).resource

    async def remove(
        self, caller: Caller, kind: ResourceKind, object_id: str, *, expected: int
    ) -> None:
        """Take a thing out of the draft. Raises ``ResourceConflict`` while others refer to it."""
        async with self._database.transaction(caller) as tx:
            state = await repository.lock_state(tx, caller.organization_id)
            stored = await repository.find(tx, kind, object_id)
            check_version(current=stored.resource.version, expected=expected)
            await _check_unused(tx, kind, object_id)
            await self._write(tx, stored, None, "removed", draft=state.draft)

    async def get(self, caller: Caller, kind: ResourceKind, object_id: str) -> Resource:
        """A thing as it is in the draft."""
        async with self._database.reading(caller) as tx:
            return (await repository.find(tx, kind, object_id)).resource

    async def page(
        self, caller: Caller, kind: ResourceKind, request: PageRequest, *, name: str = ""
    ) -> Page[Resource]:
        """Things of a kind by name, or the one that has the name."""
        async with self._database.reading(caller) as tx:
            return await repository.page(tx, kind, request, name=name)

    async def history(
        self, caller: Caller, kind: ResourceKind, object_id: str, request: PageRequest
    ) -> Page[Revision]:
        """Who changed a thing, when and how; the newest first."""
        async with self._database.reading(caller) as tx:
            return await repository.history(tx, kind, object_id, request)

    async def settings(self, caller: Caller) -> Resource:
        """What holds for the policy as a whole; version 0 while nobody has said anything."""
        async with self._database.reading(caller) as tx:
            return await _settings(tx)

    async def set_settings(
        self, caller: Caller, content: SettingsContent, *, expected: int
    ) -> Resource:
        """Say what holds for the policy as a whole."""
        async with self._database.transaction(caller) as tx:
            state = await repository.lock_state(tx, caller.organization_id)
            before = await _settings(tx)
            check_version(current=before.version, expected=expected)
            if before.content == content:
                return before
            await self._check(tx, content, object_id=before.id)
            if before.version:
                stored = await repository.find(tx, ResourceKind.SETTINGS, before.id)
                await self._write(tx, stored, content, "changed", draft=state.draft)
            else:
                await repository.add(tx, before.id, content, change="added")
                await self._recorded(tx, before.id, content, "added", draft=state.draft)
            return await _settings(tx)

    async def _write(
        self,
        tx: Transaction,
        stored: repository.Stored,
        content: Content | None,
        change: str,
        *,
        draft: int,
    ) -> None:
        before = stored.resource
        published = await repository.published_document(tx, before.id)
        await repository.change(
            tx,
            before,
            content,
            change=change,
            draft_state=repository.draft_state(content, published),
        )
        await self._recorded(
            tx, before.id, content or before.content, change, draft=draft, before=before.content
        )

    async def _recorded(
        self,
        tx: Transaction,
        object_id: str,
        content: Content,
        change: str,
        *,
        draft: int,
        before: Content | None = None,
    ) -> None:
        await repository.set_state(tx, tx.caller.organization_id, draft=draft + 1)
        details = {"draft": str(draft + 1)}
        if before is not None and change == "changed":
            details["members"] = ",".join(changed_members(before, content))
        await tx.record(_ACTIONS[kind_of(content), change], object_id, details=details)

    async def _check(
        self,
        tx: Transaction,
        content: Content,
        *,
        object_id: str = "",
        before: Content | None = None,
    ) -> None:
        if detectors.looks_like_secret(encode(content).decode()):
            raise SecretInRequest(
                "The request contains something that looks like a key. Nothing was stored.",
                advice="Put the key into your secret store and send its reference.",
            )
        mistakes = mistakes_of(content, await _surroundings(tx, content))
        if await repository.name_is_taken(tx, kind_of(content), content.name, but_by=object_id):
            mistakes.append(Mistake(location="name", message="Another one has this name already."))
        if isinstance(content, CredentialContent) and content.owner:
            same = isinstance(before, CredentialContent) and before.owner == content.owner
            # An owner who has left meanwhile does not keep others from changing the rest.
            if not same and not await self._organizations.principal_exists(
                tx, tx.caller.organization_id, content.owner
            ):
                mistakes.append(
                    Mistake(location="owner", message="The organization has no such principal.")
                )
        if isinstance(content, GrantContent):
            mistakes += await self._unknown_groups(tx, content, before)
        if mistakes:
            raise invalid(mistakes, base="body")

    async def _unknown_groups(
        self, tx: Transaction, grant: GrantContent, before: Content | None
    ) -> list[Mistake]:
        # A group that was archived meanwhile has no members, and keeps nobody from other changes.
        known = before.principals if isinstance(before, GrantContent) else ()
        return [
            Mistake(
                location=f"principals.{index}", message="The organization has no such group in use."
            )
            for index, name in enumerate(grant.principals)
            if is_group(name)
            and name not in known
            and not await self._organizations.holder_exists(tx, tx.caller.organization_id, name)
        ]


def changed_members(before: Content, after: Content) -> list[str]:
    """Names of the members that differ."""
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return [name for name in new if old.get(name) != new[name]]


def invalid(mistakes: list[Mistake], *, base: str) -> PolicyInvalid:
    """The error that tells every mistake, with where it is."""
    located = tuple(
        msgspec.structs.replace(
            mistake, location=f"{base}.{mistake.location}" if mistake.location else base
        )
        for mistake in mistakes
    )
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return PolicyInvalid(
        f"There is {count} in it; nothing was changed."
        if len(mistakes) == 1
        else f"There are {count} in it; nothing was changed.",
        mistakes=located,
        advice="`errors` says where each is, and what to write.",
    )


def _plain(content: Content) -> Content:
    """The one text of a reference, so that revocations and fetches mean the same secret."""
    if isinstance(content, CredentialContent) and (plain := canonical(content.reference)):
        return msgspec.structs.replace(content, reference=plain)
    return content


async def _surroundings(tx: Transaction, content: Content) -> Surroundings:
    if isinstance(content, RouteContent):
        found = await repository.known(tx, ResourceKind.CREDENTIAL)
        return Surroundings(credentials={name: thing.name for name, thing in found.items()})
    if isinstance(content, GrantContent) and content.budgets:
        found = await repository.known(tx, ResourceKind.BUDGET)
        return Surroundings(budgets={name: thing.name for name, thing in found.items()})
    return Surroundings()


async def _check_unused(tx: Transaction, kind: ResourceKind, object_id: str) -> None:
    users: list[str] = []
    if kind is ResourceKind.CREDENTIAL:
        users = [
            f'the route "{route.name}"'
            for route in (await repository.known(tx, ResourceKind.ROUTE)).values()
            if isinstance(route, RouteContent)
            and any(target.credential_id == object_id for target in route.targets)
        ]
    if kind is ResourceKind.BUDGET:
        users = [
            f'the grant "{grant.name}"'
            for grant in (await repository.known(tx, ResourceKind.GRANT)).values()
            if isinstance(grant, GrantContent) and object_id in grant.budgets
        ]
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""  # noqa: PLR2004 - as many as fit a line
        raise ResourceConflict(
            f"It is used by {', '.join(users[:3])}{more}.", advice="Change those first."
        )


async def _settings(tx: Transaction) -> Resource:
    for object_id in await repository.known(tx, ResourceKind.SETTINGS):
        return (await repository.find(tx, ResourceKind.SETTINGS, object_id)).resource
    organization = tx.caller.organization_id
    return Resource(
        id=derived_id(organization, ResourceKind.SETTINGS.value, SettingsContent().name),
        kind=ResourceKind.SETTINGS,
        version=0,
        content=SettingsContent(),
        draft_state=DraftState.PUBLISHED,
        created_at=0,
        changed_at=0,
        changed_by="",
    )
