"""Issue leases: the intersection of what is asked and what is allowed.

Protects: a lease never allows more than a grant of its principal, the trust rule that admitted the
    subject, and gateway.toml allow together. Whoever asks for more is refused with the reason;
    only the lifetime is shortened, and the answer says so.
Does not protect: against a grant that is too wide; calls are checked against grants again.
Limits: a pattern that is asked for must be covered by one pattern of one grant; two grants that
    cover it only together do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from keylease import detectors
from keylease.contracts.leases import (
    DEFAULT_LIFETIME,
    LEASE_PREFIX,
    LEASE_TYPE,
    LONGEST_LIFETIME,
    Confirmation,
    LeaseClaims,
)
from keylease.contracts.patterns import any_covers, is_pattern, matches
from keylease.contracts.policy import Grant, PolicyBundle, TrustRule
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    AccessDenied,
    CallsNotAccepted,
    ModelNotAllowed,
    PurposeNotAllowed,
    RequestMalformed,
)
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.revocation import issued_at
from keylease.strongroom.leases.verify import MAXIMUM_TOKEN_BYTES

PRINCIPAL: Final = re.compile(r"(?:user|service_account|workload):[A-Za-z0-9._@+=/-]{1,200}")
ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAXIMUM_MODELS: Final = 64
_PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}|")
_SHORTEST: Final = 1
"""Seconds; a lease that would live for less is refused."""


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, by a person on this machine or through a token exchange."""

    principal: str
    purpose: Purpose
    environment: str
    models: tuple[str, ...] = ()
    """Patterns; empty asks for everything that the principal's grants allow."""
    lifetime: int | None = None
    """Seconds."""
    project: str = ""
    jkt: str = ""
    """Thumbprint of the sender's key; empty leaves the lease a bearer token."""
    x5t: str = ""
    """SHA-256 of the sender's TLS certificate, base64url."""
    rule: TrustRule | None = None
    """The trust rule that admitted the subject; ``None`` for a lease made locally."""
    not_after: int | None = None
    """Expiry of the subject token, in seconds since 1970: the lease never outlives it."""


class IssuedLease(msgspec.Struct, frozen=True):
    """A lease, as it goes to whoever asked. ``token`` is shown once and stored nowhere."""

    token: str
    claims: LeaseClaims
    shortened_by: str = ""
    """What made the lease shorter than it was asked for, for people; empty when nothing did."""

    def __repr__(self) -> str:
        return f"IssuedLease(jti={self.claims.jti!r}, token=********)"


