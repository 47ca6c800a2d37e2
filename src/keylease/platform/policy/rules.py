"""What is wrong with a thing by itself: the rules of the local policy file, told by JSON path.

What is wrong with a policy as a whole is in ``contracts/policy_rules``, where the gateway's reader
of local files finds it too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import singledispatch
from typing import Final

import msgspec

from keylease.contracts.base_urls import read_base_url
from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import is_pattern
from keylease.contracts.policy import TrustRule
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import SCHEMES, Reference
from keylease.contracts.trust_rules import check_rule
from keylease.errors import Mistake, PrincipalInvalid, ReferenceInvalid
from keylease.platform.policy.resources import (
    GROUP,
    BudgetContent,
    Content,
    CredentialContent,
    GrantContent,
    RouteContent,
    SettingsContent,
    TrustRuleContent,
    is_group,
)

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST_LIMIT: Final = 10**12
LARGEST_AMOUNT: Final = 10**15
"""Micro-USD: a thousand million dollars."""
LONGEST_AGE: Final = 10 * 366 * 24 * 60 * 60
_PRINCIPAL_KINDS: Final = (
    PrincipalKind.USER,
    PrincipalKind.SERVICE_ACCOUNT,
    PrincipalKind.WORKLOAD,
)
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OWNERS: Final = (PrincipalKind.USER, PrincipalKind.SERVICE_ACCOUNT)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a thing may refer to: identifiers, with names for suggestions."""

    credentials: dict[str, str] = msgspec.field(default_factory=dict)
    budgets: dict[str, str] = msgspec.field(default_factory=dict)


def mistakes_of(content: Content, surroundings: Surroundings) -> list[Mistake]:
    """Every mistake in one thing; locations begin in its own members."""
    found = list(_check(content, surroundings))
    if NAME.fullmatch(content.name) is None:
        expected = "A name has letters, digits and . _ - and at most 64 characters."
        found.insert(0, Mistake(location="name", message=expected))
    return found


@singledispatch
def _check(content: Content, surroundings: Surroundings) -> Iterator[Mistake]:
    raise NotImplementedError(f"{type(content)} {surroundings}")  # a kind without rules


@_check.register
def _credential(content: CredentialContent, _: Surroundings) -> Iterator[Mistake]:
    provider = CATALOGUE.get(content.provider)
    if provider is None:
        yield Mistake(
            location="provider",
            message="There is no provider of this name.",
            suggestion=closest(content.provider, CATALOGUE),
        )
    yield from _reference(content.reference)
    yield from _upstream(content)
    yield from _purposes(content.purposes)
    if Purpose.EVAL in content.purposes and Purpose.PRODUCTION in content.purposes:
        yield Mistake(
            location="purposes",
            message="A credential is for eval or for production, never for both.",
            suggestion="Make a second credential, with a secret of its own, for evals.",
        )
    if NAME.fullmatch(content.environment) is None:
        yield Mistake(
            location="environment", message="A plain name such as production is expected."
        )
    if content.owner:
        yield from _owner(content.owner)
    yield from _patterns("gateway_groups", content.gateway_groups)
    yield from _number("maximum_age_seconds", content.maximum_age_seconds, 0, LONGEST_AGE)


def _reference(text: str) -> Iterator[Mistake]:
    try:
        Reference.parse(text)
    except ReferenceInvalid as error:
        scheme = text.partition("://")[0]
        known = error.advice
        if "://" in text and scheme not in SCHEMES:
            known = closest(scheme, SCHEMES)
        # The value is not shown: it may be a secret of a form that nobody knows.
        yield Mistake(location="reference", message=error.message, suggestion=known)


def _upstream(content: CredentialContent) -> Iterator[Mistake]:
    provider = CATALOGUE.get(content.provider)
    if not content.upstream:
        if provider is not None and not provider.base_url:
            yield Mistake(
                location="upstream",
                message="The provider exists only where somebody runs it, so the credential must "
                "name its upstream.",
                suggestion='Such as "https://llm.internal:8443/v1".',
            )
        return
    try:
        origin = read_base_url(content.upstream)
    except ValueError as error:
        yield Mistake(location="upstream", message=f"It is not {error}.")
        return
    for known in CATALOGUE.values():
        if (
            known.base_url
            and read_base_url(known.base_url) == origin
            and known.base_url.rstrip("/") != content.upstream.rstrip("/")
        ):
            yield Mistake(
                location="upstream",
                message=f"That is {known.name}, but under another path.",
                suggestion="Leave the upstream out: the catalogue knows the address.",
            )


def _owner(text: str) -> Iterator[Mistake]:
    try:
        good = Principal.parse(text).kind in _OWNERS
    except PrincipalInvalid:
        good = False
    if not good:
        yield Mistake(
            location="owner",
            message="An owner is a user or a service account: user:ID or service_account:ID.",
        )


