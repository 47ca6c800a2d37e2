"""Trust rules: which subject becomes which principal, and which rules are not safe to have.

Protects: a rule matches exact values of claims; what a claim's value can add to a principal's name
    is limited to characters that cannot end one part of it and begin another.
Does not protect: against a rule that names claims which the subject chooses itself.
Limits: values are compared as text; lists and objects never match. A name that begins with ``/``
    is a JSON pointer (RFC 6901) to a nested claim, such as ``/kubernetes.io/namespace``.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.policy import TrustRule
from keylease.errors import TokenExchangeRefused
from keylease.strongroom.leases.issue import PRINCIPAL
from keylease.strongroom.leases.patterns import is_pattern

GITHUB: Final = "https://token.actions.githubusercontent.com"
_GITHUB_SERVER_SUFFIX: Final = "/_services/token"
"""How the issuers of GitHub Enterprise Server end."""
_IMMUTABLE_GITHUB_CLAIMS: Final = ("repository_id", "repository_owner_id")
_GITHUB_EVENTS_ON_FOREIGN_CODE: Final = ("pull_request_target", "workflow_run")
"""They run with the repository's identity on behalf of whoever opened a pull request."""
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_SUBSTITUTE: Final = re.compile(r"[A-Za-z0-9._@+=-]{1,128}")
_ISSUER: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~\-/]*)?")


def is_github(issuer: str) -> bool:
    """Whether the issuer is GitHub Actions: the public one, an enterprise's, or a server's."""
    return (
        issuer == GITHUB
        or issuer.startswith(f"{GITHUB}/")
        or issuer.endswith(_GITHUB_SERVER_SUFFIX)
    )


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

    principal = _PLACEHOLDER.sub(substitute, rule.principal)
    if not PRINCIPAL.fullmatch(principal):
        raise TokenExchangeRefused(
            f"The trust rule {rule.name!r} makes no principal of the form kind:name."
        )
    return principal


def check_rule(rule: TrustRule) -> list[str]:
    """What is wrong with a rule, for whoever writes it; an empty list when nothing is."""
    return [
        *_check_match(rule),
        *_check_github(rule),
        *_check_principal(rule),
        *_check_ceiling(rule),
    ]


def _check_match(rule: TrustRule) -> list[str]:
    problems: list[str] = []
    if not _ISSUER.fullmatch(rule.issuer):
        problems.append("issuer is no https address without query and fragment.")
    if not rule.audience or "*" in rule.audience:
        problems.append("audience has to be one exact value, chosen for this gateway.")
    if not rule.claims:
        problems.append("claims is empty: every token of the issuer would be admitted.")
    for name, value in rule.claims.items():
        if name in ("iss", "aud", "exp", "iat", "nbf", "jti"):
            problems.append(f"claims.{name} is checked anyway and cannot be matched.")
        if "*" in value:
            problems.append(f"claims.{name}: values are compared exactly, * has no meaning.")
        if not name or not value:
            problems.append("claims: a name or a value is empty.")
    return problems


def _check_github(rule: TrustRule) -> list[str]:
    if not is_github(rule.issuer):
        return []
    problems = [
        f"claims.{name} is missing: names on GitHub can be registered again by somebody else,"
        " ids cannot. `gh api repos/OWNER/NAME` shows them."
        for name in _IMMUTABLE_GITHUB_CLAIMS
        if name not in rule.claims
    ]
    problems += [
        f"claims.{name} is a number, given as text."
        for name in _IMMUTABLE_GITHUB_CLAIMS
        if name in rule.claims and not re.fullmatch(r"[0-9]{1,20}", rule.claims[name])
    ]
    return problems


def _check_principal(rule: TrustRule) -> list[str]:
    names = _PLACEHOLDER.findall(rule.principal)
    if any(not name or name == "/" for name in names):
        return ["principal: a placeholder names no claim."]
    if not PRINCIPAL.fullmatch(_PLACEHOLDER.sub("x", rule.principal)):
        form = "kind:name with kind user, service_account or workload, and {claim} in the name only"
        return [f"principal is not of the form {form}."]
    return []


def _check_ceiling(rule: TrustRule) -> list[str]:
    problems: list[str] = []
    if not rule.purposes:
        problems.append("purposes is empty: nothing could be leased.")
    for name, patterns in (("environments", rule.environments), ("models", rule.models)):
        if not patterns or not all(map(is_pattern, patterns)):
            problems.append(f"{name} is no list of names or patterns with *.")
    if not 0 < rule.maximum_lease_seconds <= LONGEST_LIFETIME:
        problems.append(f"maximum_lease_seconds is not between 1 and {LONGEST_LIFETIME}.")
    return problems


def _steps(name: str) -> list[str]:
    if not name.startswith("/"):
        return [name]
    return [step.replace("~1", "/").replace("~0", "~") for step in name[1:].split("/")]


def _is_audience(claim: object, audience: str) -> bool:
    """RFC 7519 section 4.1.3: one value, or a list that holds it."""
    if isinstance(claim, list):
        return all(isinstance(entry, str) for entry in claim) and audience in claim
    return isinstance(claim, str) and claim == audience
