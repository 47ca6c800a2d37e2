"""What the server does before it answers for the first time, and what it repeats until it is done.

1. There is an organization with an owner; as long as the owner cannot sign in, there is a link.
2. The first policy is published when there never was one.
3. A gateway that is started beside this server gets a code, as long as none of its group is there.

Each step is a transaction of its own and can be repeated: a start that was killed goes on where it
was.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from keylease.contracts.policy import PolicyBundle
from keylease.errors import ConfigurationError
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.policy.resources import (
    CredentialContent,
    GrantContent,
    RouteContent,
    TargetContent,
    TrustRuleContent,
)
from keylease.platform.server.configuration import ServerConfiguration
from keylease.platform.server.services import Services
from keylease.platform.server.trust_assembly import OrganizationIds
from keylease.primitives.fingerprints import FingerprintKeys

_CODE_SECONDS = 10 * 60


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever started the server is told."""

    sign_in_link: str = ""
    enrolment_code: str = ""


async def begin(services: Services, configuration: ServerConfiguration) -> Begun:
    """Do what is missing."""
    link = await services.identity.first_start.sign_in_link()
    async with services.database.transaction() as tx:
        owner = await services.directory.owner_to_set_up(tx)
    caller = platform_itself(owner.organization_id)
    if configuration.first_policy is not None:
        await publish_first_policy(
            services, caller, configuration.first_policy, owner=f"user:{owner.id}"
        )
    code = ""
    if configuration.local_group:
        made = await services.link.gateways.create_code(
            caller, group=configuration.local_group, lifetime=_CODE_SECONDS
        )
        code = made.text
    return Begun(sign_in_link=link, enrolment_code=code)


async def share_fingerprint_keys(services: Services, keys: Mapping[str, FingerprintKeys]) -> None:
    """Let spans be masked with the keys of organizations; "" is the one that was first.

    Raises ``ConfigurationError`` for an organization that is not there: with a slip of the pen
    nothing would ever meet, and nobody would know.
    """
    if not keys:
        return
    async with services.database.transaction() as tx:
        first = (await services.directory.owner_to_set_up(tx)).organization_id
    known = await OrganizationIds(services.database).organization_ids()
    for organization_id, one in keys.items():
        if organization_id and organization_id not in known:
            raise ConfigurationError(
                "trace_fingerprint_key names an organization that is not there.",
                advice="`keylease whoami` shows its identifier; a file alone is for the first one.",
            )
        if not organization_id and first in keys:
            raise ConfigurationError("trace_fingerprint_key names two keys for one organization.")
        services.traces.fingerprint_keys.share(organization_id or first, one)


async def publish_first_policy(
    services: Services, caller: Caller, wanted: PolicyBundle, *, owner: str
) -> None:
    """Turn a bundle's things into resources and publish them, unless there is a policy already.

    ``owner`` (a principal) owns the credentials.
    """
    standing = await services.policy.publisher.standing(caller)
    if standing.published is not None or standing.changes:
        return
    resources = services.policy.resources
    names: dict[str, str] = {}
    for one in wanted.credentials:
        made = await resources.create(
            caller,
            CredentialContent(
                name=one.name,
                provider=one.provider,
                reference=one.reference,
                purposes=one.purposes,
                environment=one.environment,
                upstream=one.upstream,
                owner=owner,
            ),
        )
        names[one.id] = made.id
    for route in wanted.routes:
        targets = tuple(
            TargetContent(
                credential_id=names[target.credential_id],
                model=target.model,
                weight=target.weight,
            )
            for target in route.targets
        )
        await resources.create(
            caller,
            RouteContent(
                name=route.name, models=route.models, targets=targets, strategy=route.strategy
            ),
        )
    for grant in wanted.grants:
        await resources.create(
            caller,
            GrantContent(
                name=grant.name,
                principals=grant.principals,
                models=grant.models,
                purposes=grant.purposes,
                environments=grant.environments,
                limits=grant.limits,
                maximum_lease_seconds=grant.maximum_lease_seconds,
                content=grant.content,
                objects=grant.objects,
            ),
        )
    for rule in wanted.trust_rules:
        await resources.create(
            caller,
            TrustRuleContent(
                name=rule.name,
                issuer=rule.issuer,
                audience=rule.audience,
                claims={
                    name: caller.organization_id if value == wanted.organization_id else value
                    for name, value in rule.claims.items()
                },
                principal=rule.principal,
                purposes=rule.purposes,
                environments=rule.environments,
                models=rule.models,
                subject_once=rule.subject_once,
                maximum_lease_seconds=rule.maximum_lease_seconds,
            ),
        )
    draft = (await services.policy.publisher.standing(caller)).draft
    await services.policy.publisher.publish(caller, expected=draft, note="The first policy.")