class LeaseIssuer:
    """Signs leases of one gateway group."""

    def __init__(
        self, keys: SigningKeys, configuration: GatewayConfiguration, clock: Clock
    ) -> None:
        self._keys = keys
        self._configuration = configuration
        self._clock = clock
        self.latest_issued_at = 0
        """Of the leases of this process, in microseconds: when the clock was set back since, later
        than now."""

    def replace_keys(self, keys: SigningKeys) -> None:
        """Sign with these keys from now on."""
        self._keys = keys

    def issue(self, request: LeaseRequest, bundle: PolicyBundle) -> IssuedLease:
        """Make a lease.

        Raises ``RequestMalformed`` for what nobody can ask for, and ``AccessDenied`` or one of
        its kinds for what this principal may not have. Nothing is stored: whoever calls this
        writes the audit entry before the lease leaves the process.
        """
        require_policy(bundle)
        # 1. Only well-formed wishes; patterns of grants never meet a name with a "*" in it.
        _check_form(request)
        # 2. The trust rule is a ceiling.
        if request.rule is not None:
            _check_rule(request, request.rule)
        # 3. Grants that apply to this principal, purpose and environment.
        grants = _applicable(bundle.grants, request)
        # 4. Every model that is asked for must be covered; asking for none takes what there is.
        models = request.models or _everything(grants, request.rule)
        longest = _longest(grants, models)
        # 5. Time: the only thing that is shortened.
        now = self._clock.now() // MICROSECONDS
        lifetime, shortened_by = self._lifetime(request, longest, now)
        claims = LeaseClaims(
            iss=self._configuration.group,
            sub=request.principal,
            iat=now,
            exp=now + lifetime,
            jti=uuid7(self._clock),
            organization=bundle.organization_id,
            project=request.project,
            purpose=request.purpose,
            environment=request.environment,
            models=models,
            via=request.rule.id if request.rule is not None else "",
            cnf=Confirmation(jkt=request.jkt, x5t=request.x5t)
            if request.jkt or request.x5t
            else None,
        )
        signed = self._keys.sign(msgspec.json.encode(claims), typ=LEASE_TYPE)
        if len(signed) > MAXIMUM_TOKEN_BYTES:
            raise RequestMalformed(
                "The lease would be longer than any gateway reads.",
                advice="Ask for fewer models, or for patterns with *.",
            )
        self.latest_issued_at = max(self.latest_issued_at, issued_at(claims))
        return IssuedLease(LEASE_PREFIX + signed.decode(), claims, shortened_by)

    def _lifetime(self, request: LeaseRequest, longest: int, now: int) -> tuple[int, str]:
        asked = DEFAULT_LIFETIME if request.lifetime is None else request.lifetime
        bounds = [
            (longest, "the grant"),
            (self._configuration.maximum_lease_seconds, "gateway.toml"),
            (LONGEST_LIFETIME, "Keylease"),
        ]
        if request.rule is not None:
            bounds.append((request.rule.maximum_lease_seconds, "the trust rule"))
        if request.not_after is not None:
            bounds.append((request.not_after - now, "the subject token's expiry"))
        bound, whose = min(bounds)
        if bound < _SHORTEST:
            raise AccessDenied(
                f"{whose.capitalize()} leaves no time for a lease.",
                advice="Ask again with a subject token that is fresh.",
            )
        if asked <= bound:
            return asked, ""
        # An unspoken wish for the default is not worth a remark.
        return bound, "" if request.lifetime is None else f"limited to {bound} s by {whose}"


def require_policy(bundle: PolicyBundle) -> None:
    """Raise ``CallsNotAccepted`` for the empty policy that stands for none (version 0)."""
    if bundle.version == 0:
        raise CallsNotAccepted(
            "The gateway has no policy in force and issues no leases.",
            advice="Its owner sees why with `keylease policy status`.",
        )


def require_grant(bundle: PolicyBundle, claims: LeaseClaims) -> None:
    """Raise ``AccessDenied`` unless a grant still applies to what a lease was issued for."""
    request = LeaseRequest(
        principal=claims.sub, purpose=claims.purpose, environment=claims.environment
    )
    _applicable(bundle.grants, request)


def _check_form(request: LeaseRequest) -> None:
    if not PRINCIPAL.fullmatch(request.principal):
        raise RequestMalformed(
            "The principal is not of the form kind:name.",
            advice="The kinds are user, service_account and workload: service_account:nightly.",
        )
    if not ENVIRONMENT.fullmatch(request.environment):
        raise RequestMalformed(
            "The environment is not a plain name.",
            advice="A lease is good for one environment, such as staging; patterns are for grants.",
        )
    if len(request.models) > MAXIMUM_MODELS or not all(map(is_pattern, request.models)):
        raise RequestMalformed(
            f"The models are not a list of at most {MAXIMUM_MODELS} names or patterns with *.",
            advice="Name models as the policy's grants do, such as gpt-4o or gpt-*.",
        )
    if not _PROJECT.fullmatch(request.project):
        raise RequestMalformed(
            "The project is not a plain name.",
            advice="Use at most 128 letters, digits and . _ - / and begin with a letter or digit.",
        )
    words = (request.principal, request.environment, request.project, *request.models)
    if any(map(detectors.looks_like_secret, words)):
        raise RequestMalformed(
            "What is asked for has something in it that looks like a key or a lease.",
            advice="Keys have no place in a lease. If that was one, rotate it.",
        )
    if request.lifetime is not None and request.lifetime < _SHORTEST:
        raise RequestMalformed(
            "The lifetime is less than a second.", advice="Ask for a longer one, such as 15m."
        )


