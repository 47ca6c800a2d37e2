"""Which secret of the inventory is which credential, as the gateways that fetch them say.

A gateway that holds the organization's fingerprint key tells the fingerprints of the secrets it
fetches. A secret that a scan found under one of them is that credential, and whoever used the
credential is its consumer.

Protects: what a gateway says counts for credentials of its own group; its statements stand with its
    name in the history, and are bounded.
Does not protect: a gateway that lies can say of a credential of its group that it is some secret
    whose fingerprint it knows. Nothing follows from it but what readers of the inventory see.
Limits: the platform has no fingerprint key. It compares, and cannot ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from sqlalchemy import Join, and_, delete, insert, select, update

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction
from keylease.errors import RequestMalformed
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.inventory.changes import Change, ChangeKind, write_change
from keylease.platform.inventory.tables import FINGERPRINTS, REPORTED, SECRETS

MOST_FOR_A_CREDENTIAL: Final = 64
"""Fingerprints; the oldest make room. A credential that is rotated weekly has them for a year."""
_KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VALUE: Final = re.compile(r"[0-9a-f]{64}")
_HIGHEST_VERSION: Final = 10**9
_LONGEST_VERSION: Final = 200
_MOST_EACH: Final = 2
"""Fingerprints of one secret: under the key in force, and under the one before it."""


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A credential whose secret this is, as a gateway has seen."""

    credential_id: str
    name: str = ""
    """Of the credential, while the policy has it."""
    credential_version: str
    """Of the credential's secret; a version that is past was this secret once."""
    gateway_id: str
    first_reported: int
    last_reported: int


class ReportedFingerprints:
    """Takes what gateways report."""

    def __init__(self, database: Database, *, when_changed: Callable[[], None]) -> None:
        """``when_changed`` is called after a commit that wrote history."""
        self._database = database
        self._when_changed = when_changed

    async def accept(
        self,
        caller: Caller,
        gateway_id: str,
        push: wire.FingerprintPush,
        *,
        served: frozenset[str],
    ) -> wire.PushAnswer:
        """Commit a report. ``served`` are the credentials of the gateway's group; others are left.

        Raises ``RequestMalformed`` for what is no fingerprint.
        """
        if len(push.secrets) > wire.MAXIMUM_FINGERPRINTED:
            raise RequestMalformed("The report is longer than a gateway makes one.")
        for one in push.secrets:
            _check(one)
        taken = [one for one in push.secrets if one.credential_id in served]
        async with self._database.transaction(caller) as tx:
            for one in taken:
                for fingerprint in map(str, one.fingerprints):
                    await _keep(tx, gateway_id, one, fingerprint)
                await _forget_oldest(tx, one.credential_id)
            if await link_reported(tx):
                tx.after_commit(self._when_changed)
        return wire.PushAnswer(taken=len(taken), set_aside=len(push.secrets) - len(taken))


async def link_reported(tx: Transaction) -> int:
    """Say of every secret that is not linked yet which credential it is, where that is known.

    What a person said stays. How many were linked.
    """
    organization_id = tx.caller.organization_id
    rows = await tx.rows(
        select(SECRETS.c.id, REPORTED.c.credential_id, REPORTED.c.credential_version)
        .select_from(_joined())
        .join(SECRETS, SECRETS.c.id == FINGERPRINTS.c.secret_id)
        .where(REPORTED.c.organization_id == organization_id, SECRETS.c.credential_id.is_(None))
        .order_by(SECRETS.c.id, REPORTED.c.first_reported, REPORTED.c.credential_id)
    )
    linked: set[str] = set()
    for row in rows:
        secret_id = str(row["id"])
        if secret_id in linked:
            continue  # another credential has the same secret; readers see both
        linked.add(secret_id)
        await tx.execute(
            update(SECRETS)
            .where(SECRETS.c.id == secret_id)
            .values(credential_id=row["credential_id"], version=SECRETS.c.version + 1)
        )
        details = {"credential_id": str(row["credential_id"]), "evidence": "fingerprint"}
        await tx.record(
            AuditAction.INVENTORY_SECRET_CHANGED,
            secret_id,
            reason=ChangeKind.CREDENTIAL_SET,
            details=details,
        )
        await write_change(
            tx, Change(what=ChangeKind.CREDENTIAL_SET, secret_id=secret_id, details=details)
        )
    return len(linked)


