"""Trust rules: which subject becomes which principal.

Protects: a rule matches exact values of claims; what a claim's value can add to a principal's name
    is limited to characters that cannot end one part of it and begin another.
Does not protect: against a rule that names claims which the subject chooses itself.
Limits: values are compared as text; lists and objects never match. A name that begins with ``/``
    is a JSON pointer (RFC 6901) to a nested claim, such as ``/kubernetes.io/namespace``.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.contracts.policy import TrustRule
from keylease.contracts.trust_rules import (
    GITHUB,
    LEASE_PRINCIPAL,
    PLACEHOLDER,
    check_rule,
    is_github,
)
from keylease.errors import TokenExchangeRefused

__all__ = ["GITHUB", "check_rule", "claim_text", "is_github", "matches", "principal_of"]

_GITHUB_EVENTS_ON_FOREIGN_CODE: Final = ("pull_request_target", "workflow_run")
"""They run with the repository's identity on behalf of whoever opened a pull request."""
_SUBSTITUTE: Final = re.compile(r"[A-Za-z0-9._@+=-]{1,128}")


def matches(rule: TrustRule, claims: dict[str, object]) -> bool:
    """Whether verified claims fulfil the rule; issuer and audience included."""
    if claims.get("iss") != rule.issuer or not _is_audience(claims.get("aud"), rule.audience):
        return False
    if not rule.claims:
        return False
    if any(claim_text(claims, name) != value for name, value in rule.claims.items()):
        return False
    # Refused unless the rule names the event itself.
    return not (
        is_github(rule.issuer)
        and "event_name" not in rule.claims
        and claims.get("event_name") in _GITHUB_EVENTS_ON_FOREIGN_CODE
    )


def claim_text(claims: dict[str, object], name: str) -> str | None:
    """A claim as text; ``None`` when it is absent or neither text, whole number nor boolean."""
    value: object = claims
    for step in _steps(name):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case _:
            return None


def principal_of(rule: TrustRule, claims: dict[str, object]) -> str:
    """The principal that verified claims become; raises ``TokenExchangeRefused``."""

    def substitute(placeholder: re.Match[str]) -> str:
        name = placeholder.group(1)
        value = claim_text(claims, name)
        if value is None or not _SUBSTITUTE.fullmatch(value):
            raise TokenExchangeRefused(
                f"The subject token's claim {name} cannot be part of a principal's name.",
                advice="Letters, digits and . _ @ + = - can. Match other claims in the rule's"
                " claims instead, and write the name out.",
            )
        return value

    principal = PLACEHOLDER.sub(substitute, rule.principal)
    if not LEASE_PRINCIPAL.fullmatch(principal):
        raise TokenExchangeRefused(
            f"The trust rule {rule.name!r} makes no principal of the form kind:name.",
            advice="The policy's owner has to mend principal in the rule.",
        )
    return principal


def _steps(name: str) -> list[str]:
    if not name.startswith("/"):
        return [name]
    return [step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/")]


def _is_audience(claim: object, audience: str) -> bool:
    """RFC 7519 section 4.1.3: one value, or a list that holds it."""
    if isinstance(claim, list):
        return all(isinstance(entry, str) for entry in claim) and audience in claim
    return isinstance(claim, str) and claim == audience
