"""P2, the platform: one that was taken over can neither obtain a key nor send one elsewhere.

A real gateway with an honest gateway.toml is enrolled with a platform that signs one hostile bundle
after another, or breaks the protocol. Never does a byte of a key reach a host that gateway.toml
does not bind it to, never is anything read that gateway.toml does not let it read, and never does
the platform itself see a key or a lease.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.fake_platform import FakePlatform, PlatformRequest, fake_platform
from tests.support.hostile_upstream import (
    HostileUpstream,
    chat_answer,
    head,
    hostile_upstream,
    json_answer,
)
from tests.support.issuer_thread import exchange, issuer_thread
from tests.support.linked_gateway import (
    LinkedPlace,
    call,
    credential,
    grant,
    new_id,
    route,
    wait_for,
)
from tests.support.running_gateway import RunningGateway
from tests.support.simulated_provider import fresh_key

from keylease.contracts import platform_link as wire
from keylease.contracts.bundles import MAXIMUM_BUNDLE_BYTES, SignedBundle, sign_bundle
from keylease.contracts.policy import Credential, PolicyBundle, Revocation, RevocationKind
from keylease.contracts.policy import TrustRule as Rule
from keylease.contracts.purposes import Purpose


class Keys(NamedTuple):
    good: bytes
    production: bytes
    outside: bytes
    sealed: bytes


class Attacked(NamedTuple):
    gateway: RunningGateway
    platform: FakePlatform
    bound: HostileUpstream
    """Where keys for development may go."""
    trap: HostileUpstream
    """Where nothing may go."""
    place: LinkedPlace
    keys: Keys
    received: list[bytes]
    """Every byte that the platform was sent."""
    versions: Iterator[int]

    def say(self, *evil: Credential, **parts: Any) -> PolicyBundle:  # noqa: ANN401 - parts of a bundle
        """A bundle in which ``evil`` comes before everything honest."""
        honest = self.place.policy()
        [plain] = honest["routes"]
        honest["routes"] = (msgspec.structs.replace(plain, models=("any",)),)
        routes = tuple(route(one.id, models=("evil",), name="evil") for one in evil)
        return self.platform.bundle(
            **{
                "version": next(self.versions),
                **honest,
                "credentials": (*evil, *honest["credentials"]),
                "routes": (*routes, *honest["routes"]),
                **parts,
            }
        )

    def force(self, bundle: PolicyBundle) -> None:
        """Publish, and wait until the gateway decides by it."""
        self.platform.publish(bundle)
        wait_for(lambda: self.platform.in_force(bundle.version))

    def refused(self, bundle: PolicyBundle | SignedBundle) -> str:
        """Publish, and wait until the gateway has refused it; gives the code."""
        signed = self.platform.publish(bundle)

        def said() -> bool:
            last = self.platform.polls[-1].refused
            return last is not None and last.digest == signed.digest

        wait_for(said)
        return self.platform.refusal()

    def lease(self, **wish: str) -> str:
        return self.gateway.lease(**wish)


BINDINGS = """
[[binding]]
reference = "file://{keys}/production/*"
provider = "openai-compatible"
hosts = ["{bound}"]
purposes = ["production"]
[[binding]]
reference = "sealed://**"
provider = "openai-compatible"
hosts = ["{bound}"]
purposes = ["development"]
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("p2-platform")
    received: list[bytes] = []
    with fake_platform() as platform, hostile_upstream() as bound, hostile_upstream() as trap:
        honest = platform.handle

        def recorded(request: PlatformRequest) -> None:
            received.append(bytes(request.headers) + request.body)
            honest(request)

        platform.handle = recorded  # type: ignore[method-assign]  # listens in
        keys_dir = directory / "place" / "keys"
        more = BINDINGS.format(keys=keys_dir, bound=bound.url)
        place = LinkedPlace(directory / "place", platform.url, bound.url, more=more)
        keys = Keys(place.key, fresh_key(), fresh_key(), fresh_key())
        for path, value in (
            (keys_dir / "production" / "key", keys.production),
            (directory / "outside" / "key", keys.outside),
        ):
            path.parent.mkdir(mode=0o700)
            path.write_bytes(value)
            path.chmod(0o600)
        assert place.enroll(platform.code()).returncode == 0
        with place.running() as gateway:
            attack = Attacked(
                gateway, platform, bound, trap, place, keys, received, iter(range(1, 10**6))
            )
            attack.force(attack.say())
            yield attack


