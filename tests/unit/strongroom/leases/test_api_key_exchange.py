"""API keys at the token endpoint: who may exchange one, and what bounds the lease."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace
from tests.support.lease_kit import LeaseKit, bundle, grant
from tests.support.linked_gateway import new_id

from keylease.contracts.api_keys import ApiKeyKind, mint, parse
from keylease.contracts.audit import AuditAction
from keylease.contracts.policy import ApiKeyUse, PolicyBundle, Revocation, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.errors import AccessDenied, LeaseRefused, LeaseRevoked
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.configuration import StaticKeyUse
from keylease.strongroom.gateway.coordinator.policy_source import NOTHING
from keylease.strongroom.leases.exchange import LeaseAudit, TokenExchange
from keylease.strongroom.leases.exchange_form import API_KEY_TYPE, ISSUED_TOKEN_TYPE
from keylease.strongroom.leases.issuers import IssuerDirectory
from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.trust import SubjectVerifier

FORM = "application/x-www-form-urlencoded"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Endpoint:
    def __init__(self, directory: Path) -> None:
        self.kit = LeaseKit()
        self.clock = self.kit.clock
        self.text = mint(ApiKeyKind.API)
        self.use = ApiKeyUse(
            id=new_id(),
            digest=parse(self.text).digest,
            principal="workload:ci",
            purposes=(Purpose.EVAL,),
        )
        self.entries: list[LeaseAudit] = []
        self.policy = bundle(grant())
        self.know(self.use)
        self.exchange = TokenExchange(
            subjects=SubjectVerifier(IssuerDirectory((), clock=self.clock), clock=self.clock),
            replay=ReplayCache(directory, clock=self.clock),
            issuer=self.kit.issuer,
            proofs=SenderProof(self.clock),
            policy=lambda: self.policy,
            audit=self.write,
            endpoint_urls=("http://127.0.0.1/oauth/token",),
            clock=self.clock,
        )

    def know(self, *uses: ApiKeyUse) -> None:
        self.policy = replace(self.policy, api_keys=uses)

    async def write(self, entry: LeaseAudit) -> None:
        self.entries.append(entry)

    async def ask(self, **form: str) -> tuple[int, dict[str, Any]]:
        wanted = {
            "grant_type": GRANT_TYPE,
            "subject_token": self.text,
            "subject_token_type": API_KEY_TYPE,
            "purpose": "eval",
            "environment": "ci-1",
            **form,
        }
        answer = await self.exchange.exchange(
            form=urlencode(wanted).encode(), content_type=FORM, dpop="", peer="127.0.0.1"
        )
        return answer.status, json.loads(answer.body)


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path)


@pytest.mark.parametrize("kind", [API_KEY_TYPE, ISSUED_TOKEN_TYPE])
async def test_a_key_that_the_bundle_knows_becomes_a_lease(endpoint: Endpoint, kind: str) -> None:
    status, body = await endpoint.ask(subject_token_type=kind)
    assert status == 200
    claims = endpoint.kit.verifier().verify(body["access_token"].encode())
    assert (claims.sub, claims.purpose, claims.via) == ("workload:ci", "eval", endpoint.use.id)
    [entry] = endpoint.entries
    assert entry.action is AuditAction.LEASE_ISSUED
    assert entry.details["rule"] == endpoint.use.id
    assert endpoint.text not in repr(endpoint.entries)


async def test_its_lease_is_revoked_with_it(endpoint: Endpoint) -> None:
    _, body = await endpoint.ask()
    claims = endpoint.kit.verifier().verify(body["access_token"].encode())
    revocations = RevocationList()
    revocations.check(claims)
    revocations.apply(
        Revocation(kind=RevocationKind.ADMISSION, value=endpoint.use.id, at=endpoint.clock.now())
    )
    with pytest.raises(LeaseRevoked):
        revocations.check(claims)
    endpoint.clock.advance(2)
    _, again = await endpoint.ask()
    later = endpoint.kit.verifier().verify(again["access_token"].encode())
    revocations.check(later)


@pytest.mark.parametrize(
    "sent",
    [
        mint(ApiKeyKind.API),
        mint(ApiKeyKind.INGEST),
        "kl_" + "a" * 39,
        "kll_" + "a" * 39,
        "nothing",
        "x" * 5000,
    ],
    ids=["unknown", "ingest", "checksum", "a lease", "nothing", "long"],
)
async def test_other_texts_become_nothing(endpoint: Endpoint, sent: str) -> None:
    status, body = await endpoint.ask(subject_token=sent)
    assert (status, body["error"]) == (400, "invalid_request")
    assert "access_token" not in body
    assert sent not in json.dumps(body)
    assert endpoint.entries[-1].action is AuditAction.LEASE_REFUSED


@pytest.mark.parametrize(
    "parts",
    [
        {"purposes": (Purpose.DEVELOPMENT,)},
        {"environments": ("prod",)},
        {"models": ("claude-*",)},
        {"principal": "nobody:x"},
        {"principal": "service_account:without-a-grant"},
    ],
)
async def test_the_entry_and_the_grants_bound_it(endpoint: Endpoint, parts: dict[str, Any]) -> None:
    endpoint.know(replace(endpoint.use, **parts))
    status, body = await endpoint.ask(models="gpt-4o")
    assert status == 400
    assert "access_token" not in body


async def test_no_lease_outlives_the_key_or_the_policy(endpoint: Endpoint) -> None:
    now = endpoint.clock.now()
    endpoint.know(replace(endpoint.use, expires_at=now + 100 * MICROSECONDS))
    status, body = await endpoint.ask()
    assert (status, body["expires_in"]) == (200, 100)
    endpoint.clock.advance(101)
    assert (await endpoint.ask())[0] == 400
    endpoint.know()
    assert (await endpoint.ask())[0] == 400
    endpoint.policy = NOTHING
    status, body = await endpoint.ask()
    assert (status, body["code"]) == (503, "calls_not_accepted")


async def test_a_jwt_type_with_a_key_is_no_key(endpoint: Endpoint) -> None:
    status, _ = await endpoint.ask(subject_token_type="urn:ietf:params:oauth:token-type:jwt")
    assert status == 400


async def test_a_static_key_takes_the_same_way(endpoint: Endpoint) -> None:
    use = StaticKeyUse(purpose=Purpose.EVAL, environment="ci-1")
    key = endpoint.text.encode()
    lease = await endpoint.exchange.exchange_static(key, use, peer="127.0.0.1")
    assert (lease.claims.sub, lease.claims.purpose) == ("workload:ci", Purpose.EVAL)
    assert endpoint.entries[-1].action is AuditAction.LEASE_ISSUED
    other = StaticKeyUse(purpose=Purpose.DEVELOPMENT, environment="ci-1")
    with pytest.raises(AccessDenied):
        await endpoint.exchange.exchange_static(key, other, peer="127.0.0.1")
    with pytest.raises(LeaseRefused):
        await endpoint.exchange.exchange_static(b"kl_\xff", use, peer="127.0.0.1")
    assert [entry.action for entry in endpoint.entries[1:]] == [AuditAction.LEASE_REFUSED] * 2


def test_a_policy_of_version_zero_stands_for_none() -> None:
    assert isinstance(NOTHING, PolicyBundle)
    assert NOTHING.version == 0
