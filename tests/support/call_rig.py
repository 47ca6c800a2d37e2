"""A worker's call path with a fake coordinator, fake leases, and pools that a test answers by hand.

rig = CallRig()
call = rig.send("POST", "/v1/chat/completions", {"model": "gpt-4o-mini", ...})
rig.upstream.answer(b'{"id": ...}')
assert call.status == 200
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence

import msgspec
from tests.support.fake_link import FakeLink
from tests.support.manual_clock import ManualClock

from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Credential, Grant, PolicyBundle, Route, Target
from keylease.contracts.purposes import Purpose
from keylease.errors import LeaseMalformed
from keylease.primitives.http1.interfaces import (
    Headers,
    RequestHandler,
    RequestHead,
    ResponseHead,
    ResponseReceiver,
    UpstreamFailure,
)
from keylease.primitives.identifiers import uuid7
from keylease.strongroom.configuration import Binding, GatewayConfiguration, Origin, WireLimits
from keylease.strongroom.gateway.call.call_path import CallPath, build_call_path
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.leases.revocation import RevocationList
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.verify import PresentedToken

ORGANIZATION = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
OPENAI_ORIGIN = Origin("https", "api.openai.com", 443)
ANTHROPIC_ORIGIN = Origin("https", "api.anthropic.com", 443)
EVERY_PURPOSE = tuple(Purpose)


class FakeLeases:
    """Knows the tokens a test made."""

    def __init__(self) -> None:
        self.known: dict[bytes, LeaseClaims] = {}

    def verify_presented(self, token: PresentedToken) -> LeaseClaims:
        if token.secret_bytes not in self.known:
            raise LeaseMalformed("This is not a lease.")
        return self.known[token.secret_bytes]


class FakeResponder:
    """Writes down what a client would get."""

    def __init__(self) -> None:
        self.peer = "127.0.0.1"
        self.certificate = ""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.finished = False
        self.aborted = False
        self.reading_paused = False
        self.content_length: int | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> dict[str, object]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def code(self) -> str:
        return self.headers.get("x-keylease-error", "")

    def send(
        self, status: int, headers: Headers, body: bytes = b"", *, rendered: bytes = b""
    ) -> None:
        self.start(status, headers, content_length=len(body), rendered=rendered)
        self.pieces.append(body)
        self.finished = True

    def start(
        self,
        status: int,
        headers: Headers,
        *,
        content_length: int | None = None,
        rendered: bytes = b"",
    ) -> None:
        assert self.status == 0, "answered twice"
        lines = [line.partition(b": ") for line in rendered.split(b"\r\n")[:-1]]
        headers = [*headers, *((name, value) for name, _, value in lines)]
        self.status = status
        self.content_length = content_length
        self.headers = {name.decode(): value.decode() for name, value in headers}
        assert len(self.headers) == len(headers), "a header was sent twice"

    def write(self, data: bytes) -> None:
        assert self.status
        assert not self.finished
        assert not self.aborted
        self.pieces.append(data)

    def finish(self) -> None:
        assert not self.finished
        assert not self.aborted
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def afterwards(self, work: Callable[[], None]) -> None:
        work()

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False


class FakeUpstreamCall:
    """A request as an upstream would see it; the test answers it."""

    def __init__(
        self,
        *,
        origin: Origin,
        method: str,
        target: bytes,
        headers: bytes,
        receiver: ResponseReceiver,
        body: bytes | None,
        content_length: int | None,
    ) -> None:
        self.origin = origin
        self.method = method
        self.target = target.decode()
        lines = [line.split(b": ", 1) for line in headers.split(b"\r\n")[:-1]]
        self.headers = {name.decode(): value.decode() for name, value in lines}
        assert len(self.headers) == len(lines)
        self.raw_headers = headers
        self.receiver = receiver
        self.body = body
        self.content_length = content_length
        self.written: list[bytes] = []
        self.finished = body is not None
        self.cancelled = False
        self.reading_paused = False

    @property
    def json(self) -> dict[str, object]:
        decoded = json.loads(self.body or b"")
        assert isinstance(decoded, dict)
        return decoded

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def finish(self) -> None:
        self.finished = True

    def cancel(self) -> None:
        self.cancelled = True

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False

    # --- the upstream's side ---------------------------------------------------------------------

    def head(
        self,
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        length: int | None = None,
        content_type: bytes = b"application/json",
    ) -> None:
        fields = [(b"content-type", content_type), *headers]
        self.receiver.head_received(
            ResponseHead(status=status, headers=fields, content_length=length, has_body=True)
        )

    def answer(
        self,
        body: bytes | dict[str, object],
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """A whole answer of known length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(status, headers, length=len(data))
        self.receiver.data_received(data)
        self.receiver.response_complete()

    def stream(self, *pieces: bytes, complete: bool = True) -> None:
        """Server-sent events, one piece for one chunk."""
        self.head(content_type=b"text/event-stream")
        for piece in pieces:
            self.receiver.data_received(piece)
        if complete:
            self.receiver.response_complete()

    def fail(self, kind: str, *, sent: bool) -> None:
        self.receiver.failed(UpstreamFailure(kind, sent=sent, detail="a detail for the log"))