@_check.register
def _route(content: RouteContent, surroundings: Surroundings) -> Iterator[Mistake]:
    yield from _patterns("models", content.models)
    if not content.targets:
        yield Mistake(
            location="targets",
            message="A route without targets leads nowhere.",
            suggestion="Name at least one credential.",
        )
    for index, target in enumerate(content.targets):
        if target.credential_id not in surroundings.credentials:
            yield Mistake(
                location=f"targets.{index}.credential_id",
                message="There is no such credential.",
                suggestion=_names(surroundings.credentials.values()),
            )
        yield from _number(f"targets.{index}.weight", target.weight, 1, 1_000_000)
        if target.model and not is_pattern(target.model):
            yield Mistake(
                location=f"targets.{index}.model", message="A model's name has no spaces."
            )
    identifiers = [(target.credential_id, target.model) for target in content.targets]
    if len(set(identifiers)) != len(identifiers):
        yield Mistake(location="targets", message="The same target is there twice.")


@_check.register
def _grant(content: GrantContent, surroundings: Surroundings) -> Iterator[Mistake]:
    if not content.principals:
        yield Mistake(location="principals", message="At least one principal is needed.")
    for index, pattern in enumerate(content.principals):
        kind, separator, name = pattern.partition(":")
        good = bool(separator and name and kind in _PRINCIPAL_KINDS and is_pattern(pattern))
        if is_group(pattern):
            good = _IDENTIFIER.fullmatch(name) is not None
        if pattern != "*" and not good:
            kinds = ", ".join(f"{known}:..." for known in _PRINCIPAL_KINDS)
            yield Mistake(
                location=f"principals.{index}",
                message=f"A principal, a pattern of them or a group is expected: {kinds}, "
                "group:ID, or *.",
                suggestion=closest(kind, (*_PRINCIPAL_KINDS, GROUP)) if separator else "",
            )
    yield from _patterns("models", content.models)
    yield from _purposes(content.purposes)
    yield from _patterns("environments", content.environments)
    limits = content.limits
    yield from _number("limits.requests_per_minute", limits.requests_per_minute, 1, LARGEST_LIMIT)
    yield from _number("limits.tokens_per_minute", limits.tokens_per_minute, 1, LARGEST_LIMIT)
    yield from _number("limits.budget_micro_usd", limits.budget_micro_usd, 0, LARGEST_AMOUNT)
    for index, budget in enumerate(content.budgets):
        if budget not in surroundings.budgets:
            yield Mistake(
                location=f"budgets.{index}",
                message="There is no such budget.",
                suggestion=_names(surroundings.budgets.values()),
            )
    if len(set(content.budgets)) != len(content.budgets):
        yield Mistake(location="budgets", message="The same budget is there twice.")
    yield from _lifetime(content.maximum_lease_seconds)


@_check.register
def _budget(content: BudgetContent, _: Surroundings) -> Iterator[Mistake]:
    yield from _number("micro_usd", content.micro_usd, 0, LARGEST_AMOUNT)


@_check.register
def _trust_rule(content: TrustRuleContent, _: Surroundings) -> Iterator[Mistake]:
    yield from _purposes(content.purposes)
    rule = TrustRule(id="", **msgspec.structs.asdict(content))
    members = set(content.__struct_fields__)
    for problem in check_rule(rule):
        path = re.split(r"[ :]", problem, maxsplit=1)[0].rstrip(".")
        if path == "purposes":
            continue  # said above
        member = path.partition(".")[0]
        yield Mistake(location=path if member in members else "", message=problem)


@_check.register
def _settings(content: SettingsContent, _: Surroundings) -> Iterator[Mistake]:
    if content.name != SettingsContent().name:
        yield Mistake(location="name", message="The settings have no other name.")


# --- members -------------------------------------------------------------------------------


def _purposes(purposes: Collection[Purpose]) -> Iterator[Mistake]:
    if not purposes:
        known = ", ".join(Purpose)
        yield Mistake(location="purposes", message=f"At least one purpose is needed: {known}.")


def _patterns(location: str, patterns: Sequence[str]) -> Iterator[Mistake]:
    if not patterns:
        yield Mistake(
            location=location,
            message="It is empty, so nothing could match.",
            suggestion='Write ["*"] for everything.',
        )
    for index, pattern in enumerate(patterns):
        if not is_pattern(pattern):
            yield Mistake(
                location=f"{location}.{index}",
                message="A name or a pattern with *, in ASCII and without spaces, is expected.",
            )


def _number(location: str, value: int | None, lowest: int, highest: int) -> Iterator[Mistake]:
    if value is not None and not lowest <= value <= highest:
        yield Mistake(location=location, message=f"From {lowest} to {highest} is allowed.")


def _lifetime(seconds: int) -> Iterator[Mistake]:
    yield from _number("maximum_lease_seconds", seconds, 1, LONGEST_LIFETIME)


def closest(given: str, known: Iterable[str]) -> str:
    """A suggestion: the name that is close, or the names there are. Never repeats what came."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(given.lower(), names, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(names)}."


def _names(names: Iterable[str]) -> str:
    shown = sorted(names)[:5]
    return f"There are, among others: {', '.join(shown)}." if shown else "There are none yet."
