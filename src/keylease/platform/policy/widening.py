"""Whether one policy allows more than another, and in what.

Protects: whoever publishes cannot widen access without it being said: to new principals, models,
    purposes, environments, credentials and hosts, for longer leases, with higher limits, with more
    recorded text; nor by taking a grant away whose limits come first.
Does not protect: it compares what each thing may lead to, and not every single call. That a model
    is served by another credential of the same policy, because a route before it was taken away, is
    not called wider: the policy named that credential for it before.
Limits: errs on the side of saying "wider" where two patterns cannot be compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from keylease.contracts.patterns import any_covers, patterns_meet
from keylease.contracts.policy import BudgetPeriod, ContentRecording, Limits, ObjectAccess
from keylease.platform.policy.resources import (
    AgeAction,
    BudgetContent,
    CredentialContent,
    CredentialState,
    GrantContent,
    PolicyContents,
    ResourceKind,
    RouteContent,
    TrustRuleContent,
    is_group,
)


class Widening(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which more is allowed. Stored: append-only."""

    kind: ResourceKind
    object_id: str
    code: str
    """Stable: ``credential_added``, ``models_wider`` ..."""
    message: str


def widenings(before: PolicyContents, after: PolicyContents) -> list[Widening]:
    """Every way in which ``after`` allows more than ``before``."""
    found: list[Widening] = []

    def say(kind: ResourceKind, object_id: str, reasons: Iterable[tuple[str, str]]) -> None:
        found.extend(
            Widening(kind=kind, object_id=object_id, code=code, message=message)
            for code, message in reasons
        )

    for name, credential in after.credentials.items():
        say(ResourceKind.CREDENTIAL, name, _credential(before.credentials.get(name), credential))
    for name, route in after.routes.items():
        say(ResourceKind.ROUTE, name, _route(before.routes.get(name), route))
    # Two grants that both stayed as they are stand to each other as before.
    changed = [name for name, old in before.grants.items() if after.grants.get(name) != old]
    for name, grant in after.grants.items():
        say(ResourceKind.GRANT, name, _grant(before.grants.get(name), grant))
        firsts = changed if before.grants.get(name) == grant else before.grants
        say(ResourceKind.GRANT, name, _escapes(name, firsts, before, after))
    for name, budget in after.budgets.items():
        say(ResourceKind.BUDGET, name, _budget(before.budgets.get(name), budget))
    for name, rule in after.trust_rules.items():
        say(ResourceKind.TRUST_RULE, name, _rule(before.trust_rules.get(name), rule))
    served = any(settings.serve_when_spool_full for settings in before.settings.values())
    for name, settings in after.settings.items():
        if settings.serve_when_spool_full and not served:
            message = "Gateways serve calls that they cannot record."
            say(ResourceKind.SETTINGS, name, [("unrecorded_calls", message)])
    return found


def _credential(old: CredentialContent | None, new: CredentialContent) -> Iterator[tuple[str, str]]:
    if new.state is not CredentialState.ACTIVE:
        return
    if old is None:
        yield "credential_added", f'The credential "{new.name}" is new.'
        return
    if old.state is not CredentialState.ACTIVE:
        yield "credential_active", f'The credential "{new.name}" is active again.'
    for code, member, changed in (
        ("reference_changed", "refers to another secret", old.reference != new.reference),
        ("provider_changed", "is of another provider", old.provider != new.provider),
        ("host_changed", "goes to another host", old.upstream != new.upstream),
        ("environment_changed", "has another environment", old.environment != new.environment),
        ("purposes_wider", "has more purposes", bool(set(new.purposes) - set(old.purposes))),
        (
            "gateway_groups_wider",
            "goes to more gateway groups",
            _wider(old.gateway_groups, new.gateway_groups),
        ),
        ("age_longer", "may be older", _age_longer(old, new)),
    ):
        if changed:
            yield code, f'The credential "{new.name}" {member}.'


def _age_longer(old: CredentialContent, new: CredentialContent) -> bool:
    if old.age_action is not AgeAction.REFUSE or not old.maximum_age_seconds:
        return False  # nothing was refused before
    refuses = new.age_action is AgeAction.REFUSE and new.maximum_age_seconds > 0
    return not refuses or new.maximum_age_seconds > old.maximum_age_seconds


def _route(old: RouteContent | None, new: RouteContent) -> Iterator[tuple[str, str]]:
    if old is None:
        yield "route_added", f'The route "{new.name}" is new.'
        return
    if _wider(old.models, new.models):
        yield "models_wider", f'The route "{new.name}" serves more models.'
    targets = {(target.credential_id, target.model) for target in old.targets}
    if any((target.credential_id, target.model) not in targets for target in new.targets):
        yield "target_added", f'The route "{new.name}" leads to another credential or model.'