class FakePool:
    """Takes requests; a test answers them."""

    def __init__(
        self, origin: Origin, *, allow_private: bool, calls: list[FakeUpstreamCall]
    ) -> None:
        self.origin = origin
        self.allow_private = allow_private
        self._calls = calls
        self.closed = False

    def request(
        self,
        *,
        method: str,
        target: bytes,
        headers: bytes,
        receiver: ResponseReceiver,
        body: bytes | None = b"",
        content_length: int | None = None,
    ) -> FakeUpstreamCall:
        call = FakeUpstreamCall(
            origin=self.origin,
            method=method,
            target=target,
            headers=headers,
            receiver=receiver,
            body=body,
            content_length=content_length,
        )
        self._calls.append(call)
        return call

    async def close(self) -> None:
        self.closed = True


class Sent(FakeResponder):
    """A request that a test sent, and its answer."""

    handler: RequestHandler


def credential(
    identifier: str = "cred-openai",
    *,
    provider: str = "openai",
    purposes: tuple[Purpose, ...] = (Purpose.DEVELOPMENT,),
    environment: str = "local",
    reference: str = "",
    upstream: str = "",
) -> Credential:
    return Credential(
        id=identifier,
        name=identifier,
        provider=provider,
        reference=reference or f"sealed://{identifier}",
        purposes=purposes,
        environment=environment,
        upstream=upstream,
    )


def grant(identifier: str = "grant-1", **changes: object) -> Grant:
    plain = Grant(
        id=identifier,
        name=identifier,
        principals=("user:*",),
        models=("*",),
        purposes=EVERY_PURPOSE,
        environments=("*",),
    )
    return msgspec.structs.replace(plain, **changes)


def route(
    identifier: str = "route-1",
    *,
    models: tuple[str, ...] = ("gpt-*",),
    targets: tuple[Target, ...] = (Target(credential_id="cred-openai"),),
    **changes: object,
) -> Route:
    plain = Route(id=identifier, name=identifier, models=models, targets=targets)
    return msgspec.structs.replace(plain, **changes)


def binding(provider: str = "openai", **changes: object) -> Binding:
    plain = Binding(
        id="binding:1" if provider == "openai" else "binding:2",
        reference="sealed://*",
        provider=provider,
        origins=(OPENAI_ORIGIN if provider == "openai" else ANTHROPIC_ORIGIN,),
        listed=False,
        purposes=EVERY_PURPOSE,
        environments=("*",),
    )
    return msgspec.structs.replace(plain, **changes)


def bundle(**changes: object) -> PolicyBundle:
    """One OpenAI and one Anthropic credential, each with a route, and a grant for all users."""
    plain = PolicyBundle(
        organization_id=ORGANIZATION,
        version=1,
        issued_at=0,
        credentials=(credential(), credential("cred-anthropic", provider="anthropic")),
        routes=(
            route(),
            route(
                "route-2",
                models=("claude-*",),
                targets=(Target(credential_id="cred-anthropic"),),
            ),
        ),
        grants=(grant(),),
    )
    return msgspec.structs.replace(plain, **changes)


