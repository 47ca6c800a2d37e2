"""Subject tokens against a real issuer on loopback, well-behaved and not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator

import pytest
from joserfc.jwk import RSAKey
from tests.support.lease_kit import rule
from tests.support.manual_clock import ManualClock
from tests.support.oidc_issuer import DISCOVERY, JWKS, LocalIssuer, local_issuer
from tests.support.plain_server import http, plain_server

from keylease.contracts.policy import TrustRule
from keylease.errors import GatewayFileInvalid, IssuerUnavailable, TokenExchangeRefused
from keylease.primitives import openid_issuer as issuers
from keylease.primitives.signatures import encode_base64url
from keylease.strongroom.configuration import TrustedIssuer
from keylease.strongroom.leases.issuers import IssuerDirectory
from keylease.strongroom.leases.trust import AdmittedSubject, SubjectVerifier

_open: list[IssuerDirectory] = []


@pytest.fixture(autouse=True)
async def closed_afterwards() -> AsyncIterator[None]:
    yield
    while _open:
        await _open.pop().close()


class Gateway:
    """The verifying side; closed when the test ends."""

    def __init__(self, issuer: LocalIssuer, *trusted: TrustedIssuer) -> None:
        self.directory = IssuerDirectory(trusted or (issuer.trusted(),), clock=issuer.clock)
        _open.append(self.directory)
        self.verifier = SubjectVerifier(self.directory, clock=issuer.clock)
        self.rules: tuple[TrustRule, ...] = (rule(issuer=issuer.url),)

    async def admits(self, token: bytes) -> AdmittedSubject:
        return (await self.verifier.verify(token, self.rules))[0]

    async def refuses(self, token: bytes, match: str = ".") -> None:
        with pytest.raises(TokenExchangeRefused, match=match) as caught:
            await self.verifier.verify(token, self.rules)
        assert not isinstance(caught.value, IssuerUnavailable)
        assert caught.value.oauth_error == "invalid_request"

    async def cannot_tell(self, token: bytes, match: str = ".") -> None:
        with pytest.raises(IssuerUnavailable, match=match):
            await self.verifier.verify(token, self.rules)


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"],
)
async def test_every_listed_algorithm_is_accepted(algorithm: str) -> None:
    async with local_issuer(ManualClock()) as issuer:
        issuer.add_key("k2", algorithm)
        gateway = Gateway(issuer)
        subject = await gateway.admits(issuer.token(kid="k2", alg=algorithm))
        assert subject.principal == "workload:job"
        assert (subject.jti, subject.expires_at) == ("token-1", issuer.now + 300)


async def test_algorithm_confusion_is_refused() -> None:
    async with local_issuer(ManualClock()) as issuer:
        issuer.add_key("rsa", "RS256")
        gateway = Gateway(issuer)
        public = json.dumps(issuer.keys["rsa"].as_dict(private=False)).encode()
        rsa = issuer.keys["rsa"]
        assert isinstance(rsa, RSAKey)
        pem = rsa.as_pem(private=False)
        for alg in ("none", "None", "HS256", "HS512", "ES256", "RS256", "A128KW", ""):
            head = encode_base64url(json.dumps({"alg": alg, "kid": "rsa"}).encode())
            signed = head + b"." + encode_base64url(json.dumps(issuer.claims()).encode())
            for key in (b"", public, pem):
                mac = hmac.digest(key, signed, hashlib.sha256) if key else b""
                await gateway.refuses(signed + b"." + encode_base64url(mac))
        # A key is used only for the algorithms it was made for.
        await gateway.refuses(issuer.token(header={"kid": "rsa"}))


async def test_every_changed_byte_is_noticed() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        token = issuer.token()
        await gateway.admits(token)
        for position in range(len(token)):
            tampered = bytearray(token)
            tampered[position] ^= 0x01
            await gateway.refuses(bytes(tampered))


@pytest.mark.parametrize(
    "kid",
    ["", "../../../etc/passwd", "k1\0", "K1", "http://127.0.0.1/keys", "' or 1=1", "k" * 4000],
    ids=range(7),
)
async def test_a_key_id_is_only_compared(kid: str) -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.refuses(issuer.token(header={"kid": kid}))
        assert set(issuer.server.requests) <= {DISCOVERY, JWKS}


@pytest.mark.parametrize(
    "header",
    [
        {"kid": 5},
        {"crit": ["exp"]},
        {"b64": False},
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "kll+jwt"},
        {"typ": 1},
        {"alg": ["ES256"]},
    ],
    ids=str,
)
async def test_headers_that_mean_something_else_are_refused(header: dict[str, object]) -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.refuses(issuer.token(header=header))
        assert not issuer.server.requests


async def test_a_key_named_in_the_header_is_not_fetched_or_used() -> None:
    async with local_issuer(ManualClock()) as issuer, local_issuer(ManualClock()) as evil:
        gateway = Gateway(issuer)
        jwk = evil.keys["k1"].as_dict(private=False)
        for header in ({"jku": evil.url + JWKS}, {"jwk": jwk}, {"x5u": evil.url}):
            await gateway.refuses(evil.token(iss=issuer.url, header=dict(header)))
        assert not evil.server.requests


@pytest.mark.parametrize("token", [b"", b"a.b", b"....", b"e30.e30.", b"\xff\xfe.a.b"], ids=repr)
async def test_what_is_no_token_is_refused(token: bytes) -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.refuses(token, "well-formed")


async def test_an_oversized_token_is_refused_before_anything_is_asked() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.refuses(issuer.token(filler="x" * 20_000), "well-formed")
        assert not issuer.server.requests


async def test_clock_skew_both_ways() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        now = issuer.now
        for good in ({"iat": now + 60}, {"nbf": now + 60}, {"iat": ...}, {"exp": now + 0.5}):
            await gateway.admits(issuer.token(**good))
        for bad, reason in (
            ({"iat": now + 61}, "iat"),
            ({"nbf": now + 61}, "nbf"),
            ({"exp": now}, "expired"),
            ({"exp": now - 1}, "expired"),
            ({"exp": ...}, "no expiry"),
            ({"exp": str(now + 300)}, "not a time"),
            ({"exp": True}, "not a time"),
            ({"exp": None}, "not a time"),
            ({"exp": 1e300}, "not a time"),
            ({"exp": -1}, "not a time"),
            ({"iat": "now"}, "not a time"),
            ({"jti": 5}, "jti"),
        ):
            await gateway.refuses(issuer.token(**bad), reason)


async def test_an_issuer_has_to_be_named_by_the_file_and_by_a_rule() -> None:
    async with local_issuer(ManualClock()) as issuer, local_issuer(ManualClock()) as other:
        gateway = Gateway(issuer)
        await gateway.refuses(other.token(), "No usable trust rule")
        gateway.rules = (rule(issuer=other.url),)
        await gateway.refuses(other.token(), "not trusted")
        await gateway.refuses(issuer.token(), "No usable trust rule")
        assert not other.server.requests


async def test_a_rule_that_the_policy_check_refuses_admits_nobody() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        gateway.rules = (rule(issuer=issuer.url, claims={}),)
        await gateway.refuses(issuer.token(), "No usable trust rule")


async def test_a_token_for_another_audience_or_subject_is_refused() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        for claims in ({"aud": "other"}, {"aud": ...}, {"sub": "other"}, {"sub": ...}):
            await gateway.refuses(issuer.token(**claims), "No trust rule admits")


async def test_a_rule_for_single_use_needs_an_identifier() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.admits(issuer.token(jti=...))
        gateway.rules = (rule(issuer=issuer.url, subject_once=True),)
        await gateway.refuses(issuer.token(jti=...), "jti")
        await gateway.refuses(issuer.token(jti=""), "jti")


async def test_rotated_keys_are_found_and_withdrawn_ones_are_not_used_any_more() -> None:
    clock = ManualClock()
    async with local_issuer(clock) as issuer:
        gateway = Gateway(issuer)
        old = issuer.token(exp=issuer.now + 9999)
        await gateway.admits(old)
        clock.advance(issuers.UNKNOWN_KEY_PAUSE)
        issuer.add_key("k2", "ES256")
        await gateway.admits(issuer.token(kid="k2"))
        assert issuer.server.requests[JWKS] == 2
        del issuer.keys["k1"]
        issuer.publish()
        await gateway.admits(old)
        clock.advance(issuers.FRESH + 1)
        await gateway.refuses(old)


async def test_unknown_key_ids_do_not_make_us_hammer_the_issuer() -> None:
    clock = ManualClock()
    async with local_issuer(clock) as issuer:
        gateway = Gateway(issuer)
        for number in range(50):
            await gateway.refuses(issuer.token(header={"kid": f"made-up-{number}"}))
        assert issuer.server.requests[JWKS] == 1
        clock.advance(issuers.UNKNOWN_KEY_PAUSE)
        for number in range(50):
            await gateway.refuses(issuer.token(header={"kid": f"made-up-{number}"}))
        assert issuer.server.requests[JWKS] == 2
        await gateway.admits(issuer.token())


async def test_many_exchanges_at_once_ask_once() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await asyncio.gather(*(gateway.admits(issuer.token()) for _ in range(50)))
        assert issuer.server.requests == {DISCOVERY: 1, JWKS: 1}


async def test_an_issuer_that_is_down_serves_from_known_keys_for_a_bounded_time() -> None:
    clock = ManualClock()
    async with local_issuer(clock) as issuer:
        gateway = Gateway(issuer)
        await gateway.admits(issuer.token())
        issuer.server.answers[DISCOVERY] = http(b"", status="500 Internal Server Error")
        clock.advance(issuers.FRESH + 1)
        await gateway.admits(issuer.token())
        clock.advance(issuers.USABLE - issuers.FRESH)
        await gateway.cannot_tell(issuer.token())
        issuer.publish()
        clock.advance(issuers.FAILURE_PAUSE)
        await gateway.admits(issuer.token())


async def test_a_failing_issuer_is_left_alone_for_a_moment() -> None:
    clock = ManualClock()
    async with local_issuer(clock) as issuer:
        gateway = Gateway(issuer)
        issuer.server.answers.clear()
        for _ in range(20):
            await gateway.cannot_tell(issuer.token())
        assert issuer.server.requests == {DISCOVERY: 1}


GARBAGE = {
    "html": http(b"<html>sign in</html>", headers="Content-Type: text/html\r\n"),
    "list": http(b"[]"),
    "empty": http(b""),
    "duplicate": http(b'{"issuer":"a","issuer":"b"}'),
    "no keys": http({"issuer": "x", "jwks_uri": "y"}),
    "large": http(b'{"a":"' + b"x" * issuers.MAXIMUM_BYTES + b'"}'),
    "compressed": http(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n"),
    "not http": b"hello\r\n\r\n",
    "status": http(b"{}", status="201 Created"),
    "deep": http(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
async def test_garbage_from_an_issuer_admits_nobody(path: str, garbage: bytes) -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        issuer.server.answers[path] = garbage
        await gateway.cannot_tell(issuer.token())


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
async def test_redirects_are_not_followed(path: str) -> None:
    async with local_issuer(ManualClock()) as issuer, local_issuer(ManualClock()) as evil:
        gateway = Gateway(issuer)
        to = evil.url + path
        issuer.server.answers[path] = http(b"", status="302 Found", headers=f"Location: {to}\r\n")
        await gateway.cannot_tell(issuer.token())
        assert not evil.server.requests


async def test_metadata_of_somebody_else_is_refused() -> None:
    async with local_issuer(ManualClock()) as issuer, local_issuer(ManualClock()) as evil:
        gateway = Gateway(issuer)
        for name in (evil.url, issuer.url + "/", issuer.url.upper(), 5):
            metadata: dict[str, object] = {"issuer": name, "jwks_uri": issuer.url + JWKS}
            issuer.server.answers[DISCOVERY] = http(metadata)
            await gateway.cannot_tell(issuer.token())
            issuer.clock.advance(issuers.FAILURE_PAUSE)


@pytest.mark.parametrize(
    "jwks_uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/keys",
        "http://localhost:{port}/keys",
        "file:///etc/passwd",
        "/keys",
        "",
        5,
    ],
    ids=str,
)
async def test_metadata_cannot_send_us_into_the_private_network(jwks_uri: object) -> None:
    """Only the host that gateway.toml names may have a private address."""
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        if isinstance(jwks_uri, str):
            jwks_uri = jwks_uri.replace("{port}", str(issuer.server.port))
        issuer.server.answers[DISCOVERY] = http({"issuer": issuer.url, "jwks_uri": jwks_uri})
        await gateway.cannot_tell(issuer.token())
        assert JWKS not in issuer.server.requests


async def test_a_private_issuer_needs_permission() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer, TrustedIssuer(issuer=issuer.url))
        await gateway.cannot_tell(issuer.token(), "https")
        assert not issuer.server.connections


async def test_keys_can_be_read_without_discovery() -> None:
    async with local_issuer(ManualClock()) as issuer:
        trusted = TrustedIssuer(
            issuer=issuer.url, jwks_url=issuer.url + JWKS, allow_private_address=True
        )
        gateway = Gateway(issuer, trusted)
        await gateway.admits(issuer.token())
        assert issuer.server.requests == {JWKS: 1}


async def test_a_slow_issuer_does_not_hold_up_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "TIMEOUT", 0.5)
    released = asyncio.Event()

    async def silence(_writer: asyncio.StreamWriter) -> None:
        await released.wait()

    clock = ManualClock()
    async with local_issuer(clock) as quick, local_issuer(clock) as slow:
        slow.server.answers[DISCOVERY] = silence
        gateway = Gateway(quick, quick.trusted(), slow.trusted())
        gateway.rules = (rule(issuer=quick.url), rule(issuer=slow.url))
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(gateway.cannot_tell(slow.token()))
                for _ in range(issuers.MAXIMUM_WAITING)
            ]
            await asyncio.sleep(0.05)
            await gateway.cannot_tell(slow.token(), "Too many")
            await gateway.admits(quick.token())
            assert not any(task.done() for task in waiting)
        assert time.monotonic() - started < 5
        assert slow.server.requests == {DISCOVERY: 1}
        released.set()


async def test_keys_of_unknown_kinds_are_skipped_and_unfit_ones_not_used() -> None:
    async with local_issuer(ManualClock()) as issuer:
        public = issuer.keys["k1"].as_dict(private=False)
        gateway = Gateway(issuer)
        issuer.publish({"kty": "future"}, {"kty": "oct", "k": "AAAA", "kid": "sym"}, {"kid": "k1"})
        await gateway.admits(issuer.token())
        for unfit in (
            {"use": "enc"},
            {"alg": "ES384"},
            {"key_ops": ["sign"]},
            {"crv": "P-384"},
            {"x": "AAAA"},
            {"x": 5},
        ):
            issuer.server.answers[JWKS] = http({"keys": [{**public, "kid": "k1", **unfit}]})
            issuer.clock.advance(issuers.FRESH + 1)
            await gateway.refuses(issuer.token())


async def test_two_keys_of_one_name_are_ambiguous() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        issuer.publish({**issuer.keys["k1"].as_dict(private=False), "kid": "k1"})
        await gateway.refuses(issuer.token(), "more than one")


async def test_without_a_key_id_there_must_be_one_key() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        await gateway.admits(issuer.token(header={"kid": ...}))
        issuer.add_key("k2", "ES256")
        issuer.clock.advance(issuers.FRESH + 1)
        await gateway.refuses(issuer.token(header={"kid": ...}))


async def test_small_rsa_keys_are_not_used() -> None:
    async with local_issuer(ManualClock()) as issuer:
        gateway = Gateway(issuer)
        issuer.add_key("rsa", "RS256")
        token = issuer.token(kid="rsa", alg="RS256")
        small = encode_base64url(b"\xc1" + b"\x01" * 127).decode()
        weak: dict[str, object] = {"kty": "RSA", "kid": "rsa", "n": small, "e": "AQAB"}
        issuer.server.answers[JWKS] = http({"keys": [weak]})
        await gateway.refuses(token)


def test_an_issuer_that_is_no_address_is_a_mistake_in_the_file() -> None:
    with pytest.raises(GatewayFileInvalid):
        IssuerDirectory([TrustedIssuer(issuer="https://[::1")], clock=ManualClock())


async def test_nobody_answers() -> None:
    async with plain_server() as server:
        issuer = LocalIssuer(server, ManualClock())
    gateway = Gateway(issuer)
    await gateway.cannot_tell(issuer.token(), "ConnectError")
