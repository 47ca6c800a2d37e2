"""Programs at a gateway with a platform: API keys, static keys, identity tokens; other versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.support.fake_platform import FakePlatform, PlatformRequest, fake_platform
from tests.support.hostile_upstream import hostile_upstream
from tests.support.issuer_thread import exchange, issuer_thread
from tests.support.linked_gateway import LinkedPlace, call, new_id, wait_for

from keylease.contracts import platform_link as wire
from keylease.contracts.api_keys import ApiKeyKind, mint, parse
from keylease.contracts.policy import ApiKeyUse, Revocation, RevocationKind, TrustRule
from keylease.contracts.purposes import Purpose
from keylease.strongroom.leases.exchange_form import API_KEY_TYPE

STATIC = """
[static_keys]
purpose = "eval"
environment = "local"
"""


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with fake_platform() as server:
        yield server


def key_use(text: str, **parts: Any) -> ApiKeyUse:  # noqa: ANN401 - parts of an entry
    base: dict[str, Any] = {
        "id": new_id(),
        "digest": parse(text).digest,
        "principal": "service_account:ci",
        "purposes": (Purpose.EVAL,),
    }
    return ApiKeyUse(**{**base, **parts})


def test_an_api_key_becomes_a_lease_or_stands_for_one(
    tmp_path: Path, platform: FakePlatform
) -> None:
    with hostile_upstream() as upstream:
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url, more=STATIC)
        assert place.enroll(platform.code()).returncode == 0
        text, ingest, unknown = mint(ApiKeyKind.API), mint(ApiKeyKind.INGEST), mint(ApiKeyKind.API)
        use = key_use(text)
        policy = place.policy()
        [one] = policy["credentials"]
        policy["credentials"] = (msgspec.structs.replace(one, purposes=(Purpose.EVAL,)),)
        bundle = platform.bundle(**policy, api_keys=(use, key_use(ingest)))
        platform.publish(bundle)
        with place.running() as gateway:
            wait_for(lambda: platform.in_force(1))
            # 1. Exchanged by the program itself.
            answer = exchange(gateway.url, text, subject_token_type=API_KEY_TYPE, purpose="eval")
            assert answer.status_code == 200, answer.text
            lease = answer.json()["access_token"]
            assert call(gateway, lease) == (200, "")
            refused = exchange(gateway.url, text, subject_token_type=API_KEY_TYPE)
            assert refused.status_code == 400, "development is not among its purposes"
            # 2. Sent where a lease belongs: several calls, one exchange.
            for _ in range(3):
                assert call(gateway, text) == (200, "")
            big = {"model": "any", "messages": [{"role": "user", "content": "x" * 300_000}]}
            assert (
                httpx.post(
                    f"{gateway.url}/v1/chat/completions",
                    json=big,
                    headers={"authorization": f"Bearer {text}"},
                    trust_env=False,
                    timeout=30,
                ).status_code
                == 200
            )
            for other in (ingest, unknown, "kl_nothing"):
                status, code = call(gateway, other)
                assert (status, code) in {(401, "lease_refused"), (401, "lease_malformed")}
            wait_for(lambda: len(platform.call_records) >= 5)
            assert {record.principal for record in platform.call_records} == {"service_account:ci"}
            assert {record.purpose for record in platform.call_records} == {"eval"}
            issued = [e for e in platform.audit_entries if e.action == "lease.issued"]
            assert len(issued) == 2
            # 3. Revoked with all its leases, then taken out.
            revocation = Revocation(
                kind=RevocationKind.ADMISSION, value=use.id, at=platform.clock.now()
            )
            platform.publish(
                msgspec.structs.replace(bundle, version=2, api_keys=(), revocations=(revocation,))
            )
            wait_for(lambda: platform.in_force(2))
            assert call(gateway, lease) == (401, "lease_revoked")
            assert call(gateway, text) == (401, "lease_refused")
        sent = b"".join(platform.audit_pushes[0].entries)
        assert text.encode() not in sent
        assert text not in gateway.stderr()


def test_without_the_table_a_key_is_no_lease(tmp_path: Path, platform: FakePlatform) -> None:
    with hostile_upstream() as upstream:
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        assert place.enroll(platform.code()).returncode == 0
        text = mint(ApiKeyKind.API)
        platform.publish(platform.bundle(**place.policy(), api_keys=(key_use(text),)))
        with place.running() as gateway:
            wait_for(lambda: platform.in_force(1))
            assert call(gateway, text) == (401, "lease_malformed")
        assert upstream.received == []


def test_identity_tokens_of_a_sign_in_on_this_machine(
    tmp_path: Path, platform: FakePlatform
) -> None:
    """EdDSA by JWKS over loopback http: only because gateway.toml lists that issuer."""
    with hostile_upstream() as upstream, issuer_thread() as issuer, issuer_thread() as unlisted:
        trusted = f'[[trusted_issuer]]\nissuer = "{issuer.url}"\nallow_private_address = true\n'
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url, more=trusted)
        assert place.enroll(platform.code()).returncode == 0
        for one in (issuer, unlisted):
            one._issuer.add_key("ed", "EdDSA")
        rules = tuple(
            TrustRule(
                id=new_id(),
                name=f"sign-in-{number}",
                issuer=url,
                audience="keylease-gateway",
                claims={"organization": "acme"},
                principal="user:{sub}",
                purposes=(Purpose.DEVELOPMENT,),
                environments=("*",),
                models=("*",),
                subject_once=True,
            )
            for number, url in enumerate((issuer.url, unlisted.url))
        )
        platform.publish(platform.bundle(**place.policy(), trust_rules=rules))
        with place.running() as gateway:
            wait_for(lambda: platform.in_force(1))

            def token(of: Any) -> str:  # noqa: ANN401 - an issuer
                return str(
                    of.token(
                        alg="EdDSA",
                        kid="ed",
                        sub="ada",
                        aud="keylease-gateway",
                        organization="acme",
                    )
                )

            first = token(issuer)
            answer = exchange(gateway.url, first)
            assert answer.status_code == 200, answer.text
            assert call(gateway, answer.json()["access_token"]) == (200, "")
            assert exchange(gateway.url, first).status_code == 400, "once only"
            assert exchange(gateway.url, token(unlisted)).status_code == 400
            assert unlisted.jwks_requests == 0
        [objection] = platform.polls[-1].objections
        assert (objection.object_id, objection.code) == (rules[1].id, "issuer_not_trusted")


def test_a_platform_one_version_ahead(tmp_path: Path, platform: FakePlatform) -> None:
    """It says more than this gateway knows, in every answer; all that matters is understood."""
    plain = PlatformRequest.send

    def of_tomorrow(request: PlatformRequest, answer: Any, *, status: int = 200) -> None:  # noqa: ANN401 - JSON
        document = msgspec.json.decode(msgspec.json.encode(answer))
        document |= {"link": wire.LINK_VERSION + 1, "of_tomorrow": [{"a": 1}]}
        plain(request, document, status=status)

    def newer(request: PlatformRequest) -> None:
        request.send = lambda answer, status=200: of_tomorrow(request, answer, status=status)  # type: ignore[method-assign,misc]  # says more
        platform.honest(request)

    with hostile_upstream() as upstream:
        for path in (wire.ENROLMENTS, wire.POLL, wire.CALL_RECORDS, wire.AUDIT_ENTRIES):
            platform.answers[path] = newer
        place = LinkedPlace(tmp_path / "place", platform.url, upstream.url)
        assert place.enroll(platform.code()).returncode == 0
        platform.publish(platform.bundle(**place.policy()))
        with place.running() as gateway:
            wait_for(lambda: platform.in_force(1))
            assert call(gateway, gateway.lease()) == (200, "")
            wait_for(lambda: platform.call_records)
            wait_for(lambda: platform.audit_entries)
        assert platform.faults == []
