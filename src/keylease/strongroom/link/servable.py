"""What of a checked bundle this gateway serves, and what it says to the platform about the rest.

Protects: what the local policy reader would refuse does not come in by the platform either. A part
    that this version does not know (a store, a provider) is left out and the rest is served, so
    that a newer platform's credential cannot keep an older gateway from a revocation. What
    gateway.toml does not allow stays in the policy and is refused at each call; the platform is
    told now.
Does not protect: leaving something out only ever allows less, but a route that is left out may send
    calls to the next route that the policy has for them.
Limits: malformed parts (identifiers that are none, the same one twice, unprintable names, what
    looks like a secret) mean a broken or hostile compiler, so the whole bundle is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from keylease import detectors
from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import is_pattern
from keylease.contracts.platform_link import Objection
from keylease.contracts.policy import (
    ApiKeyUse,
    Budget,
    Credential,
    Grant,
    PolicyBundle,
    RevocationKind,
    Route,
    TrustRule,
)
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import BundleNotUnderstood, ReferenceInvalid
from keylease.strongroom.config_files.policy_checks import check_together
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.leases.rules import check_rule

_LONGEST_TEXT: Final = 2048
_LARGEST_LIMIT: Final = 2**53
_DIGEST_CHARACTERS: Final = 64
_OBJECTIONS: Final = 200
"""That are told to the platform."""


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_Item = TypeVar("_Item", bound=_Identified)


class ServableBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle as this gateway serves it."""

    bundle: PolicyBundle
    objections: tuple[Objection, ...]


def servable(bundle: PolicyBundle, gateway: GatewayConfiguration) -> ServableBundle:
    """Leave out what this version does not know; raises ``BundleNotUnderstood`` for nonsense."""
    _check_form(bundle)
    left_out: dict[str, str] = {}

    def kept(items: Sequence[_Item], problems: Iterable[str]) -> tuple[_Item, ...]:
        good: list[_Item] = []
        for item, problem in zip(items, problems, strict=True):
            if problem:
                left_out[item.id] = problem
            else:
                good.append(item)
        return tuple(good)

    credentials = kept(bundle.credentials, map(_credential_problem, bundle.credentials))
    known = {credential.id for credential in credentials}
    narrowed = [
        msgspec.structs.replace(
            route, targets=tuple(t for t in route.targets if t.credential_id in known)
        )
        for route in bundle.routes
    ]
    served = msgspec.structs.replace(
        bundle,
        credentials=credentials,
        routes=kept(narrowed, map(_route_problem, narrowed)),
        grants=kept(bundle.grants, map(_grant_problem, bundle.grants)),
        budgets=kept(bundle.budgets, map(_budget_problem, bundle.budgets)),
        trust_rules=kept(bundle.trust_rules, map(_rule_problem, bundle.trust_rules)),
        api_keys=kept(bundle.api_keys, map(_key_problem, bundle.api_keys)),
    )
    objections = [Objection(object_id=name, code=code) for name, code in left_out.items()]
    objections += _not_allowed(served, gateway)
    return ServableBundle(bundle=served, objections=tuple(objections[:_OBJECTIONS]))


def _not_allowed(bundle: PolicyBundle, gateway: GatewayConfiguration) -> list[Objection]:
    """What gateway.toml does not allow: refused at each call, said once here."""
    found: list[Objection] = []
    for credential in bundle.credentials:
        alone = msgspec.structs.replace(bundle, credentials=(credential,), trust_rules=())
        if check_together(gateway, alone):
            found.append(Objection(object_id=credential.id, code="binding_missing"))
    trusted = {issuer.issuer for issuer in gateway.trusted_issuers}
    found += [
        Objection(object_id=rule.id, code="issuer_not_trusted")
        for rule in bundle.trust_rules
        if rule.issuer not in trusted
    ]
    return found


# --- the whole -----------------------------------------------------------------------------


