"""A platform for gateways under test: one that keeps the protocol, or breaks it as a test says.

with fake_platform() as platform:
    platform.publish(some_bundle())
    ... a gateway with [platform] url = platform.url, enrolled with platform.code() ...
    assert platform.polls[-1].in_force.version == 1

It is no part of the product and shares none of its code but the contracts.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from tests.support.ports import free_port

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditEntry
from keylease.contracts.bundles import SignedBundle, fingerprint, sign_bundle
from keylease.contracts.call_records import CallRecord
from keylease.contracts.enrolment_codes import EnrolmentCode
from keylease.contracts.policy import PolicyBundle, Revocation
from keylease.primitives.clock import MICROSECONDS, SystemClock
from keylease.primitives.identifiers import uuid7

Answer = Callable[["PlatformRequest"], None]


class PlatformRequest(BaseHTTPRequestHandler):
    """One request; ``send`` and ``refuse`` answer it, ``wfile`` takes anything else."""

    protocol_version = "HTTP/1.1"
    platform: FakePlatform
    body: bytes
    gateway_id: str

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.gateway_id = self.headers.get(wire.GATEWAY_HEADER, "")
        with contextlib.suppress(ConnectionError):
            self.platform.handle(self)

    def send(self, answer: Any, *, status: int = 200) -> None:  # noqa: ANN401 - anything JSON
        body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: str, status: int) -> None:
        self.send({"code": code, "detail": "As the test wants it."}, status=status)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class FakePlatform:
    """Runs in threads. What it received is in lists; what it says can be replaced by path."""

    def __init__(self, *, group: str = "local") -> None:
        self.clock = SystemClock()
        self.group = group
        self.organization_id = uuid7(self.clock)
        self.policy_key = Ed25519PrivateKey.generate()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateways: dict[str, bytes] = {}
        self.revoked: set[str] = set()
        self.answers: dict[str, Answer] = {}
        self.polls: list[wire.PollRequest] = []
        self.polled_by: list[str] = []
        self.call_pushes: list[wire.CallRecordPush] = []
        self.audit_pushes: list[wire.AuditPush] = []
        self.enrolments: list[wire.EnrolmentRequest] = []
        self.nonces: set[str] = set()
        self.faults: list[str] = []
        """Requests that a real platform would have refused."""
        self._codes: set[str] = set()
        self._bundle: SignedBundle | None = None
        self._news = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    # --- up and down -----------------------------------------------------------------------

    def start(self) -> None:
        handler = type("Handler", (PlatformRequest,), {"platform": self})

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                """A client that left is no event."""

        self._server = Server(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Nothing listens any more; polls that are held end."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()
            with self._news:
                self._news.notify_all()

    # --- what a test says ------------------------------------------------------------------

    @property
    def policy_key_fingerprint(self) -> str:
        return fingerprint(self.policy_key.public_key().public_bytes_raw())

    def code(self) -> str:
        code = EnrolmentCode.mint(uuid7(self.clock), policy_key=self.policy_key_fingerprint)
        self._codes.add(code.text)
        return code.text

    def bundle(self, **parts: Any) -> PolicyBundle:  # noqa: ANN401 - parts of a bundle
        """For this organization and group, of now, good for an hour."""
        now = self.clock.now()
        base: dict[str, Any] = {
            "organization_id": self.organization_id,
            "group": self.group,
            "version": 1,
            "issued_at": now,
            "expires_at": now + 3600 * MICROSECONDS,
        }
        return PolicyBundle(**{**base, **parts})

    def publish(self, bundle: PolicyBundle | SignedBundle) -> SignedBundle:
        """Sign, and give it to everybody who asks or waits."""
        signed = (
            bundle if isinstance(bundle, SignedBundle) else sign_bundle(bundle, self.policy_key)
        )
        with self._news:
            self._bundle = signed
            self._news.notify_all()
        return signed

    def revoke(self, bundle: PolicyBundle, *revocations: Revocation) -> PolicyBundle:
        """The next version of a bundle, with revocations in it."""
        following = msgspec.structs.replace(
            bundle,
            version=bundle.version + 1,
            issued_at=self.clock.now(),
            revocations=(*bundle.revocations, *revocations),
        )
        self.publish(following)
        return following

    # --- what it received ------------------------------------------------------------------

    @property
    def call_records(self) -> list[CallRecord]:
        return [
            msgspec.msgpack.decode(record, type=CallRecord)
            for push in self.call_pushes
            for record in push.records
        ]

    @property
    def audit_entries(self) -> list[AuditEntry]:
        return [
            msgspec.json.decode(entry, type=AuditEntry)
            for push in self.audit_pushes
            for entry in push.entries
        ]

    def in_force(self, version: int, *, gateways: int = 1) -> bool:
        """Whether so many gateways have said that they decide by this version."""
        latest = dict(zip(self.polled_by, self.polls, strict=False))
        return sum(poll.in_force.version == version for poll in latest.values()) >= gateways

    def refusal(self) -> str:
        """The code with which the last poll refused a bundle; empty when there is none."""
        return self.polls[-1].refused.code if self.polls and self.polls[-1].refused else ""

    # --- how it answers --------------------------------------------------------------------

    def handle(self, request: PlatformRequest) -> None:
        if self._server is None:  # a connection from before the process went
            request.close_connection = True
            return
        answer = self.answers.get(request.path)
        if answer is not None:
            answer(request)
        else:
            self.honest(request)

    def honest(self, request: PlatformRequest) -> None:
        """What a platform does that keeps the protocol."""
        if request.path == wire.ENROLMENTS:
            self._enroll(request)
            return
        if request.gateway_id in self.revoked:
            request.refuse("gateway_revoked", 403)
            return
        key = self.gateways.get(request.gateway_id)
        if key is None or not self._signed(request, key):
            self.faults.append(f"{request.path}: not signed")
            request.refuse("signature_refused", 401)
            return
        match request.path:
            case wire.POLL:
                self._poll(request)
            case wire.CALL_RECORDS:
                push = msgspec.msgpack.decode(request.body, type=wire.CallRecordPush)
                self.call_pushes.append(push)
                request.send(wire.PushAnswer(taken=len(push.records)))
            case wire.AUDIT_ENTRIES:
                entries = msgspec.msgpack.decode(request.body, type=wire.AuditPush)
                self.audit_pushes.append(entries)
                request.send(wire.PushAnswer(taken=len(entries.entries)))
            case _:
                request.refuse("not_found", 404)

    def _signed(self, request: PlatformRequest, key: bytes) -> bool:
        sent = request.headers
        moment, nonce = sent.get(wire.TIME_HEADER, ""), sent.get(wire.NONCE_HEADER, "")
        signature = sent.get(wire.SIGNATURE_HEADER, "")
        signed = wire.signing_input(
            method="POST",
            target=request.path,
            body=request.body,
            gateway_id=request.gateway_id,
            time=moment,
            nonce=nonce,
        )
        fresh = nonce not in self.nonces
        self.nonces.add(nonce)
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(raw, signed)
        except InvalidSignature:
            return False
        return fresh and abs(int(moment) - self.clock.now()) < wire.CLOCK_WINDOW * MICROSECONDS

    def _enroll(self, request: PlatformRequest) -> None:
        wanted = msgspec.json.decode(request.body, type=wire.EnrolmentRequest)
        self.enrolments.append(wanted)
        if wanted.code not in self._codes or not self._signed(request, wanted.public_key):
            request.refuse("enrolment_refused", 403)
            return
        self._codes.discard(wanted.code)
        gateway_id = uuid7(self.clock)
        self.gateways[gateway_id] = wanted.public_key
        request.send(
            wire.EnrolmentAnswer(
                gateway_id=gateway_id,
                organization_id=self.organization_id,
                group=self.group,
                policy_key=self.policy_key.public_key().public_bytes_raw(),
            )
        )

    def _poll(self, request: PlatformRequest) -> None:
        poll = msgspec.json.decode(request.body, type=wire.PollRequest)
        known = {poll.in_force.digest, poll.refused.digest if poll.refused else ""}
        self.polled_by.append(request.gateway_id)
        self.polls.append(poll)
        until = time.monotonic() + poll.wait_seconds
        with self._news:
            while (
                (self._bundle is None or self._bundle.digest in known)
                and self._server is not None
                and (left := until - time.monotonic()) > 0
            ):
                self._news.wait(min(left, 0.5))
            bundle = self._bundle
        if self._server is None:
            request.close_connection = True
            return  # the process is gone: the connection ends without an answer
        fresh = bundle if bundle is not None and bundle.digest not in known else None
        request.send(wire.PollAnswer(now=self.clock.now(), bundle=fresh))


@contextlib.contextmanager
def fake_platform(*, group: str = "local") -> Iterator[FakePlatform]:
    """Serve on a free port until the block ends."""
    platform = FakePlatform(group=group)
    platform.start()
    try:
        yield platform
    finally:
        platform.stop()
