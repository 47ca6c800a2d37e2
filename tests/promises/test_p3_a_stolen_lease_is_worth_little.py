"""P3: a stolen lease is worth little: short, narrow, bound, and revoked within one second.

On a real gateway with two workers, over connections that stay open on both of them.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.issuer_thread import IssuerThread, exchange
from tests.support.kept_connections import (
    KeptConnection,
    Said,
    kept_connections,
)
from tests.support.lease_kit import LeaseKit
from tests.support.leased_gateway import (
    ALL_GOOD,
    MODEL,
    claims_of,
    connections,
    environment,
    gateway,
    gateway_toml,
    issuer,
    policy_toml,
    port_of,
    simulator,
)
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import RunningSimulator
from tests.unit.strongroom.leases.test_sender_proof import EcSender, EdSender, proof

from keylease.contracts.leases import DEFAULT_LIFETIME
from keylease.errors import AccessDenied, LeaseExpired, LeaseForeign, LeaseRefused
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.leases.sender_proof import access_token_hash

__all__ = ["connections", "gateway", "issuer", "simulator"]


# --- time --------------------------------------------------------------------------------------


def test_a_lease_lives_fifteen_minutes_at_most_unless_gateway_toml_says_more(
    gateway: RunningGateway, issuer: IssuerThread
) -> None:
    """Grant and trust rule allow a day here, and it is asked for."""
    assert DEFAULT_LIFETIME <= 15 * 60
    for wish in ({}, {"lifetime": 86_400}, {"lifetime": 901}):
        claims = claims_of(gateway.lease(**wish))
        assert claims["exp"] - claims["iat"] <= 15 * 60
    for form in ({}, {"requested_lifetime": "86400"}):
        answer = exchange(gateway.url, issuer.token(lives=7200), **form)
        assert answer.status_code == 200, answer.text
        assert answer.json()["expires_in"] <= 15 * 60
        claims = claims_of(answer.json()["access_token"])
        assert claims["exp"] - claims["iat"] <= 15 * 60


def test_a_verifier_refuses_a_longer_lease_that_its_own_key_signed() -> None:
    kit = LeaseKit()
    claims = kit.claims()
    longer = kit.claims(exp=claims.iat + 901)
    verifier = kit.verifier(maximum_lifetime=900)
    verifier.verify(kit.signed(claims))
    with pytest.raises(LeaseForeign):
        verifier.verify(kit.signed(longer))


def test_a_lease_expires_on_connections_that_stay_open(
    gateway: RunningGateway, connections: list[KeptConnection]
) -> None:
    lease = gateway.lease(lifetime=2)
    assert {connection.models(lease) for connection in connections} == {ALL_GOOD}
    time.sleep(max(0.0, claims_of(lease)["exp"] - time.time()) + 0.01)
    answers = {connection.models(lease) for connection in connections}
    answers |= {connection.chat(lease) for connection in connections}
    assert answers == {Said(401, "lease_expired")}


def test_a_lease_never_outlives_its_subject_token(
    gateway: RunningGateway, issuer: IssuerThread, connections: list[KeptConnection]
) -> None:
    token = issuer.token(lives=3)
    ends = claims_of(token)["exp"]
    answer = exchange(gateway.url, token, requested_lifetime="900")
    lease = answer.json()["access_token"]
    assert claims_of(lease)["exp"] <= ends
    assert {connection.models(lease) for connection in connections} == {ALL_GOOD}
    time.sleep(max(0.0, ends - time.time()) + 0.01)
    assert {connection.models(lease) for connection in connections} == {Said(401, "lease_expired")}


def test_a_clock_that_is_set_back_revives_nothing() -> None:
    kit = LeaseKit()
    verifier = kit.verifier()
    token = kit.token(lifetime=60)
    verifier.verify(token)
    kit.clock.advance(61)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)
    kit.clock.set_back(3600)
    with pytest.raises(LeaseExpired):
        verifier.verify(token)


# --- scope -------------------------------------------------------------------------------------


def test_a_lease_is_good_for_its_models_purpose_and_environment_only(
    gateway: RunningGateway, connections: list[KeptConnection], simulator: RunningSimulator
) -> None:
    narrow = gateway.lease(models=["gpt-second"])
    evals = gateway.lease(purpose="eval")
    elsewhere = gateway.lease(environment="staging")
    before = len(simulator.requests)
    for connection in connections:
        assert connection.chat(narrow, MODEL) == Said(403, "model_not_allowed")
        assert connection.chat(narrow, "claude-sonnet-4-5") == Said(403, "model_not_allowed")
        assert connection.chat(evals, MODEL) == Said(403, "purpose_not_allowed")
        assert connection.chat(elsewhere, MODEL) == Said(403, "access_denied")
    assert len(simulator.requests) == before
    assert connections[0].chat(narrow, "gpt-second") == ALL_GOOD
    assert connections[0].chat(evals, "gpt-evals") == ALL_GOOD


def test_nobody_gets_a_wider_lease_than_a_grant(gateway: RunningGateway) -> None:
    for wish in (
        {"models": ["claude-*"]},
        {"models": ["*"]},
        {"purpose": "production"},
        {"principal": "service_account:other"},
    ):
        with pytest.raises(AccessDenied):
            gateway.lease(**wish)


def test_a_lease_of_another_gateway_or_group_opens_nothing(
    gateway: RunningGateway, issuer: IssuerThread, simulator: RunningSimulator, tmp_path: Path
) -> None:
    """Another gateway has another organization and another signing key."""
    with (
        running_gateway(
            tmp_path,
            gateway_toml=gateway_toml(simulator, issuer.url, group="other"),
            policy_toml=policy_toml(simulator, issuer.url),
            environment=environment(simulator),
        ) as other,
        kept_connections(port_of(other), 1) as [there],
        kept_connections(port_of(gateway), 1) as [here],
    ):
        assert there.models(gateway.lease()) == Said(401, "lease_foreign")
        assert here.models(other.lease()) == Said(401, "lease_foreign")


@pytest.mark.parametrize(
    "changes", [{"iss": "other"}, {"aud": "keylease-ingest"}], ids=["group", "audience"]
)
def test_the_same_key_does_not_make_it_ours(changes: dict[str, str]) -> None:
    kit = LeaseKit()
    with pytest.raises(LeaseForeign):
        kit.verifier().verify(kit.signed(kit.claims(**changes)))


def test_a_grant_is_shared_by_all_who_hold_its_leases(
    gateway: RunningGateway, connections: list[KeptConnection]
) -> None:
    """Five requests a minute are five, however many leases and connections and workers."""
    leases = [gateway.lease(principal="service_account:few") for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(KeptConnection.chat, connections, leases))
        answers += list(threads.map(KeptConnection.chat, reversed(connections), leases))
    assert 1 <= answers.count(ALL_GOOD) <= 5
    assert set(answers) == {ALL_GOOD, Said(429, "limit_reached")}


# --- tampering ---------------------------------------------------------------------------------


def test_a_lease_that_was_changed_anywhere_opens_nothing(
    gateway: RunningGateway, connections: list[KeptConnection]
) -> None:
    lease = gateway.lease()
    connection = connections[0]
    assert connection.models(lease) == ALL_GOOD
    refused: set[Said] = set()
    # The last character has bits that are no part of the signature; see the canonical form below.
    for position in range(4, len(lease), 7):
        other = "A" if lease[position] != "A" else "B"
        refused.add(connection.models(lease[:position] + other + lease[position + 1 :]))
    head, payload, signature = lease.removeprefix("kll_").split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"kll+jwt"}').decode().rstrip("=")
    claims = claims_of(lease) | {"models": ["*"], "exp": claims_of(lease)["exp"] + 60}
    wider = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    unused_bit = alphabet[alphabet.index(signature[-1]) ^ 1]
    for changed in (
        f"kll_{none}.{payload}.",
        f"kll_{none}.{payload}.{signature}",
        f"kll_{head}.{wider}.{signature}",
        f"kll_{head}.{payload}.{signature[:-1]}{unused_bit}",
        f"kll_{head}.{payload}.{signature}=",
        f"kll_{head}.{payload}",
        f"kll_{head}.{payload}.{signature}.{signature}",
        lease.removeprefix("kll_"),
        f"kll_{lease}",
        lease.upper(),
        "kll_",
    ):
        refused.add(connection.models(changed))
    assert {said.status for said in refused} == {401}
    assert {said.code for said in refused} <= {"lease_malformed", "lease_foreign", "lease_missing"}


# --- bound to a sender -------------------------------------------------------------------------


class Bound:
    """A lease that is bound to a key."""

    def __init__(self, gateway: RunningGateway, issuer: IssuerThread) -> None:
        self.url = gateway.url
        self.sender = EdSender()
        answer = httpx.post(
            f"{gateway.url}/oauth/token",
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": issuer.token(),
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "purpose": "development",
                "environment": "local",
            },
            headers={"dpop": self.proof(path="/oauth/token", method="POST", lease="")},
            trust_env=False,
        )
        assert answer.json().get("token_type") == "DPoP", answer.text
        self.lease = str(answer.json()["access_token"])

    def proof(
        self,
        *,
        path: str = "/v1/models",
        method: str = "GET",
        lease: str | None = None,
        sender: EdSender | EcSender | None = None,
        **claims: object,
    ) -> str:
        token = self.lease if lease is None else lease
        usual: dict[str, Any] = {
            "htm": method,
            "htu": self.url + path,
            "jti": secrets.token_hex(8),
            "iat": int(time.time()),
            "ath": access_token_hash(token.encode()),
        }
        return proof(sender or self.sender, **(usual | claims))


def test_a_bound_lease_without_its_key_opens_nothing(
    gateway: RunningGateway, issuer: IssuerThread, connections: list[KeptConnection]
) -> None:
    bound = Bound(gateway, issuer)
    for connection in connections:
        assert connection.models(bound.lease) == Said(401, "sender_not_proven")
        assert connection.models(bound.lease, DPoP=bound.proof()) == ALL_GOOD
    other = Bound(gateway, issuer)
    for wrong in (
        bound.proof(sender=EdSender()),
        bound.proof(sender=EcSender()),
        bound.proof(method="POST"),
        bound.proof(path="/v1/chat/completions"),
        bound.proof(lease=other.lease),
        bound.proof(iat=int(time.time()) - 300),
        bound.proof(iat=int(time.time()) + 300),
        bound.proof(htu="https://gateway.example/v1/models"),
        bound.proof()[:-2],
        "",
    ):
        assert connections[0].models(bound.lease, DPoP=wrong) == Said(401, "sender_not_proven")


def test_an_overheard_proof_cannot_be_sent_again(
    gateway: RunningGateway, issuer: IssuerThread, connections: list[KeptConnection]
) -> None:
    """Each worker remembers what it saw: with two of them it works once more at most."""
    bound = Bound(gateway, issuer)
    overheard = bound.proof()
    answers = [
        connection.models(bound.lease, DPoP=overheard) for connection in connections for _ in "12"
    ]
    assert 1 <= answers.count(ALL_GOOD) <= len(gateway.workers)
    assert set(answers) == {ALL_GOOD, Said(401, "sender_not_proven")}


# --- elsewhere ---------------------------------------------------------------------------------


def test_a_lease_is_no_key_and_opens_no_other_door(
    gateway: RunningGateway, simulator: RunningSimulator
) -> None:
    lease = gateway.lease()
    body = {"model": MODEL, "messages": []}
    at_the_provider = httpx.post(
        f"{simulator.openai_url}/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {lease}"},
        trust_env=False,
    )
    assert at_the_provider.status_code == 401
    as_a_subject = exchange(gateway.url, lease)
    assert as_a_subject.status_code == 400
    assert "access_token" not in as_a_subject.json()
    in_the_url = httpx.get(f"{gateway.url}/v1/models?key={lease}", trust_env=False)
    assert in_the_url.status_code == 401


def test_a_subject_token_is_good_for_one_lease(
    gateway: RunningGateway, issuer: IssuerThread
) -> None:
    token = issuer.token()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: exchange(gateway.url, token), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7
    with kept_connections(port_of(gateway), 1) as [connection]:
        assert connection.models(token).status == 401


def test_lease_ids_cannot_be_guessed() -> None:
    """A lease id is named in revocations; the token is more than its id."""
    kit = LeaseKit()
    with pytest.raises(LeaseRefused):
        kit.verifier().verify(f"kll_{uuid7(kit.clock)}".encode())
