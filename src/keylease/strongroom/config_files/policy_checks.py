"""What is wrong with a policy as a whole, and with a policy and a gateway.toml together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keylease.contracts.policy import Credential, PolicyBundle, Route, Target
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import BindingMissing, Diagnostic, ReferenceInvalid, Severity
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.catalogue import CATALOGUE
from keylease.strongroom.config_files.positions import Path, Position
from keylease.strongroom.config_files.reader import Document, quoted
from keylease.strongroom.config_files.values import parse_base_url
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.gateway.call.routing import patterns_meet
from keylease.strongroom.leases.patterns import any_covers, matches

_NOWHERE: Final = Position(0, 0)


def check_policy(document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]) -> None:
    """Report what no single table shows: secrets with two purposes, parts that nothing reaches."""
    _check_shared_references(document, bundle, paths)
    if document.broken:
        return  # what is unreachable may only be so because of a mistake that is named already
    _check_credentials_in_use(document, bundle, paths)
    _check_shadowed_routes(document, bundle, paths)
    _check_grants_lead_somewhere(document, bundle, paths)
    _check_rules_have_grants(document, bundle, paths)


def check_together(
    gateway: GatewayConfiguration,
    policy: PolicyBundle,
    *,
    path: str = "",
    places: Mapping[str, Position] | None = None,
) -> list[Diagnostic]:
    """Credentials that no binding of the gateway allows, each with the part that fails.

    Such calls are refused and nothing else is harmed, so these are warnings. ``path`` and
    ``places`` are those of the policy file.
    """
    bindings = Bindings(gateway.bindings)
    trusted = {issuer.issuer for issuer in gateway.trusted_issuers}
    found: list[tuple[str, str, str]] = []
    for credential in policy.credentials:
        for purpose in credential.purposes:
            reason = _why_not_bound(bindings, credential, purpose)
            if reason:
                message = (
                    f"gateway.toml does not allow the credential {quoted(credential.name)} for "
                    f"the purpose {purpose.value}."
                )
                found.append((credential.id, message, reason))
    for rule in policy.trust_rules:
        if rule.issuer not in trusted:
            message = f"gateway.toml does not trust the issuer of the rule {quoted(rule.name)}."
            advice = f"Add: [[trusted_issuer]] issuer = {quoted(rule.issuer)}"
            found.append((rule.id, message, advice))
    return [
        Diagnostic(
            path=path,
            line=(places or {}).get(identifier, _NOWHERE).line,
            column=(places or {}).get(identifier, _NOWHERE).column,
            message=message,
            suggestion=advice,
            severity=Severity.WARNING,
        )
        for identifier, message, advice in found
    ]


def _why_not_bound(bindings: Bindings, credential: Credential, purpose: Purpose) -> str:
    try:
        url = credential.upstream or CATALOGUE[credential.provider].base_url
        bindings.decide(
            reference=credential.reference,
            provider=credential.provider,
            origin=parse_base_url(url),
            purpose=purpose,
            environment=credential.environment,
        )
    except BindingMissing as error:
        return str(error)
    except (KeyError, ValueError):
        return "Its provider or upstream is not known to this version."
    return ""


def _check_shared_references(
    document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]
) -> None:
    production = {
        _canonical(credential.reference): credential.name
        for credential in bundle.credentials
        if credential.reference and Purpose.PRODUCTION in credential.purposes
    }
    for credential in bundle.credentials:
        other = production.get(_canonical(credential.reference))
        both = Purpose.PRODUCTION in credential.purposes
        if other is not None and Purpose.EVAL in credential.purposes and not both:
            document.report(
                (*paths[credential.id], "reference"),
                f"{quoted(credential.name)} is for eval and has the same secret as the production "
                f"credential {quoted(other)}.",
                "Give evals a secret of their own.",
            )


def _canonical(reference: str) -> str:
    try:
        return str(Reference.parse(reference))
    except ReferenceInvalid:
        return ""


def _check_credentials_in_use(
    document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]
) -> None:
    used = {target.credential_id for route in bundle.routes for target in route.targets}
    for credential in bundle.credentials:
        if credential.id not in used:
            document.warn(
                paths[credential.id],
                f"No route leads to the credential {quoted(credential.name)}.",
                "Add it to the targets of a [[route]].",
            )


def _check_shadowed_routes(
    document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]
) -> None:
    """A target that an earlier route always takes the calls from is never used."""
    credentials = {credential.id: credential for credential in bundle.credentials}
    for number, route in enumerate(bundle.routes):
        for earlier in bundle.routes[:number]:
            if not all(any_covers(earlier.models, model) for model in route.models):
                continue
            for index, target in enumerate(route.targets):
                if _always_before(earlier, target, credentials):
                    document.warn(
                        (*paths[route.id], "targets", index),
                        f"This target is never used: the route {quoted(earlier.name)} before it "
                        "serves the same models, purposes and environment.",
                        "Put the narrower route first.",
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


def _check_grants_lead_somewhere(
    document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]
) -> None:
    credentials = {credential.id: credential for credential in bundle.credentials}
    for grant in bundle.grants:
        routes = [route for route in bundle.routes if patterns_meet(grant.models, route.models)]
        if not grant.models or not grant.purposes:
            continue  # already reported
        if not routes:
            document.warn(
                (*paths[grant.id], "models"),
                f"No route serves any model of the grant {quoted(grant.name)}.",
                "Add a [[route]] for them.",
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
            document.warn(
                paths[grant.id],
                f"No credential on the routes of the grant {quoted(grant.name)} has one of its "
                "purposes and environments.",
            )


def _check_rules_have_grants(
    document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]
) -> None:
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
            document.warn(
                paths[rule.id],
                f"No grant is for the principal and purposes of the trust rule "
                f"{quoted(rule.name)}, so it never gives a lease.",
                "Add a [[grant]] for that principal.",
            )
