"""The token endpoint, end to end: a real issuer, real keys, a real journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.lease_kit import LeaseKit, bundle, grant, rule
from tests.support.oidc_issuer import DISCOVERY, LocalIssuer, local_issuer
from tests.unit.strongroom.leases.test_sender_proof import EcSender, proof

from keylease.contracts.audit import AuditAction
from keylease.contracts.purposes import Purpose
from keylease.errors import LeaseExpired, StorageFull
from keylease.primitives.signatures import thumbprint
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.leases.exchange import LeaseAudit, TokenExchange
from keylease.strongroom.leases.exchange_form import MAXIMUM_FORM_BYTES
from keylease.strongroom.leases.issuers import IssuerDirectory
from keylease.strongroom.leases.refusal_limits import PEER, WRITTEN
from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.trust import SubjectVerifier

FORM = "application/x-www-form-urlencoded"
ENDPOINT = "https://gateway.test/oauth/token"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


class Endpoint:
    """A token endpoint with everything behind it."""

    def __init__(self, issuer: LocalIssuer, kit: LeaseKit, directory: Path) -> None:
        self.issuer = issuer
        self.kit = kit
        self.directory = IssuerDirectory([issuer.trusted()], clock=kit.clock)
        self.replay = ReplayCache(directory, clock=kit.clock)
        self.audited: list[LeaseAudit] = []
        self.audit_fails = False
        self.policy = bundle(
            grant(environments=("*",)), rules=(rule(issuer=issuer.url, subject_once=True),)
        )
        self.exchange = TokenExchange(
            subjects=SubjectVerifier(self.directory, clock=kit.clock),
            replay=self.replay,
            issuer=kit.issuer,
            proofs=SenderProof(kit.clock),
            policy=lambda: self.policy,
            audit=self._audit,
            endpoint_urls=("http://127.0.0.1:4141/oauth/token", ENDPOINT),
            clock=kit.clock,
        )

    async def _audit(self, entry: LeaseAudit) -> None:
        await asyncio.sleep(0)
        if self.audit_fails:
            raise StorageFull("The audit spool is full.")
        self.audited.append(entry)

    def form(self, **changes: object) -> dict[str, object]:
        base: dict[str, object] = {
            "grant_type": GRANT_TYPE,
            "subject_token": self.issuer.token().decode(),
            "subject_token_type": JWT,
            "purpose": "eval",
            "environment": "ci-1",
        }
        return {name: value for name, value in {**base, **changes}.items() if value is not ...}

    async def raw(self, form: bytes, content_type: str = FORM, dpop: str = "") -> HttpAnswer:
        return await self.exchange.exchange(
            form=form, content_type=content_type, dpop=dpop, peer="192.0.2.7"
        )

    async def post(self, dpop: str = "", **changes: object) -> HttpAnswer:
        return await self.raw(urlencode(self.form(**changes)).encode(), dpop=dpop)

    async def issued(self, dpop: str = "", **changes: object) -> dict[str, object]:
        answer = await self.post(dpop, **changes)
        body: dict[str, object] = json.loads(answer.body)
        assert answer.status == 200, body
        assert dict(answer.headers)["cache-control"] == "no-store"
        return body

    async def refused(self, error: str, dpop: str = "", **changes: object) -> str:
        return refusal(await self.post(dpop, **changes), error)


def refusal(answer: HttpAnswer, error: str, status: int = 400) -> str:
    body = json.loads(answer.body)
    assert (answer.status, body["error"]) == (status, error), body
    assert dict(answer.headers)["cache-control"] == "no-store"
    assert "access_token" not in body
    assert '"' not in body["error_description"]
    assert body["error_description"].isascii()
    return str(body["error_description"])


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    kit = LeaseKit()
    async with local_issuer(kit.clock) as issuer:
        made = Endpoint(issuer, kit, tmp_path)
        yield made
        await made.directory.close()
        made.replay.close()


async def test_a_subject_token_becomes_a_lease(endpoint: Endpoint) -> None:
    body = await endpoint.issued(requested_lifetime="120", models="gpt-5*")
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 120)
    assert body["scope"] == "purpose:eval environment:ci-1 model:gpt-5*"
    claims = endpoint.kit.verifier().verify(str(body["access_token"]).encode())
    assert (claims.sub, claims.via, claims.purpose) == ("workload:job", "rule-1", Purpose.EVAL)
    assert [e.action for e in endpoint.audited] == [AuditAction.LEASE_ISSUED]
    entry = endpoint.audited[0]
    assert (entry.principal, entry.object) == ("workload:job", claims.jti)
    assert entry.details["peer"] == "192.0.2.7"
    written = repr(endpoint.audited)
    assert str(body["access_token"]) not in written
    assert "eyJ" not in written


async def test_a_lease_never_outlives_its_subject_token(endpoint: Endpoint) -> None:
    kit = endpoint.kit
    token = endpoint.issuer.token(exp=endpoint.issuer.now + 90.9).decode()
    body = await endpoint.issued(subject_token=token, requested_lifetime="900")
    assert body["expires_in"] == 90
    assert "subject token" in str(body["lifetime_note"])
    kit.clock.advance(90)
    with pytest.raises(LeaseExpired):
        kit.verifier().verify(str(body["access_token"]).encode())


async def test_standard_clients_say_it_with_a_scope(endpoint: Endpoint) -> None:
    body = await endpoint.issued(
        purpose=..., environment=..., scope="purpose:eval environment:ci-1 model:gpt-5"
    )
    assert body["scope"] == "purpose:eval environment:ci-1 model:gpt-5"
    await endpoint.issued(
        scope="purpose:eval", audience="keylease-gateway", resource=ENDPOINT, **fresh(endpoint, "2")
    )


def fresh(endpoint: Endpoint, jti: str) -> dict[str, str]:
    return {"subject_token": endpoint.issuer.token(jti=jti).decode()}


async def test_a_subject_token_is_good_once_also_after_a_kill(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    await endpoint.issued()
    assert "used before" in await endpoint.refused("invalid_request")
    again = Endpoint(endpoint.issuer, endpoint.kit, tmp_path)
    assert "used before" in await again.refused("invalid_request")
    await again.issued(**fresh(endpoint, "2"))
    await again.directory.close()
    again.replay.close()


async def test_of_many_at_once_one_gets_a_lease(endpoint: Endpoint) -> None:
    answers = await asyncio.gather(*(endpoint.post() for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 9
    actions = [entry.action for entry in endpoint.audited]
    assert actions.count(AuditAction.LEASE_ISSUED) == 1
    assert actions.count(AuditAction.LEASE_REFUSED) == 9


async def test_a_mistake_in_the_wish_does_not_cost_the_subject_token(endpoint: Endpoint) -> None:
    await endpoint.refused("invalid_scope", purpose="production")
    await endpoint.refused("invalid_scope", models="claude-*")
    await endpoint.refused("invalid_scope", environment="production")
    await endpoint.issued()


async def test_presented_again_when_the_rule_says_so(endpoint: Endpoint) -> None:
    endpoint.policy = bundle(grant(environments=("*",)), rules=(rule(issuer=endpoint.issuer.url),))
    for _ in range(3):
        await endpoint.issued()


async def test_without_a_durable_audit_entry_no_lease_leaves(endpoint: Endpoint) -> None:
    endpoint.audit_fails = True
    answer = await endpoint.post()
    refusal(answer, "temporarily_unavailable", 503)
    assert b"kll_" not in answer.body
    assert dict(answer.headers)["retry-after"]
    # A refusal that cannot be written down is no proper refusal either.
    refusal(await endpoint.post(purpose="production"), "temporarily_unavailable", 503)


async def test_refusals_are_audited_with_a_stable_code(endpoint: Endpoint) -> None:
    await endpoint.refused("invalid_request", subject_token="x.y.z")
    assert endpoint.audited[0].action is AuditAction.LEASE_REFUSED
    assert endpoint.audited[0].reason == "token_exchange_refused"
    await endpoint.refused("invalid_scope", models="claude-*")
    assert endpoint.audited[1].reason == "model_not_allowed"


async def test_nobody_fills_the_audit_with_refusals(endpoint: Endpoint) -> None:
    answers = [await endpoint.raw(b"nonsense") for _ in range(500)]
    assert {answer.status for answer in answers} == {400, 429}
    assert len(endpoint.audited) == PEER.at_once
    refusal(answers[-1], "temporarily_unavailable", 429)
    assert dict(answers[-1].headers)["retry-after"] == "2"
    # Other addresses are heard, and what they are refused is counted in the end.
    for number in range(100):
        await endpoint.exchange.exchange(
            form=b"nonsense", content_type=FORM, dpop="", peer=f"198.51.100.{number}"
        )
    await endpoint.exchange.write_counted(at_once=True)
    *single, counted = endpoint.audited
    assert len(single) == WRITTEN.at_once
    details = [e.details for e in endpoint.audited if "limited" in e.details]
    assert sum(int(d["refused"]) for d in details) + WRITTEN.at_once == PEER.at_once + 100
    assert sum(int(d["limited"]) for d in details) == 500 - PEER.at_once
    assert counted.action is AuditAction.LEASE_REFUSALS_COUNTED
    # A good token gets its lease meanwhile, and again from the address once it has waited.
    endpoint.kit.clock.advance(2)
    await endpoint.issued()


async def test_refusals_that_could_not_be_counted_are_counted_later(endpoint: Endpoint) -> None:
    for _ in range(PEER.at_once + 5):
        await endpoint.raw(b"nonsense")
    endpoint.audit_fails = True
    with pytest.raises(StorageFull):
        await endpoint.exchange.write_counted(at_once=True)
    endpoint.audit_fails = False
    await endpoint.exchange.write_counted(at_once=True)
    assert sum(int(e.details.get("limited", 0)) for e in endpoint.audited) == 5


async def test_an_issuer_that_is_down_is_no_refusal(endpoint: Endpoint) -> None:
    endpoint.issuer.server.answers.pop(DISCOVERY)
    refusal(await endpoint.post(), "temporarily_unavailable", 503)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": ...}, "invalid_request"),
        ({"subject_token": ...}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token": "é"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"subject_token_type": ...}, "invalid_request"),
        ({"requested_token_type": "urn:x"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"audience": "other"}, "invalid_target"),
        ({"resource": "https://api.openai.com"}, "invalid_target"),
        ({"purpose": ...}, "invalid_request"),
        ({"purpose": "everything"}, "invalid_scope"),
        ({"environment": ...}, "invalid_request"),
        ({"environment": "*"}, "invalid_request"),
        ({"models": "a\0b"}, "invalid_request"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "purpose:eval purpose:eval"}, "invalid_scope"),
        ({"scope": "purpose:production"}, "invalid_scope"),
        ({"scope": "model:gpt-4", "models": "gpt-5"}, "invalid_scope"),
        ({"requested_lifetime": "0"}, "invalid_request"),
        ({"requested_lifetime": "-5"}, "invalid_request"),
        ({"requested_lifetime": "1e3"}, "invalid_request"),
        ({"requested_lifetime": "9" * 40}, "invalid_request"),
    ],
    ids=range(24),
)
async def test_every_mistake_has_its_error_code(
    endpoint: Endpoint, changes: dict[str, Any], error: str
) -> None:
    assert await endpoint.refused(error, **changes)


async def test_malformed_forms_are_refused(endpoint: Endpoint) -> None:
    good = urlencode(endpoint.form()).encode()
    for form, content_type in (
        (good, "application/json"),
        (good, ""),
        (good, "application/x-www-form-urlencoded; charset=utf-16"),
        (b"", FORM),
        (b"\xff", FORM),
        (b"%ff=%fe", FORM),
        (b"nonsense", FORM),
        (good + b"&" + b"a" * MAXIMUM_FORM_BYTES + b"=b", FORM),
        (good + b"".join(b"&p%d=1" % n for n in range(100)), FORM),
        (good + b"&purpose=eval", FORM),
        (good + b"&subject_token=x", FORM),
        (good + b"&unknown=1&unknown=2", FORM),
    ):
        refusal(await endpoint.raw(form, content_type), "invalid_request")
    answer = await endpoint.raw(
        good + b"&unknown=1", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"
    )
    assert answer.status == 200


async def test_a_lease_is_bound_to_the_sender_that_proves_a_key(endpoint: Endpoint) -> None:
    sender = EcSender()
    made = proof(sender, htu=ENDPOINT, without=("ath",))
    body = await endpoint.issued(made)
    assert body["token_type"] == "DPoP"
    claims = endpoint.kit.verifier().verify(str(body["access_token"]).encode())
    assert claims.cnf is not None
    assert claims.cnf.jkt == thumbprint(sender.jwk)
    await endpoint.refused("invalid_dpop_proof", made, **fresh(endpoint, "2"))
    elsewhere = proof(sender, htu="https://evil.test/oauth/token", jti="p2")
    await endpoint.refused("invalid_dpop_proof", elsewhere, **fresh(endpoint, "2"))
    await endpoint.refused("invalid_dpop_proof", "garbage", **fresh(endpoint, "2"))


async def test_the_first_rule_that_allows_the_wish_decides(endpoint: Endpoint) -> None:
    url = endpoint.issuer.url
    endpoint.policy = bundle(
        grant(environments=("*",)),
        rules=(
            rule(issuer=url, id="narrow", models=("gpt-4",)),
            rule(issuer=url, id="wide", principal="workload:other"),
            rule(issuer=url, id="elsewhere", claims={"sub": "somebody"}, models=("*",)),
        ),
    )
    for model, via in (("gpt-4", "narrow"), ("gpt-5", "wide")):
        body = await endpoint.issued(models=model)
        claims = endpoint.kit.verifier().verify(str(body["access_token"]).encode())
        assert claims.via == via
    assert "narrow" not in await endpoint.refused("invalid_scope", models="claude-x")


async def test_descriptions_hold_no_foreign_text_that_breaks_them(endpoint: Endpoint) -> None:
    await endpoint.refused("invalid_scope", models='cla"u\\de')
