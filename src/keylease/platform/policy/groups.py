"""Groups of the platform as principals of grants.

A grant names a group, gateways know none: whoever is in it when a bundle is compiled stands in its
place. Who comes or goes changes the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable

from keylease.platform.db.transaction import Transaction
from keylease.platform.policy import repository
from keylease.platform.policy.interfaces import GroupMembers, Organizations
from keylease.platform.policy.resources import GrantContent, PolicyContents, is_group


async def groups_named(
    tx: Transaction, contents: PolicyContents, organizations: Organizations
) -> GroupMembers:
    """Who is in the groups that grants name; nothing is read when they name none."""
    if not _groups_of(contents.grants.values()):
        return {}
    return await organizations.group_members(tx, tx.caller.organization_id)


async def groups_in_use(tx: Transaction) -> frozenset[str]:
    """Groups that grants name, as ``group:ID``: in what is published and in the draft."""
    organization_id = tx.caller.organization_id
    state = await repository.read_state(tx, organization_id)
    published = await repository.published_contents(tx, organization_id, state.published)
    draft = await repository.draft_contents(tx, organization_id)
    return _groups_of([*published.grants.values(), *draft.grants.values()])


def _groups_of(grants: Iterable[GrantContent]) -> frozenset[str]:
    return frozenset(name for grant in grants for name in grant.principals if is_group(name))