def _check_form(bundle: PolicyBundle) -> None:
    items: tuple[Credential | Route | Grant | TrustRule | ApiKeyUse | Budget, ...] = (
        *bundle.credentials,
        *bundle.routes,
        *bundle.grants,
        *bundle.trust_rules,
        *bundle.api_keys,
        *bundle.budgets,
    )
    identifiers = [item.id for item in items]
    if len(set(identifiers)) != len(identifiers):
        raise BundleNotUnderstood("The policy bundle uses an identifier twice.")
    for identifier in (bundle.organization_id, *identifiers):
        if not _is_uuid(identifier):
            # Also keeps a grant from the name of a binding's own counter.
            raise BundleNotUnderstood("The policy bundle holds an identifier that is no UUID.")
    for text in _texts(bundle):
        if len(text) > _LONGEST_TEXT or not text.isprintable():
            raise BundleNotUnderstood("The policy bundle holds an unprintable or endless text.")
    for credential in bundle.credentials:
        if any(map(detectors.looks_like_secret, (credential.name, credential.reference))):
            raise BundleNotUnderstood(
                "The policy bundle holds something that looks like a secret.",
                advice="References say where a secret lives. If that was one, rotate it.",
            )
    for revocation in bundle.revocations:
        if revocation.kind is not RevocationKind.ALL and not revocation.value:
            raise BundleNotUnderstood("The policy bundle holds a revocation of nothing.")


def _texts(bundle: PolicyBundle) -> Iterable[str]:
    for credential in bundle.credentials:
        yield from (credential.name, credential.reference, credential.provider)
        yield from (credential.environment, credential.upstream)
    for route in bundle.routes:
        yield from (route.name, *route.models, *(target.model for target in route.targets))
    for grant in bundle.grants:
        yield from (grant.name, *grant.principals, *grant.models, *grant.environments)
    for rule in bundle.trust_rules:
        yield from (rule.name, rule.issuer, rule.audience, rule.principal, *rule.environments)
        yield from (*rule.models, *rule.claims, *rule.claims.values())
    for key in bundle.api_keys:
        yield from (key.principal, key.project, *key.environments, *key.models)
    for revocation in bundle.revocations:
        yield revocation.value
    for budget in bundle.budgets:
        yield budget.name


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


# --- its parts: an empty answer keeps the part, another one is why it is left out ----------------


def _credential_problem(credential: Credential) -> str:
    purposes = credential.purposes
    if credential.provider not in CATALOGUE:
        problem = "provider_unknown"
    elif (canonical := _canonical(credential.reference)) == "":
        problem = "reference_unknown"
    elif canonical != credential.reference:
        # Fetches, caches and revocations go by the text; one secret has one.
        problem = "reference_not_plain"
    elif not purposes:
        problem = "purpose_missing"
    elif Purpose.EVAL in purposes and Purpose.PRODUCTION in purposes:
        problem = "eval_and_production"
    elif not is_pattern(credential.environment) or "*" in credential.environment:
        problem = "environment_malformed"
    else:
        problem = ""
    return problem


def _canonical(reference: str) -> str:
    try:
        return str(Reference.parse(reference))
    except ReferenceInvalid:
        return ""


def _route_problem(route: Route) -> str:
    if not route.targets:
        return "no_target_left"
    if not route.models or not all(map(is_pattern, route.models)):
        return "models_malformed"
    if any(not 0 < target.weight <= _LARGEST_LIMIT for target in route.targets):
        return "weight_malformed"
    return ""


def _grant_problem(grant: Grant) -> str:
    limits = grant.limits
    bounds = (limits.requests_per_minute, limits.tokens_per_minute, limits.budget_micro_usd)
    if any(bound is not None and not 0 <= bound <= _LARGEST_LIMIT for bound in bounds):
        return "limit_malformed"
    patterns = (*grant.principals, *grant.models, *grant.environments)
    if not all(map(is_pattern, patterns)):
        return "pattern_malformed"
    if not 0 < grant.maximum_lease_seconds <= LONGEST_LIFETIME:
        return "lifetime_malformed"
    return ""


def _budget_problem(budget: Budget) -> str:
    # A grant that names it is refused at each call then.
    return "" if 0 <= budget.micro_usd <= _LARGEST_LIMIT else "limit_malformed"


def _rule_problem(rule: TrustRule) -> str:
    return "trust_rule_unsafe" if check_rule(rule) else ""


def _key_problem(key: ApiKeyUse) -> str:
    if len(key.digest) != _DIGEST_CHARACTERS or not _is_hexadecimal(key.digest):
        return "digest_malformed"
    if not key.purposes or not all(map(is_pattern, (*key.environments, *key.models))):
        return "pattern_malformed"
    if not 0 < key.maximum_lease_seconds <= LONGEST_LIFETIME:
        return "lifetime_malformed"
    return ""


def _is_hexadecimal(text: str) -> bool:
    return all(character in "0123456789abcdef" for character in text)
