"""Which trust rules are not safe to have, whoever writes them.

A gateway refuses such a rule whatever the platform says; the platform refuses it so that whoever
writes it learns why.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import is_pattern
from keylease.contracts.policy import TrustRule

GITHUB: Final = "https://token.actions.githubusercontent.com"
_GITHUB_SERVER_SUFFIX: Final = "/_services/token"
"""How the issuers of GitHub Enterprise Server end."""
_IMMUTABLE_GITHUB_CLAIMS: Final = ("repository_id", "repository_owner_id")
LEASE_PRINCIPAL: Final = re.compile(r"(?:user|service_account|workload):[A-Za-z0-9._@+=/-]{1,200}")
"""Who can hold a lease."""
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
"""Stands in a rule's principal for the value of a claim."""
_ISSUER: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~\-/]*)?")


def is_github(issuer: str) -> bool:
    """Whether the issuer is GitHub Actions: the public one, an enterprise's, or a server's."""
    return (
        issuer == GITHUB
        or issuer.startswith(f"{GITHUB}/")
        or issuer.endswith(_GITHUB_SERVER_SUFFIX)
    )


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
    names = PLACEHOLDER.findall(rule.principal)
    if any(not name or name == "/" for name in names):
        return ["principal: a placeholder names no claim."]
    if not LEASE_PRINCIPAL.fullmatch(PLACEHOLDER.sub("x", rule.principal)):
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
