"""Requests that share a head share nothing of what was decided."""

from __future__ import annotations

import pytest
from tests.support.call_rig import (
    CHAT_ANSWER,
    CallRig,
    Sent,
    bundle,
    credential,
    grant,
    route,
)

from keylease.contracts.policy import Revocation, RevocationKind, Target
from keylease.errors import CredentialEchoed
from keylease.primitives.http1.interfaces import RequestHead, ResponseHead
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.request_head import RequestHeads
from keylease.strongroom.gateway.call.answers import AnswerFields
from keylease.strongroom.gateway.call.echo_guard import EchoGuard, Needles
from keylease.strongroom.gateway.interfaces import PriceQuote

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'


class Client:
    """Sends heads as bytes, as a connection would, and remembers them."""

    def __init__(self, rig: CallRig) -> None:
        self.rig = rig
        self.heads = RequestHeads(ServerLimits())

    def head(self, lease: bytes, *fields: bytes, path: bytes = b"/v1/chat/completions") -> bytes:
        lines = [b"POST %b HTTP/1.1" % path, b"host: gateway", b"authorization: Bearer %b" % lease]
        lines += [b"content-type: application/json", b"content-length: %d" % len(BODY), *fields]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def read(self, raw: bytes) -> RequestHead:
        return self.heads.read(raw).head

    def send(self, raw: bytes) -> Sent:
        sent = Sent()
        sent.handler = self.rig.path.listener(self.read(raw), sent)
        sent.handler.body_received(BODY)
        sent.handler.request_complete()
        return sent

    def served(self, raw: bytes) -> bool:
        before = len(self.rig.calls)
        sent = self.send(raw)
        if len(self.rig.calls) > before:
            self.rig.upstream.answer(CHAT_ANSWER)
            assert sent.status == 200
            return True
        return False


@pytest.fixture
async def rig() -> CallRig:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = PriceQuote(
        input=1, output=1, cache_read=1, cache_write=1, version="test"
    )
    return rig


async def test_a_head_is_read_once_and_every_call_is_its_own(rig: CallRig) -> None:
    client = Client(rig)
    raw = client.head(rig.lease, b"user-agent: a", b"anthropic-beta: b")
    assert client.served(raw)
    notes = client.read(raw).notes
    assert notes is not None
    assert client.served(raw)
    assert client.read(raw).notes is notes
    first, second = rig.calls
    assert (first.raw_headers, first.target) == (second.raw_headers, second.target)
    assert len({record.id for record in rig.link.records}) == 2


async def test_a_lease_that_ends_is_refused_on_the_very_next_request(rig: CallRig) -> None:
    client = Client(rig)
    raw = client.head(rig.lease)
    assert client.served(raw)
    claims = rig.leases.known.pop(rig.lease)
    assert not client.served(raw)
    rig.leases.known[rig.lease] = claims
    assert client.served(raw)
    rig.revocations.apply(Revocation(kind=RevocationKind.LEASE, value=claims.jti, at=0))
    assert not client.served(raw)
    assert client.send(raw).code == "lease_revoked"


async def test_a_revoked_credential_is_refused_on_the_very_next_request(rig: CallRig) -> None:
    client = Client(rig)
    raw = client.head(rig.lease)
    assert client.served(raw)
    revoked = Revocation(kind=RevocationKind.CREDENTIAL, value="cred-openai", at=0)
    rig.revocations.apply(revoked)
    assert not client.served(raw)


async def test_two_leases_never_share_a_head(rig: CallRig) -> None:
    client = Client(rig)
    narrow = rig.make_lease(models=("gpt-4.1",), sub="user:bob")
    one, other = client.head(rig.lease), client.head(narrow)
    assert client.served(one)
    assert not client.served(other)
    assert client.served(one)
    assert client.read(one).notes is not client.read(other).notes
    assert [record.principal for record in rig.link.records] == ["user:ada", "user:bob", "user:ada"]


async def test_a_new_policy_decides_the_very_next_request(rig: CallRig) -> None:
    client = Client(rig)
    raw = client.head(rig.lease)
    assert client.served(raw)
    rig.link.store("cred-other", b"sk-test-" + b"0" * 20)
    rig.link.warm()
    rig.path.replace_policy(
        bundle(
            version=2,
            credentials=(credential("cred-other"),),
            routes=(route(targets=(Target(credential_id="cred-other"),)),),
        )
    )
    assert client.served(raw)
    assert rig.upstream.headers["authorization"] == "Bearer sk-test-" + "0" * 20
    rig.path.replace_policy(bundle(version=3, grants=(grant(principals=("user:nobody",)),)))
    assert not client.served(raw)


async def test_a_head_that_cannot_be_served_is_refused_each_time(rig: CallRig) -> None:
    client = Client(rig)
    for field in (b"content-encoding: gzip", b"content-type: text/plain"):
        raw = client.head(rig.lease, field)
        assert [client.send(raw).status for _ in range(2)] == [400, 400]
    raw = client.head(rig.lease, path=b"/v1/chat/completions?x=1")
    assert [client.send(raw).status for _ in range(2)] == [400, 400]
    assert not rig.calls


def test_fields_of_an_answer_are_sorted_once_and_searched_for_each_credential() -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"openai-model", b"m")]
    headers += [(b"set-cookie", b"x"), (b"x-request-id", b"req_1")]
    head = ResponseHead(status=200, headers=headers, content_length=None, has_body=True)
    fields = AnswerFields.of(head)
    assert AnswerFields.of(head) is fields
    assert fields.event_stream
    assert fields.provider_request_id == "req_1"
    assert fields.rendered == (
        b"content-type: text/event-stream\r\nopenai-model: m\r\nx-provider-request-id: req_1\r\n"
    )
    EchoGuard(Needles((b"sk-test-0000",))).check(fields.rendered)
    with pytest.raises(CredentialEchoed):
        EchoGuard(Needles((b"req_1",))).check(fields.rendered)
