"""API keys of the platform as subjects of an exchange: the bundle says what each may become.

Protects: only digests are held here; a key that the bundle does not list, that has expired, or that
    is an ingest key becomes nothing. What it becomes is bounded by its entry, by a grant and by
    gateway.toml, as for any other subject.
Does not protect: a key that was stolen is good until it is removed or revoked on the platform.
"""

from __future__ import annotations

from typing import Final

from keylease.contracts.api_keys import ApiKeyKind, parse
from keylease.contracts.policy import ApiKeyUse, PolicyBundle, TrustRule
from keylease.errors import ApiKeyMalformed, TokenExchangeRefused
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.strongroom.leases.trust import AdmittedSubject

ISSUER: Final = "api_key"
"""Stands in audit entries where a token's issuer stands.
"""
_WITHOUT_END: Final = 1 << 40
"""Seconds since 1970: later than any lease."""


class ApiKeySubjects:
    """Knows the keys of the bundle that was asked about last."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._bundle: PolicyBundle | None = None
        self._by_digest: dict[str, ApiKeyUse] = {}

    def admit(self, text: str, bundle: PolicyBundle) -> AdmittedSubject:
        """Who the key stands for, and what bounds its leases. Raises ``TokenExchangeRefused``."""
        # 1. Is it a key of ours, and of the kind that acts for somebody?
        try:
            key = parse(text)
        except ApiKeyMalformed as error:
            raise _refused(error.message) from error
        if key.kind is not ApiKeyKind.API:
            raise _refused("An ingest key is not exchanged for leases.")
        # 2. Does the policy know it, now?
        use = self._uses(bundle).get(key.digest)
        if use is None or 0 < use.expires_at <= self._clock.now():
            raise _refused("The API key is unknown, has expired, or may not be exchanged.")
        # 3. What its leases are bounded by.
        return AdmittedSubject(
            rule=TrustRule(
                id=use.id,
                name=f"API key {use.id}",
                issuer=ISSUER,
                audience="",
                claims={},
                principal=use.principal,
                purposes=use.purposes,
                environments=use.environments,
                models=use.models,
                subject_once=False,
                maximum_lease_seconds=use.maximum_lease_seconds,
            ),
            principal=use.principal,
            issuer=ISSUER,
            expires_at=use.expires_at // MICROSECONDS if use.expires_at else _WITHOUT_END,
            jti="",
            project=use.project,
        )

    def _uses(self, bundle: PolicyBundle) -> dict[str, ApiKeyUse]:
        if self._bundle is not bundle:
            self._bundle = bundle
            self._by_digest = {use.digest: use for use in bundle.api_keys}
        return self._by_digest


def _refused(message: str) -> TokenExchangeRefused:
    return TokenExchangeRefused(
        message,
        oauth_error="invalid_request",
        advice="The key needs the permission lease:exchange; GET /v1/api-keys shows what it has.",
    )