class CallRig:
    """The call path of a worker, ready to be called."""

    def __init__(
        self,
        policy: PolicyBundle | None = None,
        *,
        bindings: tuple[Binding, ...] | None = None,
        limits: WireLimits | None = None,
        uniform: Callable[[], float] = lambda: 0.0,
        warm: bool = True,
    ) -> None:
        self.clock = ManualClock()
        self.link = FakeLink(self.clock)
        self.leases = FakeLeases()
        self.revocations = RevocationList()
        self.errors: list[BaseException] = []
        self.calls: list[FakeUpstreamCall] = []
        self.pools: list[FakePool] = []
        policy = policy or bundle()
        self.secrets = {
            known.id: f"sk-test-{secrets.token_hex(16)}".encode() for known in policy.credentials
        }
        for identifier, secret in self.secrets.items():
            self.link.store(identifier, secret)
        if warm:
            self.link.warm()
        self.path: CallPath = build_call_path(
            configuration=GatewayConfiguration(
                path="gateway.toml",
                bindings=(binding(), binding("anthropic")) if bindings is None else bindings,
                limits=limits or WireLimits(),
            ),
            clock=self.clock,
            link=self.link,
            leases=self.leases,
            revocations=self.revocations,
            senders=SenderProof(self.clock),
            on_error=self.errors.append,
            ready=lambda: HttpAnswer(
                200, (("Content-Type", "application/json"),), b'{"status":"ready"}'
            ),
            pool_factory=self._pool,
            uniform=uniform,
        )
        self.path.replace_policy(policy)
        self.lease = self.make_lease()

    def _pool(self, origin: Origin, *, allow_private: bool) -> FakePool:
        pool = FakePool(origin, allow_private=allow_private, calls=self.calls)
        self.pools.append(pool)
        return pool

    def make_lease(self, **changes: object) -> bytes:
        now = self.clock.now() // 1_000_000
        plain = LeaseClaims(
            iss="local",
            sub="user:ada",
            iat=now,
            exp=now + 900,
            jti=uuid7(self.clock),
            organization=ORGANIZATION,
            purpose=Purpose.DEVELOPMENT,
            environment="local",
            models=("*",),
        )
        token = b"kll_" + secrets.token_hex(16).encode()
        self.leases.known[token] = msgspec.structs.replace(plain, **changes)
        return token

    @property
    def upstream(self) -> FakeUpstreamCall:
        """The last request that went out."""
        return self.calls[-1]

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        lease: bytes | None = None,
        length: int | None = None,
        has_body: bool = False,
    ) -> Sent:
        """Send a head."""
        plain, _, query = path.partition("?")
        fields = [(b"host", b"gateway.example"), *headers]
        token = self.lease if lease is None else lease
        if token:
            fields.append((b"authorization", b"Bearer " + token))
        head = RequestHead(
            method=method,
            target=path.encode(),
            path=plain,
            query=query,
            headers=fields,
            keep_alive=True,
            content_length=length,
            has_body=has_body,
        )
        sent = Sent()
        sent.handler = self.path.listener(head, sent)
        return sent

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, object] | bytes | None = None,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        lease: bytes | None = None,
    ) -> Sent:
        """Send a whole request."""
        data = json.dumps(body, separators=(",", ":")).encode() if isinstance(body, dict) else body
        if data is not None and not any(name == b"content-type" for name, _ in headers):
            headers = [*headers, (b"content-type", b"application/json")]
        sent = self.open(
            method,
            path,
            headers=headers,
            lease=lease,
            length=len(data) if data is not None else None,
            has_body=data is not None,
        )
        if data:
            sent.handler.body_received(data)
        sent.handler.request_complete()
        return sent

    def chat(self, model: str = "gpt-4o-mini", **changes: object) -> Sent:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **changes}
        return self.send("POST", "/v1/chat/completions", body)


CHAT_ANSWER: dict[str, object] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
