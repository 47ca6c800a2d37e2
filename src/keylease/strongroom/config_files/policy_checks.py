"""What is wrong with a policy as a whole, and with a policy and a gateway.toml together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.policy import Credential, PolicyBundle
from keylease.contracts.policy_rules import check_mistakes, check_reach
from keylease.contracts.purposes import Purpose
from keylease.errors import BindingMissing, Diagnostic, Severity
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.config_files.positions import Path, Position
from keylease.strongroom.config_files.reader import Document, quoted
from keylease.strongroom.config_files.values import parse_base_url
from keylease.strongroom.configuration import GatewayConfiguration

_NOWHERE: Final = Position(0, 0)


def check_policy(document: Document, bundle: PolicyBundle, paths: Mapping[str, Path]) -> None:
    """Report what no single table shows: secrets with two purposes, parts that nothing reaches."""
    for finding in check_mistakes(bundle):
        document.report(
            (*paths[finding.object_id], *finding.place), finding.message, finding.suggestion
        )
    if document.broken:
        return  # what is unreachable may only be so because of a mistake that is named already
    for finding in check_reach(bundle):
        document.warn(
            (*paths[finding.object_id], *finding.place), finding.message, finding.suggestion
        )


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
