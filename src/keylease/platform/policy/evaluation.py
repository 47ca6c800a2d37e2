"""What a policy would have said to a call, by the rules that gateways decide by.

The order of the checks is that of ``gateway/call/routing``; a property test holds the two together.
What only a gateway knows is left out: its own bindings, used-up limits, the lease's own models.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from keylease.contracts.catalogue import CATALOGUE, WireFormat
from keylease.contracts.patterns import matches
from keylease.contracts.policy import Credential, Grant, PolicyBundle, RevocationKind, Target
from keylease.contracts.policy_rules import canonical
from keylease.contracts.purposes import Purpose


class Refusal(StrEnum):
    """Why a call would be refused. Stable."""

    NO_GRANT_FOR_PRINCIPAL = "no_grant_for_principal"
    PURPOSE_NOT_GRANTED = "purpose_not_granted"
    ENVIRONMENT_NOT_GRANTED = "environment_not_granted"
    MODEL_NOT_GRANTED = "model_not_granted"
    NO_ROUTE = "no_route"
    NO_CREDENTIAL_OF_THE_API = "no_credential_of_the_api"
    CREDENTIAL_NOT_FOR_PURPOSE = "credential_not_for_purpose"
    CREDENTIAL_NOT_FOR_ENVIRONMENT = "credential_not_for_environment"
    CREDENTIAL_REVOKED = "credential_revoked"


class AskedCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision depends on."""

    principal: str
    model: str
    purpose: Purpose
    environment: str
    wire_format: WireFormat | None = None
    """``None`` where it is not known any more: every credential then speaks the right one."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Refused for a reason, or served by the first of these credentials."""

    refusal: Refusal | None = None
    grant_id: str = ""
    credential_ids: tuple[str, ...] = ()


class PolicyEvaluator:
    """Asks one policy about many calls."""

    def __init__(self, bundle: PolicyBundle) -> None:
        self._bundle = bundle
        self._credentials = {credential.id: credential for credential in bundle.credentials}
        self._production = {
            canonical(credential.reference)
            for credential in bundle.credentials
            if Purpose.PRODUCTION in credential.purposes
        }
        self._revoked = {
            revocation.value
            for revocation in bundle.revocations
            if revocation.kind is RevocationKind.CREDENTIAL
        }
        self._known: dict[AskedCall, Verdict] = {}

    def decide(self, call: AskedCall) -> Verdict:
        """What the policy says."""
        verdict = self._known.get(call)
        if verdict is None:
            verdict = self._known[call] = self._decide(call)
        return verdict

    def _decide(self, call: AskedCall) -> Verdict:
        # 1. A grant for the principal, the purpose, the environment, and then the model.
        found = self._grants(call)
        if isinstance(found, Refusal):
            return Verdict(refusal=found)
        # 2. The first route that leads to a credential the call may use.
        reason = Refusal.NO_ROUTE
        for route in self._bundle.routes:
            if not _any(route.models, call.model):
                continue
            usable: list[str] = []
            for target in route.targets:
                refused = self._refuses(call, target)
                if refused is None:
                    usable.append(target.credential_id)
                elif reason is Refusal.NO_ROUTE:
                    reason = refused
            if usable:
                return Verdict(grant_id=found.id, credential_ids=tuple(usable))
        return Verdict(refusal=reason)

    def _grants(self, call: AskedCall) -> Grant | Refusal:
        """The grant whose limits count, or which step leaves none."""
        grants = [g for g in self._bundle.grants if _any(g.principals, call.principal)]
        if not grants:
            return Refusal.NO_GRANT_FOR_PRINCIPAL
        grants = [g for g in grants if call.purpose in g.purposes]
        if not grants:
            return Refusal.PURPOSE_NOT_GRANTED
        grants = [g for g in grants if _any(g.environments, call.environment)]
        if not grants:
            return Refusal.ENVIRONMENT_NOT_GRANTED
        grants = [g for g in grants if _any(g.models, call.model)]
        return grants[0] if grants else Refusal.MODEL_NOT_GRANTED

    def _refuses(self, call: AskedCall, target: Target) -> Refusal | None:
        credential = self._credentials.get(target.credential_id)
        if credential is None or not _speaks(credential, call.wire_format):
            return Refusal.NO_CREDENTIAL_OF_THE_API
        shared = canonical(credential.reference) in self._production
        if call.purpose not in credential.purposes or (call.purpose is Purpose.EVAL and shared):
            return Refusal.CREDENTIAL_NOT_FOR_PURPOSE
        if credential.environment != call.environment:
            return Refusal.CREDENTIAL_NOT_FOR_ENVIRONMENT
        if credential.id in self._revoked:
            return Refusal.CREDENTIAL_REVOKED
        return None


def wire_format_of(provider: str) -> WireFormat | None:
    """What a provider's credentials speak; ``None`` for one that this version does not know."""
    known = CATALOGUE.get(provider)
    return known.wire_format if known is not None else None


def _speaks(credential: Credential, wire_format: WireFormat | None) -> bool:
    own = wire_format_of(credential.provider)
    return own is not None and wire_format in (None, own)


def _any(patterns: tuple[str, ...], word: str) -> bool:
    return any(matches(pattern, word) for pattern in patterns)