async def reported_for(
    tx: Transaction, secret_ids: Iterable[str]
) -> Mapping[str, tuple[Reported, ...]]:
    """By secret: the credentials that gateways say it is, the first reported first."""
    ids = list(secret_ids)
    found: dict[str, dict[str, Reported]] = {}
    for start in range(0, len(ids), wire.MAXIMUM_FINGERPRINTED):
        rows = await tx.rows(
            select(FINGERPRINTS.c.secret_id, REPORTED)
            .select_from(_joined())
            .where(
                REPORTED.c.organization_id == tx.caller.organization_id,
                FINGERPRINTS.c.secret_id.in_(ids[start : start + wire.MAXIMUM_FINGERPRINTED]),
            )
            .order_by(REPORTED.c.first_reported, REPORTED.c.credential_id)
        )
        for row in rows:
            found.setdefault(str(row["secret_id"]), {}).setdefault(
                str(row["credential_id"]),
                Reported(
                    credential_id=str(row["credential_id"]),
                    credential_version=str(row["credential_version"]),
                    gateway_id=str(row["gateway_id"]),
                    first_reported=int(row["first_reported"]),
                    last_reported=int(row["last_reported"]),
                ),
            )
    return {secret_id: tuple(each.values()) for secret_id, each in found.items()}


def _joined() -> Join:
    return REPORTED.join(
        FINGERPRINTS,
        and_(
            FINGERPRINTS.c.organization_id == REPORTED.c.organization_id,
            FINGERPRINTS.c.fingerprint == REPORTED.c.fingerprint,
        ),
    )


async def _keep(
    tx: Transaction, gateway_id: str, one: wire.SecretFingerprints, fingerprint: str
) -> None:
    same = (
        REPORTED.c.organization_id == tx.caller.organization_id,
        REPORTED.c.fingerprint == fingerprint,
        REPORTED.c.credential_id == one.credential_id,
    )
    told = {
        "credential_version": one.version,
        "gateway_id": gateway_id,
        "last_reported": tx.now,
    }
    if await tx.row(select(REPORTED.c.fingerprint).where(*same)) is not None:
        await tx.execute(update(REPORTED).where(*same).values(**told))
        return
    await tx.execute(
        insert(REPORTED).values(
            organization_id=tx.caller.organization_id,
            fingerprint=fingerprint,
            credential_id=one.credential_id,
            first_reported=tx.now,
            **told,
        )
    )


async def _forget_oldest(tx: Transaction, credential_id: str) -> None:
    of_credential = (
        REPORTED.c.organization_id == tx.caller.organization_id,
        REPORTED.c.credential_id == credential_id,
    )
    rows = await tx.rows(
        select(REPORTED.c.fingerprint)
        .where(*of_credential)
        .order_by(REPORTED.c.last_reported.desc(), REPORTED.c.fingerprint)
        .offset(MOST_FOR_A_CREDENTIAL)
        .limit(wire.MAXIMUM_FINGERPRINTED)
    )
    if rows:
        old = [str(row["fingerprint"]) for row in rows]
        await tx.execute(delete(REPORTED).where(*of_credential, REPORTED.c.fingerprint.in_(old)))


def _check(one: wire.SecretFingerprints) -> None:
    plausible = (
        0 < len(one.fingerprints) <= _MOST_EACH
        and one.version.isprintable()
        and len(one.version) <= _LONGEST_VERSION
        and all(
            _KEY_ID.fullmatch(mark.key_id)
            and 0 < mark.version <= _HIGHEST_VERSION
            and _VALUE.fullmatch(mark.value)
            for mark in one.fingerprints
        )
    )
    if not plausible:
        raise RequestMalformed("The report holds what is no fingerprint.")
