"""Makes a gateway group's bundle of a state of the policy. Pure: same input, same bytes.

Protects: what is left out is what nobody may use: credentials that are not active, or not for the
    group, and targets that lead to them; a grant that names a budget which is not there; a grant
    for groups that nobody is in.
Does not protect: the gateway's own file decides what of it may be served. See ``strongroom``.
Limits: a route that has no target left is left out, and its models may then be served by the next
    route that has them, as where a lease does not fit a route.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import matches
from keylease.contracts.policy import (
    AgedVersion,
    ApiKeyUse,
    Budget,
    Credential,
    Grant,
    PolicyBundle,
    Revocation,
    RevocationKind,
    Route,
    Target,
    TrustRule,
)
from keylease.contracts.policy_rules import canonical
from keylease.platform.policy.interfaces import GroupMembers, SeenVersion
from keylease.platform.policy.resources import (
    AgeAction,
    CredentialContent,
    CredentialState,
    GrantContent,
    PolicyContents,
    RouteContent,
    TrustRuleContent,
    is_group,
)
from keylease.primitives.clock import MICROSECONDS

_DEAD_AFTER: Final = (LONGEST_LIFETIME + 3600) * MICROSECONDS
"""No lease lives longer, clocks that differ by an hour included."""
_VERSIONS_CARRIED: Final = 32
"""Of one credential, the newest: an old secret that is put back is too old as well."""


class PolicyCompiler:
    """Compiles for one organization."""

    def __init__(self, organization_id: str) -> None:
        self._organization_id = organization_id

    def compile(
        self,
        contents: PolicyContents,
        *,
        group: str = "",
        revocations: Iterable[Revocation] = (),
        api_keys: Iterable[ApiKeyUse] = (),
        seen: Mapping[str, Sequence[SeenVersion]] | None = None,
        groups: GroupMembers | None = None,
        now: int = 0,
    ) -> PolicyBundle:
        """The bundle, without version and times. ``group`` empty is for every group at once.

        ``groups``: gateways know no groups, so their members stand in their place.

        ``seen``: the versions of each credential's secret. ``now`` in microseconds UTC says which
        revocations are too old to matter.
        """
        credentials = tuple(
            _credential(identifier, content, (seen or {}).get(identifier, ()))
            for identifier, content in _by_name(contents.credentials)
            if _is_served(content, group)
        )
        known = {credential.id for credential in credentials}
        grants = (
            _grant(identifier, content, groups or {})
            for identifier, content in _by_position(contents.grants)
            if all(budget in contents.budgets for budget in content.budgets)
        )
        granted = tuple(grant for grant in grants if grant.principals)
        routes = (
            _route(identifier, content, known)
            for identifier, content in _by_position(contents.routes)
        )
        budgets = tuple(
            Budget(id=identifier, **msgspec.structs.asdict(content))
            for identifier, content in _by_name(contents.budgets)
        )
        return PolicyBundle(
            organization_id=self._organization_id,
            version=0,
            issued_at=0,
            group=group,
            credentials=credentials,
            routes=tuple(route for route in routes if route.targets),
            grants=granted,
            trust_rules=tuple(
                _trust_rule(identifier, content)
                for identifier, content in _by_name(contents.trust_rules)
            ),
            revocations=_revocations(revocations, now),
            serve_when_spool_full=any(
                settings.serve_when_spool_full for settings in contents.settings.values()
            ),
            critical=_critical(credentials, granted),
            api_keys=tuple(sorted(api_keys, key=lambda key: key.id)),
            budgets=budgets,
        )


def _is_served(content: CredentialContent, group: str) -> bool:
    here = not group or any(matches(pattern, group) for pattern in content.gateway_groups)
    return here and content.state is CredentialState.ACTIVE


def _credential(
    identifier: str, content: CredentialContent, seen: Sequence[SeenVersion]
) -> Credential:
    aged: tuple[AgedVersion, ...] = ()
    if content.maximum_age_seconds and content.age_action is AgeAction.REFUSE:
        newest = sorted(seen, key=lambda version: (version.first_seen, version.fingerprint))
        aged = tuple(
            AgedVersion(
                version=version.fingerprint,
                refuse_from=version.first_seen + content.maximum_age_seconds * MICROSECONDS,
            )
            for version in newest[-_VERSIONS_CARRIED:]
        )
    return Credential(
        id=identifier,
        name=content.name,
        provider=content.provider,
        reference=canonical(content.reference) or content.reference,
        purposes=content.purposes,
        environment=content.environment,
        upstream=content.upstream,
        aged=aged,
    )


def _route(identifier: str, content: RouteContent, known: set[str]) -> Route:
    return Route(
        id=identifier,
        name=content.name,
        models=content.models,
        targets=tuple(
            Target(credential_id=t.credential_id, model=t.model, weight=t.weight)
            for t in content.targets
            if t.credential_id in known
        ),
        strategy=content.strategy,
    )


def _grant(identifier: str, content: GrantContent, groups: GroupMembers) -> Grant:
    members = msgspec.structs.asdict(content)
    del members["position"]
    if any(map(is_group, content.principals)):
        own = [name for name in content.principals if not is_group(name)]
        inside = {member for name in content.principals for member in groups.get(name, ())}
        members["principals"] = (*own, *sorted(inside.difference(own)))
    return Grant(id=identifier, **members)


def _trust_rule(identifier: str, content: TrustRuleContent) -> TrustRule:
    members = msgspec.structs.asdict(content)
    members["claims"] = dict(sorted(content.claims.items()))
    return TrustRule(id=identifier, **members)


def _revocations(revocations: Iterable[Revocation], now: int) -> tuple[Revocation, ...]:
    kept = (
        revocation
        for revocation in revocations
        if revocation.kind is RevocationKind.CREDENTIAL or revocation.at + _DEAD_AFTER > now
    )
    return tuple(sorted(kept, key=lambda r: (r.kind.value, r.value, r.at)))


def _critical(credentials: Iterable[Credential], grants: Iterable[Grant]) -> tuple[str, ...]:
    named = []
    if any(credential.aged for credential in credentials):
        named.append("credential.aged")
    if any(grant.budgets for grant in grants):
        named.append("grant.budgets")
    return tuple(named)


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


class _HasPosition(_HasName, Protocol):
    @property
    def position(self) -> int: ...


_Named = TypeVar("_Named", bound=_HasName)
_Placed = TypeVar("_Placed", bound=_HasPosition)


def _by_name(things: Mapping[str, _Named]) -> list[tuple[str, _Named]]:
    return sorted(things.items(), key=lambda item: (item[1].name, item[0]))


def _by_position(things: Mapping[str, _Placed]) -> list[tuple[str, _Placed]]:
    return sorted(things.items(), key=lambda item: (item[1].position, item[1].name, item[0]))
