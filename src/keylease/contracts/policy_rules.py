"""What is wrong with a policy as a whole, whoever wrote it: a local file, or the platform.

What is wrong with one part of it is found where it is read; here is what no single part shows:
secrets with two purposes, targets without a credential, parts that nothing reaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.patterns import any_covers, matches, patterns_meet
from keylease.contracts.policy import Credential, PolicyBundle, Route, Target
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import ReferenceInvalid, Severity


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong. Never contains a secret."""

    object_id: str
    """Identifier of the credential, route, grant or trust rule."""
    place: tuple[str | int, ...] = ()
    """Where in it: names of members and positions in lists."""
    message: str
    suggestion: str = ""
    severity: Severity = Severity.WARNING


def check_mistakes(bundle: PolicyBundle) -> list[Finding]:
    """What must not be served."""
    return [*_shared_references(bundle), *_targets_without_credential(bundle)]


def check_reach(bundle: PolicyBundle) -> list[Finding]:
    """What is there in vain. Asked of a policy without mistakes: it would repeat their effects."""
    return [
        *_credentials_not_in_use(bundle),
        *_shadowed_targets(bundle),
        *_grants_that_lead_nowhere(bundle),
        *_rules_without_grants(bundle),
    ]


def canonical(reference: str) -> str:
    """The one text of a reference; empty when it is none."""
    try:
        return str(Reference.parse(reference))
    except ReferenceInvalid:
        return ""


def _shared_references(bundle: PolicyBundle) -> Iterator[Finding]:
    production = {
        canonical(credential.reference): credential.name
        for credential in bundle.credentials
        if credential.reference and Purpose.PRODUCTION in credential.purposes
    }
    for credential in bundle.credentials:
        other = production.get(canonical(credential.reference))
        both = Purpose.PRODUCTION in credential.purposes
        if other is not None and Purpose.EVAL in credential.purposes and not both:
            yield Finding(
                object_id=credential.id,
                place=("reference",),
                message=f'"{credential.name}" is for eval and has the same secret as the '
                f'production credential "{other}".',
                suggestion="Give evals a secret of their own.",
                severity=Severity.ERROR,
            )


def _targets_without_credential(bundle: PolicyBundle) -> Iterator[Finding]:
    known = {credential.id for credential in bundle.credentials}
    for route in bundle.routes:
        for index, target in enumerate(route.targets):
            if target.credential_id and target.credential_id not in known:
                yield Finding(
                    object_id=route.id,
                    place=("targets", index, "credential_id"),
                    message=f'The route "{route.name}" leads to a credential that does not exist.',
                    suggestion="Take the target out, or add the credential.",
                    severity=Severity.ERROR,
                )


def _credentials_not_in_use(bundle: PolicyBundle) -> Iterator[Finding]:
    used = {target.credential_id for route in bundle.routes for target in route.targets}
    for credential in bundle.credentials:
        if credential.id not in used:
            yield Finding(
                object_id=credential.id,
                message=f'No route leads to the credential "{credential.name}".',
                suggestion="Add it to the targets of a route.",
            )


def _shadowed_targets(bundle: PolicyBundle) -> Iterator[Finding]:
    """A target that an earlier route always takes the calls from is never used."""
    credentials = {credential.id: credential for credential in bundle.credentials}
    for number, route in enumerate(bundle.routes):
        for earlier in bundle.routes[:number]:
            if not all(any_covers(earlier.models, model) for model in route.models):
                continue
            for index, target in enumerate(route.targets):
                if _always_before(earlier, target, credentials):
                    yield Finding(
                        object_id=route.id,
                        place=("targets", index),
                        message=f'This target is never used: the route "{earlier.name}" before it '
                        "serves the same models, purposes and environment.",
                        suggestion="Put the narrower route first.",
                    )


def _always_before(earlier: Route, target: Target, credentials: Mapping[str, Credential]) -> bool:
    later = credentials.get(target.credential_id)
    if later is None or later.provider not in CATALOGUE:
        return False
    for candidate in earlier.targets:
        first = credentials.get(candidate.credential_id)
        if (
            first is not None
            and first.provider in CATALOGUE
            and CATALOGUE[first.provider].wire_format is CATALOGUE[later.provider].wire_format
            and first.environment == later.environment
            and set(first.purposes) >= set(later.purposes)
        ):
            return True
    return False


def _grants_that_lead_nowhere(bundle: PolicyBundle) -> Iterator[Finding]:
    credentials = {credential.id: credential for credential in bundle.credentials}
    for grant in bundle.grants:
        if not grant.models or not grant.purposes:
            continue  # a mistake of the grant itself
        routes = [route for route in bundle.routes if patterns_meet(grant.models, route.models)]
        if not routes:
            yield Finding(
                object_id=grant.id,
                place=("models",),
                message=f'No route serves any model of the grant "{grant.name}".',
                suggestion="Add a route for them.",
            )
            continue
        reached = [
            credential
            for route in routes
            for target in route.targets
            if (credential := credentials.get(target.credential_id)) is not None
        ]
        fitting = [
            credential
            for credential in reached
            if set(credential.purposes) & set(grant.purposes)
            and any(matches(pattern, credential.environment) for pattern in grant.environments)
        ]
        if reached and not fitting:
            yield Finding(
                object_id=grant.id,
                message=f'No credential on the routes of the grant "{grant.name}" has one of its '
                "purposes and environments.",
                suggestion="Compare the purposes and environments of the two.",
            )


def _rules_without_grants(bundle: PolicyBundle) -> Iterator[Finding]:
    for rule in bundle.trust_rules:
        # What a placeholder becomes is not known here; it may be anything.
        principal = "".join(
            "*" if index % 2 else part
            for index, part in enumerate(rule.principal.replace("}", "{").split("{"))
        )
        if principal and not any(
            patterns_meet((principal,), grant.principals)
            and set(grant.purposes) & set(rule.purposes)
            for grant in bundle.grants
        ):
            yield Finding(
                object_id=rule.id,
                message="No grant is for the principal and purposes of the trust rule "
                f'"{rule.name}", so it never gives a lease.',
                suggestion="Add a grant for that principal.",
            )
