"""Joins policy with the directory, API keys, call records and gateways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keylease.contracts.policy import ApiKeyUse, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.errors import ResourceConflict
from keylease.platform.access.permissions import Permission
from keylease.platform.access.service import AccessService
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.gateways.repository import Groups
from keylease.platform.identity.api_keys.interfaces import ApiKey
from keylease.platform.identity.api_keys.service import ApiKeys
from keylease.platform.identity.directory.facts import DirectoryFacts
from keylease.platform.inventory.states import CredentialFacts
from keylease.platform.policy.domain import Policy, make_policy
from keylease.platform.policy.groups import groups_in_use
from keylease.platform.policy.interfaces import Organizations
from keylease.platform.policy.overview import Credentials
from keylease.platform.records.service import RecordService
from keylease.platform.server.link_assembly import PolicyRecords
from keylease.platform.trust.interfaces import CredentialTrustFacts
from keylease.primitives.clock import Clock
from keylease.primitives.identifiers import derived_id


def joined_policy(
    database: Database,
    *,
    clock: Clock,
    data_directory: Path,
    directory: DirectoryFacts,
    records: RecordService,
    hub: PollHub,
    api_keys: ApiKeys | None,
) -> Policy:
    """Policy, told by API keys of their changes, and telling waiting gateways of its own."""
    policy = make_policy(
        database,
        clock=clock,
        key_directory=data_directory / "policy-keys",
        organizations=directory,
        api_keys=KeysForGateways(api_keys),
        records=PolicyRecords(records),
        groups=Groups(),
    )
    policy.inputs.on_change(hub.wake)
    if api_keys is not None:
        api_keys.when_changed(KeyChanges(policy).changed)
    return policy


class GroupsInGrants:
    """What becomes of leases when somebody joins or leaves a group that a grant names.

    Protects: joining allows as much as naming the member in the grant, so it takes
        ``policy:publish``; where the organization asks for a second approver, only a policy that
        somebody has approved lets more principals in.
    Does not protect: groups that an outside issuer gives at sign-in, by mappings an Owner has set.
    """

    def __init__(
        self, policy: Policy, *, organizations: Organizations, access: AccessService
    ) -> None:
        self._policy = policy
        self._organizations = organizations
        self._access = access

    async def check_joining(self, tx: Transaction, groups: frozenset[str]) -> None:
        """Refuse unless the caller may let more principals use what grants give the groups."""
        if tx.caller.principal is None or not groups & await groups_in_use(tx):
            return
        await self._access.require_inside(tx, Permission.POLICY_PUBLISH)
        if await self._organizations.needs_second_approver(tx, tx.caller.organization_id):
            raise ResourceConflict(
                "A policy grant names this group, or one that it is in, so a new member would be "
                "let in without the second approver that the organization asks for.",
                advice="Name the new member in the grant, and publish that.",
            )

    async def members_changed(self, tx: Transaction) -> None:
        """Let gateways get a bundle with the members of now."""
        await self._policy.inputs.bundle_inputs_changed(tx, tx.caller.organization_id)


class KeysForGateways:
    """API keys, in the shape in which bundles carry them."""

    def __init__(self, api_keys: ApiKeys | None) -> None:
        self._api_keys = api_keys

    async def key_hashes_for_gateways(
        self, tx: Transaction, organization_id: str
    ) -> Sequence[ApiKeyUse]:
        """Those that may be exchanged for leases now. What they lead to, grants decide."""
        if self._api_keys is None:
            return ()
        uses: list[ApiKeyUse] = []
        names: set[str] = set()
        for key in await self._api_keys.key_hashes_for_gateways(tx, organization_id):
            # A rotated key has two texts for a while, and each needs a name of its own.
            name = _previous(organization_id, key.id) if key.id in names else key.id
            names.add(key.id)
            uses.append(
                ApiKeyUse(
                    id=name,
                    digest=key.digest,
                    principal=key.principal,
                    purposes=tuple(Purpose),
                    expires_at=key.expires_at,
                    project=key.project_id,
                )
            )
        return uses

    async def hands_behind(
        self, tx: Transaction, organization_id: str, principal: str
    ) -> frozenset[str]:
        """Who was ever shown a key with which to act as ``kind:id``."""
        if self._api_keys is None:
            return frozenset()
        return await self._api_keys.hands_behind(tx, organization_id, principal)


class KeyChanges:
    """What happens to leases when an API key changes."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def changed(self, tx: Transaction, key: ApiKey) -> None:
        """Let gateways know; leases that a revoked key admitted die with it."""
        if key.revoked_at is None:
            await self._policy.inputs.bundle_inputs_changed(tx, key.organization_id)
            return
        caller = tx.caller
        within = (
            tx if caller.organization_id == key.organization_id else tx.within(key.organization_id)
        )
        for name in (key.id, _previous(key.organization_id, key.id)):
            await self._policy.revocations.revoke_in(
                within, RevocationKind.ADMISSION, name, reason="api_key_revoked"
            )


class CredentialReports:
    """The policy's credentials, as the inventory and the trust report ask for them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def credential_facts(self, caller: Caller) -> dict[str, CredentialFacts]:
        """Every credential of the caller's organization by its identifier."""
        found = await self._credentials.ages(caller)
        return {
            name: CredentialFacts(
                id=name,
                name=content.name,
                owner=content.owner,
                purposes=tuple(purpose.value for purpose in content.purposes),
                environment=content.environment,
                changed_at=age.first_seen,
                maximum_age=content.maximum_age_seconds or None,
            )
            for name, (content, age) in found.items()
        }

    async def credential_trust(self, caller: Caller) -> tuple[CredentialTrustFacts, ...]:
        """Those of the caller's organization, with what is overdue."""
        found = await self._credentials.ages(caller)
        return tuple(
            CredentialTrustFacts(id=name, reference=content.reference, overdue=age.overdue)
            for name, (content, age) in found.items()
        )


def _previous(organization_id: str, key_id: str) -> str:
    """The name of an API key's text before its last rotation."""
    return derived_id(organization_id, "api_key_previous", key_id)