@pytest.fixture(autouse=True)
def nothing_leaked(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each attack: the trap is empty, the bound host saw its own key, the platform none."""
    yield
    if "attacked" not in request.fixturenames:
        return
    attacked: Attacked = request.getfixturevalue("attacked")
    attacked.platform.answers.clear()
    assert attacked.trap.connections == 0
    for sent in attacked.bound.received:
        everything = sent.head + sent.body
        for name, value in attacked.keys._asdict().items():
            assert value not in everything or name == "good", name
        assert b"root:" not in everything
    attacked.bound.answer = lambda _: [json_answer(chat_answer())]
    # And it still works for an honest bundle.
    attacked.force(attacked.say())
    lease = attacked.lease()
    assert call(attacked.gateway, lease) == (200, "")
    for sent_to_platform in attacked.received:
        assert lease.encode() not in sent_to_platform
        for value in attacked.keys:
            assert value not in sent_to_platform
    attacked.bound.received.clear()
    attacked.received.clear()


# --- other hosts, providers, purposes, files --------------------------------------------------

UPSTREAMS = [
    "http://127.0.0.1:{trap}/v1",
    "http://localhost:{bound}/v1",
    "http://127.0.0.1:{bound}@127.0.0.1:{trap}/v1",
    "http://127.0.0.1:{bound}\\@127.0.0.1:{trap}/v1",
    "http://2130706433:{trap}/v1",
    "http://[::ffff:127.0.0.1]:{trap}/v1",
    "http://169.254.169.254/latest/meta-data",
    "https://api.openai.com@127.0.0.1:{trap}/v1",
    "https://127.0.0.1:{bound}/v1",
    "file:///etc/shadow",
    "",
]


def test_another_host(attacked: Attacked) -> None:
    """Every form of another host at once: each has a model of its own."""
    evil = []
    routes = []
    for number, text in enumerate(UPSTREAMS):
        url = text.format(trap=attacked.trap.port, bound=attacked.bound.port)
        one = credential(reference=attacked.place.reference, upstream=url, name=f"evil-{number}")
        evil.append(one)
        routes.append(route(one.id, models=(f"evil-{number}",)))
    bundle = attacked.say(*evil, routes=tuple(routes))
    attacked.force(bundle)
    lease = attacked.lease()
    for number, text in enumerate(UPSTREAMS):
        assert call(attacked.gateway, lease, f"evil-{number}") == (403, "binding_missing"), text
    assert attacked.bound.received == []
    objections = {o.object_id: o.code for o in attacked.platform.polls[-1].objections}
    assert objections == dict.fromkeys([one.id for one in evil], "binding_missing")


PRODUCTION = "file://{keys}/production/key"
RELABELLED: dict[str, dict[str, Any]] = {
    "another provider": {"provider": "anthropic-compatible"},
    "a well-known provider": {"provider": "openai", "upstream": ""},
    "production for development": {"reference": PRODUCTION},
    "production for evals": {"reference": PRODUCTION, "purposes": (Purpose.EVAL,)},
    "development for production": {"purposes": (Purpose.PRODUCTION,)},
    "another environment": {"environment": "staging"},
    "the lease signing key": {"reference": "sealed://keylease-lease-signing-key"},
    "a sealed key of nobody": {"reference": "sealed://absent"},
    "a system file": {"reference": "file:///etc/shadow"},
    "the gateway's own memory": {"reference": "file:///proc/self/environ"},
    "the gateway's own key": {"reference": "file://{data}/strongroom/platform/key"},
    "the sealing key": {"reference": "file://{config}/sealing.key"},
    "a file beside": {"reference": "file://{outside}/key"},
    "a way out": {"reference": "file://{keys}/../../outside/key"},
    "a variable": {"reference": "env://PATH"},
    "another store": {"reference": "vault://secret/other#value"},
    "no reference": {"reference": ""},
    "a command": {"reference": "exec://cat /etc/shadow"},
}


@pytest.mark.parametrize("name", RELABELLED)
def test_another_use_or_another_secret(attacked: Attacked, name: str) -> None:
    place = attacked.place
    parts = dict(RELABELLED[name])
    reference = parts.pop("reference", place.reference).format(
        keys=place.keys,
        data=place.data,
        config=place.config,
        outside=place.directory.parent / "outside",
    )
    base: dict[str, Any] = {"upstream": f"{place.upstream}/v1", "reference": reference, **parts}
    evil = credential(**base)
    attacked.force(attacked.say(evil))
    wish = {"purpose": evil.purposes[0].value, "environment": evil.environment}
    status, code = call(attacked.gateway, attacked.lease(**wish), "evil")
    assert (status, code) in {
        (403, "binding_missing"),
        (403, "model_not_allowed"),  # left out: this version knows no such reference
        (403, "purpose_not_allowed"),
        (403, "access_denied"),
        (503, "secret_not_found"),
    }
    assert attacked.bound.received == []


def test_a_bound_reference_under_another_name_goes_where_it_may(attacked: Attacked) -> None:
    """The attacks are not refused for being odd: asked for what is allowed, it works."""
    same = credential(reference=attacked.place.reference, upstream=f"{attacked.place.upstream}/v1")
    attacked.force(attacked.say(same))
    assert call(attacked.gateway, attacked.lease(), "evil") == (200, "")
    assert attacked.bound.received[-1].key == attacked.keys.good


def test_redirects_of_the_bound_host_are_not_followed(attacked: Attacked) -> None:
    where = f"{attacked.trap.url}/v1/chat/completions"
    attacked.bound.answer = lambda _: [head("307 Temporary Redirect", 0, location=where)]
    status, _ = call(attacked.gateway, attacked.lease())
    assert status != 200


def test_a_header_that_echoes_the_key_does_not_come_back(attacked: Attacked) -> None:
    def echo(request: Any) -> list[bytes]:  # noqa: ANN401 - what the upstream received
        key = request.key.decode()
        return [json_answer(chat_answer(), x_request_id=key, x_echo=key, server=key)]

    attacked.bound.answer = echo
    lease = attacked.lease()
    answer = httpx.post(
        f"{attacked.gateway.url}/v1/chat/completions",
        json={"model": "any", "messages": [{"role": "user", "content": "Hello"}]},
        headers={"authorization": f"Bearer {lease}"},
        trust_env=False,
        timeout=30,
    )
    assert attacked.keys.good not in answer.content
    assert attacked.keys.good.decode() not in str(answer.headers)


def test_a_foreign_issuer_is_not_even_asked(attacked: Attacked) -> None:
    with issuer_thread() as foreign:
        rule = Rule(
            id=new_id(),
            name="mine",
            issuer=foreign.url,
            audience="keylease",
            claims={"sub": "job"},
            principal="user:root",
            purposes=(Purpose.DEVELOPMENT,),
            environments=("local",),
            models=("*",),
            subject_once=False,
        )
        attacked.force(attacked.say(trust_rules=(rule,)))
        answer = exchange(attacked.gateway.url, foreign.token())
        assert answer.status_code == 400
        assert "access_token" not in answer.json()
        assert foreign.jwks_requests == 0
    assert {o.code for o in attacked.platform.polls[-1].objections} == {"issuer_not_trusted"}


# --- bundles that are refused as a whole ------------------------------------------------------


def test_rollback_and_a_second_truth(attacked: Attacked) -> None:
    revocation = Revocation(kind=RevocationKind.ALL, at=attacked.platform.clock.now())
    first = attacked.say()
    attacked.force(first)
    stolen = attacked.lease()
    second = attacked.say(revocations=(revocation,))
    second = msgspec.structs.replace(
        second, revocations=(msgspec.structs.replace(revocation, at=attacked.platform.clock.now()),)
    )
    attacked.force(second)
    assert call(attacked.gateway, stolen) == (401, "lease_revoked")
    # The old bundle, replayed as it was signed, and the old content under the newest number.
    assert attacked.refused(first) == "bundle_outdated"
    same_number = msgspec.structs.replace(
        first, version=second.version, issued_at=attacked.platform.clock.now()
    )
    assert attacked.refused(same_number) == "bundle_outdated"
    assert call(attacked.gateway, stolen) == (401, "lease_revoked")


def test_signed_by_somebody_else(attacked: Attacked) -> None:
    mine = sign_bundle(attacked.say(), Ed25519PrivateKey.generate())
    assert attacked.refused(mine) == "bundle_not_signed"
    renamed = msgspec.structs.replace(mine, key_id=attacked.platform.policy_key_fingerprint)
    spoiled = msgspec.structs.replace(renamed, payload=renamed.payload + b" ")
    assert attacked.refused(spoiled) == "bundle_not_signed"


SPOILED: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown critical": ("bundle_not_understood", {"critical": ("grant.only_on_mondays",)}),
    "another organization": ("bundle_foreign", {"organization_id": new_id()}),
    "another group": ("bundle_foreign", {"group": "other"}),
    "expired": ("bundle_expired", {"expires_at": 1}),
    "of the future": ("bundle_expired", {"issued_at": 2**52, "expires_at": 2**53}),
    "a grant with a binding's counter": (
        "bundle_not_understood",
        {"grants": (grant(id="binding:1"),)},
    ),
    "a line end in a name": ("bundle_not_understood", {"grants": (grant(name="a\r\nb: c"),)}),
}


@pytest.mark.parametrize("name", SPOILED)
def test_refused_as_a_whole(attacked: Attacked, name: str) -> None:
    code, parts = SPOILED[name]
    assert attacked.refused(attacked.say(**parts)) == code


# --- a platform that breaks the protocol ------------------------------------------------------

Break = Callable[[PlatformRequest, Attacked], None]


def sends(body: bytes, *, status: int = 200) -> Break:
    return lambda request, _: request.send(body, status=status)


def endless(request: PlatformRequest, _: Attacked) -> None:
    request.send_response(200)
    request.send_header("content-length", str(2**40))
    request.end_headers()
    for _piece in range(40):
        request.wfile.write(b" " * 2**20)


def giant(request: PlatformRequest, attacked: Attacked) -> None:
    bundle = SignedBundle(
        key_id=attacked.platform.policy_key_fingerprint,
        payload=b" " * (MAXIMUM_BUNDLE_BYTES + 1),
        signature=b"",
    )
    request.send(wire.PollAnswer(bundle=bundle))


def redirect(request: PlatformRequest, attacked: Attacked) -> None:
    request.send_response(307)
    request.send_header("location", attacked.trap.url + request.path)
    request.send_header("content-length", "0")
    request.end_headers()


def no_http(request: PlatformRequest, _: Attacked) -> None:
    request.wfile.write(b"\x00" * 64)
    request.close_connection = True


def slow(request: PlatformRequest, _: Attacked) -> None:
    """A byte now and then: the gateway must not wait for the rest of its life, nor stop serving."""
    request.send_response(200)
    request.send_header("content-length", "1000000")
    request.end_headers()
    for _piece in range(20):
        request.wfile.write(b" ")
        request.wfile.flush()
        time.sleep(0.05)
    request.close_connection = True


BREAKS: dict[str, Break] = {
    "an endless answer": endless,
    "a giant bundle": giant,
    "a redirect": redirect,
    "no HTTP": no_http,
    "no JSON": sends(b"<html>"),
    "deep JSON": sends(b"[" * 500_000),
    "another form": sends(b'{"bundle": 7}'),
    "a status of its own": sends(b"{}", status=599),
    "a secret in its refusal": sends(b'{"code": "Bearer kll_stolen"}', status=400),
    "a slow answer": slow,
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_platform_that_breaks_the_protocol_changes_nothing(attacked: Attacked, name: str) -> None:
    asked: list[str] = []

    def answer(request: PlatformRequest) -> None:
        asked.append(request.path)
        with contextlib.suppress(OSError):
            BREAKS[name](request, attacked)

    for path in (wire.POLL, wire.CALL_RECORDS, wire.AUDIT_ENTRIES):
        attacked.platform.answers[path] = answer
    # Wake the poll that is held, so that the next one meets the broken platform.
    attacked.platform.publish(attacked.say())
    wait_for(lambda: wire.POLL in asked)
    lease = attacked.lease()
    assert call(attacked.gateway, lease) == (200, "")

    def said() -> str:
        status = attacked.gateway.control("status")
        return str(status["platform"]["error"] or status["policy"]["error"])

    wait_for(said)
    assert said().startswith(("platform_unreachable", "platform_refused", "bundle_too_large"))
    assert "kll_stolen" not in said() + attacked.gateway.stderr()
    assert call(attacked.gateway, lease) == (200, "")


def test_a_platform_that_hurries_is_no_burden(attacked: Attacked) -> None:
    """It never holds a poll: the gateway asks less and less often, and goes on serving."""
    asked: list[float] = []

    def at_once(request: PlatformRequest) -> None:
        asked.append(time.monotonic())
        request.send(wire.PollAnswer())

    attacked.platform.answers[wire.POLL] = at_once
    attacked.platform.publish(attacked.say())
    wait_for(lambda: len(asked) >= 5)
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps[-1] > gaps[0]
    assert call(attacked.gateway, attacked.lease()) == (200, "")


def test_who_answers_an_enrolment_must_have_the_policy_key(tmp_path: Path) -> None:
    with fake_platform() as honest, fake_platform() as hostile:
        place = LinkedPlace(tmp_path / "place", hostile.url, "http://127.0.0.1:1")
        code = honest.code()
        hostile._codes.add(code)
        refused = place.enroll(code)
        assert refused.returncode != 0
        assert "another policy key" in refused.stderr
        assert not (place.data / "strongroom" / "platform" / "enrolment").exists()
