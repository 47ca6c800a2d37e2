"""Outside issuers as their organization's owners manage them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, VersionChanged
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Directory
from keylease.platform.identity.outside import repository
from keylease.platform.identity.outside.clients import IssuerClients
from keylease.platform.identity.outside.interfaces import (
    IssuerContent,
    OfferedIssuer,
    OutsideIssuer,
)
from keylease.platform.identity.outside.repository import StoredIssuer
from keylease.platform.identity.sealing import Sealer
from keylease.platform.identity.sign_in.service import Secret

_KIND: Final = "outside_issuer"


class OutsideIssuers:
    """Reads and changes them."""

    def __init__(
        self, database: Database, *, clients: IssuerClients, sealer: Sealer, directory: Directory
    ) -> None:
        self._database = database
        self._directory = directory
        self._clients = clients
        self._sealer = sealer

    async def offered(self, organization_id: str) -> list[OfferedIssuer]:
        """What a stranger sees on the sign-in page."""
        async with self._database.reading() as tx:
            return await repository.offered(tx, organization_id)

    async def listed(self, caller: Caller, page: PageRequest) -> Page[OutsideIssuer]:
        """The organization's."""
        async with self._database.reading(caller) as tx:
            rows = await repository.page(tx, caller.organization_id, page)
        issuers: list[OutsideIssuer] = list(rows)
        return page_of(issuers, page, key=lambda issuer: (issuer.id,))

    async def read(self, caller: Caller, issuer_id: str) -> OutsideIssuer:
        """One of them; raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await repository.by_id(tx, issuer_id, organization_id=caller.organization_id)

    async def add(
        self, caller: Caller, content: IssuerContent, client_secret: Secret
    ) -> OutsideIssuer:
        """Trust an issuer to say who somebody is."""
        self._check(content)
        async with self._database.transaction(caller) as tx:
            if (before := await tx.created_before(_KIND)) is not None:
                return await repository.by_id(tx, before, organization_id=caller.organization_id)
            await self._check_groups(tx, content, known={})
            issuer_id = tx.new_id()
            issuer = StoredIssuer(
                id=issuer_id,
                organization_id=caller.organization_id,
                has_client_secret=bool(client_secret.text),
                sealed_client_secret=self._sealed(tx, issuer_id, client_secret),
                created_at=tx.now,
                version=1,
                **msgspec.structs.asdict(content),
            )
            await repository.add(tx, issuer)
            await tx.created(_KIND, issuer.id)
            await self._record(tx, AuditAction.OUTSIDE_ISSUER_ADDED, issuer)
        return issuer

    async def change(
        self,
        caller: Caller,
        issuer_id: str,
        content: IssuerContent,
        client_secret: Secret | None,
        *,
        expected: int,
    ) -> OutsideIssuer:
        """Replace what is said of it; without a client secret the old one stays."""
        self._check(content)
        async with self._database.transaction(caller) as tx:
            before = await self._expected(tx, issuer_id, expected)
            if before.issuer != content.issuer:
                raise InputInvalid(
                    "Another issuer is another thing: its subjects are other people.",
                    advice="Add it as a new one and remove this one.",
                )
            await self._check_groups(tx, content, known=before.groups)
            values = {**msgspec.structs.asdict(before), **msgspec.structs.asdict(content)}
            if client_secret is not None:
                values["sealed_client_secret"] = self._sealed(tx, issuer_id, client_secret)
                values["has_client_secret"] = bool(client_secret.text)
            values["version"] = expected + 1
            issuer = StoredIssuer(**values)
            await repository.change(tx, issuer)
            await self._record(tx, AuditAction.OUTSIDE_ISSUER_CHANGED, issuer)
        return issuer

    async def remove(self, caller: Caller, issuer_id: str, *, expected: int) -> None:
        """Trust it no more; who it stood for keeps the user here, and their other ways in."""
        async with self._database.transaction(caller) as tx:
            issuer = await self._expected(tx, issuer_id, expected)
            await repository.remove(tx, issuer)
            await self._record(tx, AuditAction.OUTSIDE_ISSUER_REMOVED, issuer)

    async def _expected(self, tx: Transaction, issuer_id: str, expected: int) -> StoredIssuer:
        issuer = await repository.by_id(tx, issuer_id, organization_id=tx.caller.organization_id)
        if issuer.version != expected:
            raise VersionChanged(
                f"The issuer is at version {issuer.version} now.",
                advice="Read it again and repeat the change.",
            )
        return issuer

    def _check(self, content: IssuerContent) -> None:
        if not self._clients.may_be_asked(content.issuer) or "?" in content.issuer:
            raise InputInvalid(
                "An issuer is an https URL.",
                advice="One on a private address is named in the server's configuration first.",
            )

    async def _check_groups(
        self, tx: Transaction, content: IssuerContent, *, known: Mapping[str, str]
    ) -> None:
        # One that was archived meanwhile gives nothing, and keeps nobody from other changes.
        new = frozenset(content.groups.values()).difference(known.values())
        if new - await self._directory.groups_in_use(tx, new):
            raise InputInvalid(
                "A value of the claim stands for a group that the organization does not have.",
                advice="GET /v1/groups lists the groups with their identifiers.",
            )

    def _sealed(self, tx: Transaction, issuer_id: str, client_secret: Secret) -> bytes | None:
        if not client_secret.text:
            return None
        place = secret_place(tx.caller.organization_id, issuer_id)
        return self._sealer.seal(client_secret.text.encode(), place=place)

    async def _record(self, tx: Transaction, action: AuditAction, issuer: OutsideIssuer) -> None:
        await tx.record(
            action,
            issuer.id,
            details={
                "issuer": issuer.issuer,
                "adds_users": str(issuer.adds_users).lower(),
                "sees_to_second_factor": str(issuer.sees_to_second_factor).lower(),
                "mapped_groups": str(len(issuer.groups)),
            },
        )


def secret_place(organization_id: str, issuer_id: str) -> str:
    """Where a client secret belongs, for the seal."""
    return f"client-secret/{organization_id}/{issuer_id}"