def _grant(old: GrantContent | None, new: GrantContent) -> Iterator[tuple[str, str]]:
    if old is None:
        yield "grant_added", f'The grant "{new.name}" is new.'
        return
    for code, what, wider in (
        ("principals_wider", "is for more principals", _wider(old.principals, new.principals)),
        ("models_wider", "allows more models", _wider(old.models, new.models)),
        ("purposes_wider", "allows more purposes", bool(set(new.purposes) - set(old.purposes))),
        (
            "environments_wider",
            "allows more environments",
            _wider(old.environments, new.environments),
        ),
        ("limits_higher", "has higher limits", _looser(old, new)),
        (
            "lease_longer",
            "allows longer leases",
            new.maximum_lease_seconds > old.maximum_lease_seconds,
        ),
        ("content_recorded", "has prompts and answers recorded", _records_more(old, new)),
        (
            "objects_wider",
            "reaches objects of other principals",
            new.objects is ObjectAccess.ALL and old.objects is not ObjectAccess.ALL,
        ),
    ):
        if wider:
            yield code, f'The grant "{new.name}" {what}.'


def _escapes(
    object_id: str, firsts: Iterable[str], before: PolicyContents, after: PolicyContents
) -> Iterator[tuple[str, str]]:
    """The first grant that allows a call is the one whose limits count.

    So a call gets out of a grant's limits when that grant no longer covers it, or stands behind
    another one now, and the other one's limits are looser.
    """
    new = after.grants[object_id]
    old = before.grants.get(object_id)
    if old is None:
        return  # a new grant is said already
    for name in firsts:
        first = before.grants[name]
        if name == object_id or _order(first, name) > _order(old, object_id):
            continue
        if not _grants_meet(first, new) or not (_looser(first, new) or _records_more(first, new)):
            continue
        now = after.grants.get(name)
        still_first = (
            now is not None
            and _order(now, name) < _order(new, object_id)
            and not _wider(now.principals, first.principals)
            and not _wider(now.models, first.models)
            and not _wider(now.environments, first.environments)
            and set(now.purposes) >= set(first.purposes)
        )
        if not still_first:
            message = (
                f'Calls leave the limits of "{first.name}" for the looser ones of "{new.name}".'
            )
            yield "limits_escaped", message


def _order(grant: GrantContent, object_id: str) -> tuple[int, str, str]:
    return (grant.position, grant.name, object_id)


def _grants_meet(one: GrantContent, two: GrantContent) -> bool:
    return (
        bool(set(one.purposes) & set(two.purposes))
        and patterns_meet(_possible(one.principals), _possible(two.principals))
        and patterns_meet(one.models, two.models)
        and patterns_meet(one.environments, two.environments)
    )


def _possible(principals: Iterable[str]) -> tuple[str, ...]:
    """Anybody can be in a group tomorrow."""
    return tuple(
        pattern
        for name in principals
        for pattern in (("user:*", "service_account:*") if is_group(name) else (name,))
    )


def _records_more(old: GrantContent, new: GrantContent) -> bool:
    return new.content is ContentRecording.MASKED and old.content is not ContentRecording.MASKED


def _looser(old: GrantContent, new: GrantContent) -> bool:
    one, two = old.limits, new.limits
    return (
        _higher(one.requests_per_minute, two.requests_per_minute)
        or _higher(one.tokens_per_minute, two.tokens_per_minute)
        or _budget_looser(one, two)
        or bool(set(old.budgets) - set(new.budgets))
    )


def _budget_looser(old: Limits, new: Limits) -> bool:
    if old.budget_micro_usd is None:
        return False
    if new.budget_micro_usd is None or new.budget_micro_usd > old.budget_micro_usd:
        return True
    # The same amount more often is more.
    return _PERIODS[new.budget_period] < _PERIODS[old.budget_period]


_PERIODS = {BudgetPeriod.DAY: 0, BudgetPeriod.MONTH: 1, BudgetPeriod.TOTAL: 2}


def _higher(old: int | None, new: int | None) -> bool:
    return old is not None and (new is None or new > old)


def _budget(old: BudgetContent | None, new: BudgetContent) -> Iterator[tuple[str, str]]:
    if old is None:
        return  # a budget that nobody had only narrows
    if new.micro_usd > old.micro_usd or _PERIODS[new.period] < _PERIODS[old.period]:
        yield "budget_higher", f'The budget "{new.name}" is higher.'


def _rule(old: TrustRuleContent | None, new: TrustRuleContent) -> Iterator[tuple[str, str]]:
    if old is None:
        yield "trust_rule_added", f'The trust rule "{new.name}" is new.'
        return
    same_subjects = (
        old.issuer == new.issuer
        and old.audience == new.audience
        and old.claims.items() <= new.claims.items()
    )
    for code, what, wider in (
        ("subjects_wider", "admits other tokens", not same_subjects),
        ("principal_changed", "makes other principals", old.principal != new.principal),
        ("purposes_wider", "allows more purposes", bool(set(new.purposes) - set(old.purposes))),
        (
            "environments_wider",
            "allows more environments",
            _wider(old.environments, new.environments),
        ),
        ("models_wider", "allows more models", _wider(old.models, new.models)),
        ("replay_allowed", "admits a token again", old.subject_once and not new.subject_once),
        (
            "lease_longer",
            "allows longer leases",
            new.maximum_lease_seconds > old.maximum_lease_seconds,
        ),
    ):
        if wider:
            yield code, f'The trust rule "{new.name}" {what}.'


def _wider(old: Iterable[str], new: Iterable[str]) -> bool:
    patterns = tuple(old)
    return not all(any_covers(patterns, pattern) for pattern in new)
