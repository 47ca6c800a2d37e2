"""A lease becomes a trace token: for whom, for how long, into which project, and for whom not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from tests.support.lease_kit import ORGANIZATION, LeaseKit, bundle, grant

from keylease.contracts.audit import AuditAction
from keylease.contracts.leases import Confirmation
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.contracts.trace_tokens import (
    INGEST_AUDIENCE,
    LEASE_TOKEN_TYPE,
    LONGEST_TRACE_TOKEN,
    TRACE_TOKEN_PREFIX,
)
from keylease.errors import LeaseForeign, LeaseMalformed, StorageFull
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import uuid7
from keylease.primitives.signatures import (
    ed25519_jwk,
    encode_base64url,
    split_compact,
    thumbprint,
    verify_ed25519,
)
from keylease.strongroom.gateway.coordinator.policy_source import NOTHING
from keylease.strongroom.leases.exchange import LeaseAudit, TokenExchange
from keylease.strongroom.leases.exchange_form import ISSUED_TOKEN_TYPE
from keylease.strongroom.leases.issuers import IssuerDirectory
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.trace_tokens import LinkIdentity, TraceTokenIssuer
from keylease.strongroom.leases.trust import SubjectVerifier

FORM = "application/x-www-form-urlencoded"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
HERE, THERE = "127.0.0.1", "203.0.113.7"
URL = "https://keylease.example.com"


class Endpoint:
    def __init__(self, directory: Path) -> None:
        self.kit = LeaseKit()
        self.clock = self.kit.clock
        self.identity: LinkIdentity | None = LinkIdentity(
            gateway_id=uuid7(self.clock),
            organization_id=ORGANIZATION,
            key=Ed25519PrivateKey.generate(),
            url=URL,
        )
        self.policy = bundle()
        self.revocations: list[Revocation] = []
        self.entries: list[LeaseAudit] = []
        self.full = False
        issuer = TraceTokenIssuer(
            keys=lambda: self.kit.keys,
            revocations=lambda: self.revocations,
            policy=lambda: self.policy,
            identity=self.who,
            configuration=self.kit.configuration,
            clock=self.clock,
        )
        self.exchange = TokenExchange(
            subjects=SubjectVerifier(IssuerDirectory((), clock=self.clock), clock=self.clock),
            replay=ReplayCache(directory, clock=self.clock),
            issuer=self.kit.issuer,
            proofs=SenderProof(self.clock),
            policy=lambda: self.policy,
            audit=self.write,
            endpoint_urls=("http://127.0.0.1/oauth/token",),
            clock=self.clock,
            trace_tokens=issuer,
        )

    async def who(self) -> LinkIdentity | None:
        return self.identity

    async def write(self, entry: LeaseAudit) -> None:
        if self.full:
            raise StorageFull("The disk is full.")
        self.entries.append(entry)

    async def ask(
        self,
        lease: bytes,
        *,
        peer: str = HERE,
        certificate: str = "",
        dpop: str = "",
        **form: str,
    ) -> tuple[int, dict[str, Any]]:
        wanted = {
            "grant_type": GRANT_TYPE,
            "subject_token": lease.decode(),
            "subject_token_type": LEASE_TOKEN_TYPE,
            "audience": INGEST_AUDIENCE,
            **form,
        }
        answer = await self.exchange.exchange(
            form=urlencode(wanted).encode(),
            content_type=FORM,
            dpop=dpop,
            peer=peer,
            certificate=certificate,
        )
        return answer.status, json.loads(answer.body)

    def proof(self, key: Ed25519PrivateKey, **claims: str) -> str:
        """That a sender has a key, for this endpoint (RFC 9449)."""
        head = {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": ed25519_jwk(key.public_key())}
        body = {
            "jti": uuid7(self.clock),
            "htm": "POST",
            "htu": "http://127.0.0.1/oauth/token",
            "iat": self.clock.now() // MICROSECONDS,
            **claims,
        }
        signed = b".".join(encode_base64url(json.dumps(part).encode()) for part in (head, body))
        return (signed + b"." + encode_base64url(key.sign(signed))).decode()

    def read(self, token: str) -> dict[str, Any]:
        assert self.identity is not None
        assert token.startswith(TRACE_TOKEN_PREFIX)
        jws = split_compact(token.removeprefix(TRACE_TOKEN_PREFIX).encode(), maximum_bytes=4096)
        assert jws.unverified_header == {
            "alg": "EdDSA",
            "kid": self.identity.gateway_id,
            "typ": "klt+jwt",
        }
        claims: dict[str, Any] = json.loads(verify_ed25519(self.identity.key.public_key(), jws))
        return claims


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path)


@pytest.mark.parametrize("kind", [LEASE_TOKEN_TYPE, ISSUED_TOKEN_TYPE])
async def test_a_lease_becomes_a_token_for_spans(endpoint: Endpoint, kind: str) -> None:
    lease = endpoint.kit.lease(project="apollo")
    status, body = await endpoint.ask(lease.token.encode(), subject_token_type=kind)
    assert (status, body["token_type"], body["ingest_url"]) == (200, "Bearer", URL)
    assert body["expires_in"] == LONGEST_TRACE_TOKEN
    claims = endpoint.read(body["access_token"])
    assert endpoint.identity is not None
    assert claims.items() >= {
        ("iss", endpoint.identity.gateway_id),
        ("sub", "user:alice"),
        ("aud", INGEST_AUDIENCE),
        ("organization", ORGANIZATION),
        ("project", "apollo"),
        ("lease", lease.claims.jti),
    }
    # The precise moment: the identifier has milliseconds.
    assert claims["lease_issued_at"] == endpoint.clock.now() // 1000 * 1000
    [entry] = endpoint.entries
    assert (entry.action, entry.principal) == (AuditAction.TRACE_TOKEN_ISSUED, "user:alice")
    assert (entry.object, entry.details["lease"]) == (claims["jti"], lease.claims.jti)
    assert body["access_token"] not in repr(endpoint.entries)
    assert lease.token not in repr(endpoint.entries)


async def test_no_client_chooses_the_project_or_the_principal(endpoint: Endpoint) -> None:
    chosen = {"project": "gemini", "principal": "user:bob", "sub": "user:bob", "purpose": "eval"}
    status, body = await endpoint.ask(endpoint.kit.token(project="apollo"), **chosen)
    claims = endpoint.read(body["access_token"])
    assert (status, claims["project"], claims["sub"]) == (200, "apollo", "user:alice")


async def test_it_never_outlives_its_lease(endpoint: Endpoint) -> None:
    lease = endpoint.kit.lease()
    endpoint.clock.advance(700)
    _, body = await endpoint.ask(lease.token.encode())
    assert body["expires_in"] == 200
    assert endpoint.read(body["access_token"])["exp"] == lease.claims.exp
    _, body = await endpoint.ask(lease.token.encode(), requested_lifetime="60")
    assert body["expires_in"] == 60
    _, body = await endpoint.ask(lease.token.encode(), requested_lifetime="86400")
    assert body["expires_in"] == 200
    # Of a long lease it is a quarter of an hour all the same.
    endpoint.policy = bundle(grant(maximum_lease_seconds=86_400))
    _, body = await endpoint.ask(endpoint.kit.token(), requested_lifetime="86400")
    assert body["expires_in"] == LONGEST_TRACE_TOKEN


Attack = Callable[[Endpoint], bytes]
NO_LEASE: dict[str, tuple[Attack, str]] = {
    "nothing": (lambda _: b"nothing", "lease_malformed"),
    "changed": (lambda e: e.kit.token()[:-4] + b"AAAA", "lease_malformed"),
    "of another group": (lambda _: LeaseKit().token(), "lease_foreign"),
    "for another audience": (
        lambda e: e.kit.signed(e.kit.claims(aud=INGEST_AUDIENCE)),
        "lease_foreign",
    ),
    "of another organization": (
        lambda e: e.kit.signed(e.kit.claims(organization=uuid7(e.clock))),
        "lease_foreign",
    ),
    "from the future": (
        lambda e: e.kit.signed(
            e.kit.claims(
                iat=e.clock.now() // MICROSECONDS + 120, exp=e.clock.now() // MICROSECONDS + 300
            )
        ),
        "lease_not_yet_valid",
    ),
    "ended": (
        lambda e: e.kit.signed(e.kit.claims(exp=e.clock.now() // MICROSECONDS)),
        "lease_expired",
    ),
    "of a sender key": (
        lambda e: e.kit.signed(e.kit.claims(cnf=Confirmation(jkt="x" * 43))),
        "sender_not_proven",
    ),
    "of a certificate": (
        lambda e: e.kit.signed(e.kit.claims(cnf=Confirmation(x5t="x" * 43))),
        "sender_not_proven",
    ),
    "of some sender": (
        lambda e: e.kit.signed({**_builtins(e), "cnf": {"other": "x"}}),
        "sender_not_proven",
    ),
    "that no grant is behind": (lambda e: e.kit.signed(e.kit.claims(sub="user:x", environment="y")),
        "access_denied",
    ),
}  # fmt: skip


def _builtins(endpoint: Endpoint) -> dict[str, object]:
    token = endpoint.kit.signed(endpoint.kit.claims())
    payload = token.split(b".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    return claims


@pytest.mark.parametrize("case", NO_LEASE.values(), ids=NO_LEASE)
async def test_what_is_no_good_lease_becomes_nothing(
    endpoint: Endpoint, case: tuple[Attack, str]
) -> None:
    attack, code = case
    sent = attack(endpoint)
    status, body = await endpoint.ask(sent)
    assert (status, body.get("code")) == (400, code)
    assert "access_token" not in body
    assert endpoint.entries[-1].action is AuditAction.TRACE_TOKEN_REFUSED
    assert sent.decode() not in json.dumps(body) + repr(endpoint.entries)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RevocationKind.LEASE, "its own"),
        (RevocationKind.PRINCIPAL, "user:alice"),
        (RevocationKind.ALL, ""),
    ],
)
async def test_a_revoked_lease_gets_no_further_token(
    endpoint: Endpoint, kind: RevocationKind, value: str
) -> None:
    lease = endpoint.kit.lease()
    assert (await endpoint.ask(lease.token.encode()))[0] == 200
    endpoint.revocations.append(
        Revocation(
            kind=kind,
            value=lease.claims.jti if kind is RevocationKind.LEASE else value,
            at=endpoint.clock.now(),
        )
    )
    status, body = await endpoint.ask(lease.token.encode())
    assert (status, body["error"], body["code"]) == (400, "invalid_request", "lease_revoked")


async def test_a_bound_lease_needs_its_sender(endpoint: Endpoint) -> None:
    bound = endpoint.kit.signed(endpoint.kit.claims(cnf=Confirmation(x5t="x" * 43)))
    assert (await endpoint.ask(bound, certificate="y" * 43))[0] == 400
    assert (await endpoint.ask(bound, certificate="x" * 43))[0] == 200

    key = Ed25519PrivateKey.generate()
    jkt = thumbprint(ed25519_jwk(key.public_key()))
    bound = endpoint.kit.signed(endpoint.kit.claims(cnf=Confirmation(jkt=jkt)))
    thief = Ed25519PrivateKey.generate()
    stolen = endpoint.proof(thief)
    assert (await endpoint.ask(bound, dpop=stolen))[1]["code"] == "sender_not_proven"
    for wrong in (endpoint.proof(key, htu=URL), endpoint.proof(key, htm="GET"), "x.y.z"):
        assert (await endpoint.ask(bound, dpop=wrong))[1]["error"] == "invalid_dpop_proof"
    fresh = endpoint.proof(key)
    assert (await endpoint.ask(bound, dpop=fresh))[0] == 200
    assert (await endpoint.ask(bound, dpop=fresh))[1]["error"] == "invalid_dpop_proof"


async def test_without_a_platform_there_is_nobody_to_send_spans_to(endpoint: Endpoint) -> None:
    endpoint.identity = None
    # Also before there is any policy, which comes from the platform.
    for policy in (endpoint.policy, NOTHING):
        endpoint.policy = policy
        status, body = await endpoint.ask(endpoint.kit.token())
        assert (status, body["error"]) == (400, "invalid_target")
        assert body["code"] == "gateway_not_linked"
        assert "keylease gateway enroll" in body["error_description"]
    endpoint.exchange._trace_tokens = None
    assert (await endpoint.ask(endpoint.kit.token()))[1]["code"] == "gateway_not_linked"


async def test_without_a_policy_or_an_audit_log_nothing_is_given(endpoint: Endpoint) -> None:
    lease = endpoint.kit.token()
    endpoint.full = True
    status, body = await endpoint.ask(lease)
    assert (status, "access_token" in body) == (503, False)
    endpoint.full = False
    endpoint.policy = NOTHING
    status, body = await endpoint.ask(lease)
    assert (status, body["code"]) == (503, "calls_not_accepted")


async def test_after_a_rotation_of_keys_old_and_new_leases_are_good(endpoint: Endpoint) -> None:
    kit, old = endpoint.kit, endpoint.kit.token()
    assert (await endpoint.ask(old))[0] == 200
    kit.keys = kit.keys.rotate(endpoint.clock.now())
    kit.issuer.replace_keys(kit.keys)
    for lease in (old, kit.token()):
        assert (await endpoint.ask(lease))[0] == 200
    kit.keys = SigningKeys.generate(endpoint.clock.now())
    assert (await endpoint.ask(old))[1]["code"] == "lease_foreign"


@pytest.mark.parametrize(
    ("url", "peer", "told"),
    [
        (URL, THERE, True),
        (URL, HERE, True),
        ("http://127.0.0.1:4140", HERE, True),
        ("http://localhost:4140", "::1", True),
        ("http://127.0.0.1:4140", THERE, False),
        ("http://localhost:4140", THERE, False),
    ],
)
async def test_an_address_of_this_machine_means_nothing_elsewhere(
    endpoint: Endpoint, url: str, peer: str, *, told: bool
) -> None:
    assert endpoint.identity is not None
    endpoint.identity = replace(endpoint.identity, url=url)
    _, body = await endpoint.ask(endpoint.kit.token(), peer=peer)
    assert body["ingest_url"] == (url if told else "")


async def test_a_trace_token_is_no_lease(endpoint: Endpoint) -> None:
    _, body = await endpoint.ask(endpoint.kit.token())
    token = body["access_token"].encode()
    verifier = endpoint.kit.verifier()
    with pytest.raises(LeaseMalformed):
        verifier.verify(token)
    signed = token.removeprefix(TRACE_TOKEN_PREFIX.encode())
    with pytest.raises(LeaseMalformed):
        verifier.verify(b"kll_" + signed)
    # Also not one that the group's own keys have signed, with every claim of a lease.
    with pytest.raises(LeaseMalformed):
        verifier.verify(endpoint.kit.signed(endpoint.kit.claims(), typ="klt+jwt"))
    with pytest.raises(LeaseForeign):
        verifier.verify(endpoint.kit.signed(endpoint.kit.claims(aud=INGEST_AUDIENCE)))
    # Nor is it exchanged for anything again.
    for kind in (LEASE_TOKEN_TYPE, ISSUED_TOKEN_TYPE):
        assert (await endpoint.ask(token, subject_token_type=kind))[0] == 400


async def test_a_lease_is_exchanged_for_nothing_else(endpoint: Endpoint) -> None:
    lease = endpoint.kit.lease().token.encode()
    wanted = {"purpose": Purpose.DEVELOPMENT.value, "environment": "local"}
    for form, error in (
        ({"audience": "keylease-gateway"}, "invalid_request"),
        ({"audience": ""}, "invalid_request"),
        ({"audience": "", "subject_token_type": ISSUED_TOKEN_TYPE}, "invalid_request"),
        ({"resource": URL}, "invalid_target"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"requested_token_type": "urn:x"}, "invalid_request"),
        ({"requested_lifetime": "-1"}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ):
        status, body = await endpoint.ask(lease, **{**wanted, **form})
        assert (status, body["error"]) == (400, error), form
        assert "access_token" not in body
