"""Who stores what secret, where, behind which boundary, for how long, and what was done with it.

Answers come from the draft's records, what is published, what gateways reported, and which gateways
there are. Nothing here has ever seen a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from keylease.contracts.base_urls import read_base_url
from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.patterns import matches, patterns_meet
from keylease.contracts.references import Reference
from keylease.errors import ReferenceInvalid
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository, revocation_rows
from keylease.platform.policy.interfaces import CallRecords, GatewayGroups, SeenVersion
from keylease.platform.policy.resources import (
    AgeAction,
    CredentialContent,
    PolicyContents,
    Resource,
    ResourceKind,
)
from keylease.primitives.clock import MICROSECONDS

STORES: Final = {
    "env": "environment of the gateway",
    "file": "file on the gateway's machine",
    "sealed": "sealed file of the gateway",
    "keyring": "keyring of the gateway's user",
    "vault": "Vault or OpenBao",
    "aws-sm": "AWS Secrets Manager",
}
_NAMES_SHOWN: Final = 50


class Age(msgspec.Struct, frozen=True, kw_only=True):
    """How old the secret is that was seen last."""

    first_seen: int = 0
    """Of the version in use; microseconds UTC, 0 while none was seen."""
    due_at: int = 0
    """When it is too old; 0 for no maximum, or while none was seen."""
    overdue: bool = False
    refused: bool = False
    """Whether gateways refuse it for that."""


class Boundary(msgspec.Struct, frozen=True, kw_only=True):
    """Which processes can hold the secret at all."""

    gateway_groups: Mapping[str, int]
    """Groups that are told of it, with how many gateways each has."""
    hosts: tuple[str, ...]
    """Where gateways may send it, as far as policy says; gateway.toml may allow less."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Who can use it, by which way, for how long."""

    routes: tuple[str, ...]
    grants: tuple[str, ...]
    """Names, at most fifty."""
    longest_lease_seconds: int


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    """One credential with what there is to say about it."""

    resource: Resource
    store: str
    revoked: bool
    age: Age
    versions: tuple[SeenVersion, ...]
    boundary: Boundary
    reach: Reach

    @property
    def credential(self) -> CredentialContent:
        """What is on record."""
        content = self.resource.content
        if not isinstance(content, CredentialContent):  # pragma: no cover - made of credentials
            raise TypeError(type(content))
        return content


class Credentials:
    """Looks at credentials from all sides."""

    def __init__(self, database: Database, *, records: CallRecords, groups: GatewayGroups) -> None:
        self._database = database
        self._records = records
        self._groups = groups

    async def page(
        self, caller: Caller, request: PageRequest, *, name: str = ""
    ) -> Page[CredentialView]:
        """Credentials by name, each with everything."""
        async with self._database.reading(caller) as tx:
            found = await repository.page(tx, ResourceKind.CREDENTIAL, request, name=name)
            return Page(
                items=tuple(await self._views(tx, found.items)), next_cursor=found.next_cursor
            )

    async def get(self, caller: Caller, credential_id: str) -> CredentialView:
        """One credential. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            stored = await repository.find(tx, ResourceKind.CREDENTIAL, credential_id)
            return (await self._views(tx, [stored.resource]))[0]

    async def ages(self, caller: Caller) -> dict[str, tuple[CredentialContent, Age]]:
        """Every credential of the caller's organization, with its age; for reports."""
        organization_id = caller.organization_id
        async with self._database.reading(caller) as tx:
            found = await repository.known(tx, ResourceKind.CREDENTIAL)
            seen = await self._records.versions_seen(tx, organization_id, None)
            now = tx.now
        return {
            name: (content, age_of(content, seen.get(name, ()), now=now))
            for name, content in sorted(found.items())
            if isinstance(content, CredentialContent)
        }

    async def _views(self, tx: Transaction, found: Sequence[Resource]) -> list[CredentialView]:
        if not found:
            return []
        organization_id = tx.caller.organization_id
        names = [resource.id for resource in found]
        seen = await self._records.versions_seen(tx, organization_id, names)
        revoked = await revocation_rows.revoked_credentials(tx, names)
        groups = await self._groups.groups(tx, organization_id)
        contents = await repository.draft_contents(tx, organization_id)
        views = []
        for resource in found:
            content = contents.credentials[resource.id]
            versions = tuple(seen.get(resource.id, ()))
            views.append(
                CredentialView(
                    resource=resource,
                    store=_store(content.reference),
                    revoked=resource.id in revoked,
                    age=age_of(content, versions, now=tx.now),
                    versions=versions,
                    boundary=_boundary(content, groups),
                    reach=_reach(resource.id, content, contents),
                )
            )
        return views


def age_of(content: CredentialContent, versions: Sequence[SeenVersion], *, now: int) -> Age:
    """The age of the version that came into use last."""
    if not versions:
        return Age()
    first_seen = max(version.first_seen for version in versions)
    if not content.maximum_age_seconds:
        return Age(first_seen=first_seen)
    due_at = first_seen + content.maximum_age_seconds * MICROSECONDS
    overdue = now >= due_at
    return Age(
        first_seen=first_seen,
        due_at=due_at,
        overdue=overdue,
        refused=overdue and content.age_action is AgeAction.REFUSE,
    )


def _store(reference: str) -> str:
    try:
        return STORES.get(Reference.parse(reference).scheme, "")
    except ReferenceInvalid:  # of a version that knew another store
        return ""


def _boundary(content: CredentialContent, groups: Mapping[str, int]) -> Boundary:
    told = {
        name: count
        for name, count in sorted(groups.items())
        if any(matches(pattern, name) for pattern in content.gateway_groups)
    }
    provider = CATALOGUE.get(content.provider)
    url = content.upstream or (provider.base_url if provider is not None else "")
    hosts: tuple[str, ...] = ()
    if url:
        origin = read_base_url(url)
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        hosts = (f"{origin.scheme}://{host}:{origin.port}",)
    return Boundary(gateway_groups=told, hosts=hosts)


def _reach(credential_id: str, content: CredentialContent, contents: PolicyContents) -> Reach:
    routes = [
        route
        for route in contents.routes.values()
        if any(target.credential_id == credential_id for target in route.targets)
    ]
    grants = [
        grant
        for grant in contents.grants.values()
        if set(grant.purposes) & set(content.purposes)
        and any(matches(pattern, content.environment) for pattern in grant.environments)
        and any(patterns_meet(grant.models, route.models) for route in routes)
    ]
    return Reach(
        routes=tuple(sorted(route.name for route in routes)[:_NAMES_SHOWN]),
        grants=tuple(sorted(grant.name for grant in grants)[:_NAMES_SHOWN]),
        longest_lease_seconds=max((g.maximum_lease_seconds for g in grants), default=0),
    )
