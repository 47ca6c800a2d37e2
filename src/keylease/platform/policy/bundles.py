"""Bundles for gateway groups: compiled when something changed, numbered, signed, kept in memory.

Protects: a number of an organization is given once and grows; a version has one content, also when
    several servers sign it; what is signed is what was published, with the revocations of the same
    moment.
Does not protect: see ``keys`` and ``compiler``.
Limits: valid for a day; issued again with later times well before half of that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import select, update

from keylease.contracts.audit import AuditAction
from keylease.contracts.bundles import DEFAULT_VALIDITY, SignedBundle, sign_bundle
from keylease.contracts.policy import PolicyBundle
from keylease.platform.db.callers import platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository, revocation_rows
from keylease.platform.policy.compiler import PolicyCompiler
from keylease.platform.policy.groups import groups_named
from keylease.platform.policy.interfaces import ApiKeyUses, CallRecords, Organizations
from keylease.platform.policy.keys import PolicyKeys
from keylease.platform.policy.resources import AgeAction, PolicyContents
from keylease.platform.policy.tables import BUNDLES, STATE
from keylease.primitives.clock import MICROSECONDS, Clock

_ISSUE_AGAIN: Final = DEFAULT_VALIDITY // 4 * MICROSECONDS
_LOOK_AGAIN: Final = 10 * 60 * MICROSECONDS
"""What changes without anybody saying so: API keys expire, revocations grow old."""
_HIGHEST: Final = 2**52
"""Beyond this, no gateway's word about versions is believed; there is room for as many after it."""


class _Issue(msgspec.Struct, frozen=True):
    generation: int
    content: str
    issued_at: int
    looked_at: int
    signed: SignedBundle


class PolicyBundles:
    """``gateways.BundleSource``."""

    def __init__(
        self,
        database: Database,
        *,
        keys: PolicyKeys,
        organizations: Organizations,
        api_keys: ApiKeyUses,
        records: CallRecords,
        clock: Clock,
    ) -> None:
        self._database = database
        self._keys = keys
        self._organizations = organizations
        self._api_keys = api_keys
        self._records = records
        self._clock = clock
        self._issues: dict[tuple[str, str], _Issue] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def policy_key(self, organization_id: str) -> bytes:
        """The public key that signs the organization's bundles."""
        return await self._keys.public_key(organization_id)

    async def bundle(self, organization_id: str, group: str) -> SignedBundle | None:
        """The bundle of a gateway group as it is now; ``None`` before anything was published."""
        async with self._database.reading(platform_itself(organization_id)) as tx:
            state = await repository.read_state(tx, organization_id)
        if state.published == 0:
            return None
        name = (organization_id, group)
        # One compiles; the others of this group wait for what it makes.
        async with self._locks.setdefault(name, asyncio.Lock()):
            issue = self._issues.get(name)
            if issue is None or not self._is_fresh(issue, state.generation):
                issue = await self._issue(organization_id, group, before=issue)
                self._issues[name] = issue
            return issue.signed

    async def generations(self, organization_ids: Sequence[str]) -> Mapping[str, int]:
        """A number for each organization that grows with everything its bundles are made of."""
        query = select(STATE.c.organization_id, STATE.c.generation).where(
            STATE.c.organization_id.in_(organization_ids)
        )
        async with self._database.reading() as tx:
            rows = await tx.rows(query)
        return {row["organization_id"]: row["generation"] for row in rows}

    async def gateway_is_ahead(self, organization_id: str, group: str, version: int) -> None:
        """A gateway has taken ``version`` and ours is lower: go on above it."""
        if version > _HIGHEST:
            return  # no number of ours; a gateway that was taken over may say anything
        async with self._database.transaction(platform_itself(organization_id)) as tx:
            state = await repository.lock_state(tx, organization_id)
            if version > state.bundle_version:
                await repository.set_state(
                    tx, organization_id, bundle_version=version, generation=state.generation + 1
                )
            # The same content needs a new number too.
            await tx.execute(
                update(BUNDLES)
                .where(
                    BUNDLES.c.organization_id == organization_id,
                    BUNDLES.c.gateway_group == group,
                    BUNDLES.c.version < version,
                )
                .values(digest="")
            )
        self._issues.pop((organization_id, group), None)

    def _is_fresh(self, issue: _Issue, generation: int) -> bool:
        now = self._clock.now()
        return (
            issue.generation == generation
            and now - issue.issued_at < _ISSUE_AGAIN
            and 0 <= now - issue.looked_at < _LOOK_AGAIN
        )

    async def _issue(self, organization_id: str, group: str, *, before: _Issue | None) -> _Issue:
        async with self._database.transaction(platform_itself(organization_id)) as tx:
            state = await repository.lock_state(tx, organization_id)
            plain = await self._compile(tx, state, group)
            content = hashlib.sha256(msgspec.json.encode(plain)).hexdigest()
            version = await self._version(tx, state, group, content)
            signing = await self._keys.signing_key(tx)
            now = tx.now
        if (
            before is not None
            and before.content == f"{version}:{content}"
            and now - before.issued_at < _ISSUE_AGAIN
            and before.signed.endorsements == signing.endorsements
        ):
            # Nothing that gateways have to be told.
            return msgspec.structs.replace(before, generation=state.generation, looked_at=now)
        bundle = msgspec.structs.replace(
            plain,
            version=version,
            issued_at=now,
            expires_at=now + DEFAULT_VALIDITY * MICROSECONDS,
        )
        return _Issue(
            generation=state.generation,
            content=f"{version}:{content}",
            issued_at=now,
            looked_at=now,
            signed=sign_bundle(bundle, signing.key, endorsements=signing.endorsements),
        )

    async def _compile(
        self, tx: Transaction, state: repository.PolicyState, group: str
    ) -> PolicyBundle:
        organization_id = tx.caller.organization_id
        contents = await repository.published_contents(tx, organization_id, state.published)
        aged = _with_enforced_age(contents)
        return PolicyCompiler(organization_id).compile(
            contents,
            group=group,
            revocations=await revocation_rows.in_force(tx, organization_id),
            api_keys=await self._api_keys.key_hashes_for_gateways(tx, organization_id),
            groups=await groups_named(tx, contents, self._organizations),
            seen=await self._records.versions_seen(tx, organization_id, aged) if aged else {},
            now=tx.now,
        )

    async def _version(
        self, tx: Transaction, state: repository.PolicyState, group: str, content: str
    ) -> int:
        """The number of this content: the one it has, or the next."""
        organization_id = tx.caller.organization_id
        last = await tx.row(
            select(BUNDLES.c.version, BUNDLES.c.digest)
            .where(BUNDLES.c.organization_id == organization_id, BUNDLES.c.gateway_group == group)
            .order_by(BUNDLES.c.version.desc())
            .limit(1)
        )
        if last is not None and last["digest"] == content:
            return int(last["version"])
        version = state.bundle_version + 1
        await tx.execute(
            BUNDLES.insert().values(
                organization_id=organization_id,
                gateway_group=group,
                version=version,
                digest=content,
                policy_version=state.published,
                at=tx.now,
            )
        )
        await repository.set_state(tx, organization_id, bundle_version=version)
        await tx.record(
            AuditAction.POLICY_BUNDLE_ISSUED,
            str(version),
            details={"group": group, "policy_version": str(state.published), "digest": content},
        )
        return version


def _with_enforced_age(contents: PolicyContents) -> list[str]:
    return [
        name
        for name, credential in contents.credentials.items()
        if credential.maximum_age_seconds and credential.age_action is AgeAction.REFUSE
    ]