def _check_rule(request: LeaseRequest, rule: TrustRule) -> None:
    if request.purpose not in rule.purposes:
        raise PurposeNotAllowed(
            f"The trust rule {rule.name!r} does not admit the purpose {request.purpose}.",
            advice=_rather(rule.purposes, "the rule"),
        )
    if not any(matches(pattern, request.environment) for pattern in rule.environments):
        raise AccessDenied(
            f"The trust rule {rule.name!r} does not admit the environment {request.environment!r}.",
            advice=_rather(rule.environments, "the rule"),
        )
    for model in request.models:
        if not any_covers(rule.models, model):
            raise ModelNotAllowed(
                f"The trust rule {rule.name!r} does not admit the model {model!r}.",
                advice=_rather(rule.models, "the rule"),
            )


def _rather(allowed: Iterable[str], whose: str) -> str:
    """What to ask for instead: only what this principal may have anyway."""
    names = ", ".join(dict.fromkeys(map(str, allowed)))
    return f"Ask for {names}; or the policy's owner widens {whose}."


def _applicable(grants: Iterable[Grant], request: LeaseRequest) -> tuple[Grant, ...]:
    mine = [g for g in grants if any(matches(p, request.principal) for p in g.principals)]
    if not mine:
        raise AccessDenied(
            f"No grant names the principal {request.principal}.",
            advice="A grant in the policy has to list it, or a pattern for it, in principals.",
        )
    for_purpose = [g for g in mine if request.purpose in g.purposes]
    if not for_purpose:
        raise PurposeNotAllowed(
            f"No grant of {request.principal} allows the purpose {request.purpose}.",
            advice=_rather([p for g in mine for p in g.purposes], "a grant"),
        )
    here = [g for g in for_purpose if any(matches(p, request.environment) for p in g.environments)]
    if not here:
        raise AccessDenied(
            f"No grant of {request.principal} for {request.purpose} allows the environment"
            f" {request.environment!r}.",
            advice=_rather([e for g in for_purpose for e in g.environments], "a grant"),
        )
    return tuple(here)


def _everything(grants: tuple[Grant, ...], rule: TrustRule | None) -> tuple[str, ...]:
    """All models of the grants that the trust rule admits too."""
    granted = dict.fromkeys(pattern for grant in grants for pattern in grant.models)
    if rule is None:
        models = tuple(granted)
    else:
        admitted = dict.fromkeys(rule.models)
        both = [p for p in granted if any_covers(admitted, p)]
        both += [p for p in admitted if any_covers(granted, p)]
        models = tuple(dict.fromkeys(both))
    if not models:
        raise ModelNotAllowed(
            "The grants and the trust rule have no model in common.",
            advice="The policy's owner has to let both of them name a model.",
        )
    if len(models) > MAXIMUM_MODELS:
        raise ModelNotAllowed(
            f"The grants list more than {MAXIMUM_MODELS} models.",
            advice="Ask for the models that are needed, or use patterns with *.",
        )
    return models


def _longest(grants: tuple[Grant, ...], models: tuple[str, ...]) -> int:
    """Seconds that a lease for all these models may live; raises ``ModelNotAllowed``."""
    longest: list[int] = []
    for model in models:
        seconds = [g.maximum_lease_seconds for g in grants if any_covers(g.models, model)]
        if not seconds:
            raise ModelNotAllowed(
                f"No grant allows the model {model!r} for this purpose and environment.",
                advice="Ask for a model or a narrower pattern that one grant covers.",
            )
        longest.append(max(seconds))
    return min(longest)
