"""Keys, policies and leases for tests."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from tests.support.manual_clock import ManualClock

from keylease.contracts.leases import LEASE_PREFIX, LEASE_TYPE, LONGEST_LIFETIME, LeaseClaims
from keylease.contracts.policy import Grant, PolicyBundle, TrustRule
from keylease.contracts.purposes import Purpose
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.leases.issue import IssuedLease, LeaseIssuer, LeaseRequest
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.verify import LeaseVerifier

ORGANIZATION = "01a00000-0000-7000-8000-000000000001"


def grant(**changes: object) -> Grant:
    base = Grant(
        id="grant-1",
        name="developers",
        principals=("user:*", "workload:*"),
        models=("gpt-*", "claude-*"),
        purposes=(Purpose.DEVELOPMENT, Purpose.EVAL),
        environments=("local", "ci-*"),
        maximum_lease_seconds=900,
    )
    return replace(base, **changes)


def rule(**changes: object) -> TrustRule:
    base = TrustRule(
        id="rule-1",
        name="cluster",
        issuer="https://issuer.test",
        audience="keylease",
        claims={"sub": "job"},
        principal="workload:job",
        purposes=(Purpose.EVAL,),
        environments=("ci-*",),
        models=("gpt-*",),
        subject_once=False,
    )
    return replace(base, **changes)


def bundle(*grants: Grant, rules: tuple[TrustRule, ...] = ()) -> PolicyBundle:
    return PolicyBundle(
        organization_id=ORGANIZATION,
        version=1,
        issued_at=0,
        grants=grants or (grant(),),
        trust_rules=rules,
    )


def wish(**changes: object) -> LeaseRequest:
    base = LeaseRequest(
        principal="user:alice",
        purpose=Purpose.DEVELOPMENT,
        environment="local",
    )
    return replace(base, **changes)


class LeaseKit:
    """One gateway group: its clock, keys, issuer and a verifier."""

    def __init__(self, **configuration: object) -> None:
        self.clock = ManualClock()
        self.keys = SigningKeys.generate(self.clock.now())
        self.configuration = replace(GatewayConfiguration(path="gateway.toml"), **configuration)
        self.issuer = LeaseIssuer(self.keys, self.configuration, self.clock)

    def verifier(
        self, *, cache_size: int = 100, maximum_lifetime: int = LONGEST_LIFETIME
    ) -> LeaseVerifier:
        return LeaseVerifier(
            self.keys.public_jwks(),
            issuer=self.configuration.group,
            clock=self.clock,
            cache_size=cache_size,
            maximum_lifetime=maximum_lifetime,
        )

    def lease(self, **changes: object) -> IssuedLease:
        return self.issuer.issue(wish(**changes), bundle())

    def token(self, **changes: object) -> bytes:
        return self.lease(**changes).token.encode()

    def claims(self, **changes: object) -> LeaseClaims:
        now = self.clock.now() // MICROSECONDS
        base = LeaseClaims(
            iss="local",
            sub="user:alice",
            iat=now,
            exp=now + 900,
            jti=uuid7(self.clock),
            organization=ORGANIZATION,
            purpose=Purpose.DEVELOPMENT,
            environment="local",
            models=("gpt-*",),
        )
        return replace(base, **changes)

    def signed(
        self, payload: LeaseClaims | dict[str, object] | bytes, typ: str = LEASE_TYPE
    ) -> bytes:
        """A lease with any content, signed by the group's own key."""
        data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        return LEASE_PREFIX.encode() + self.keys.sign(data, typ=typ)
