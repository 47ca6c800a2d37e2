"""Everything that can be handed to a platform over HTTP and that it must not keep.

    doors = Doors(platform.url)
    doors.set_up(link)              # the owner, by the first link, with a password
    doors.paste_everywhere()        # provider keys and leases, where they do not belong
    doors.push_as_gateway()         # records that a gateway should have masked
    doors.wash()                    # an innocent request, larger than all of these
    search_files(directory, secrets=doors.secrets)

``secrets`` holds what must not be found afterwards. Keys, leases and passwords share one random
core; the other texts are the platform's own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
from tests.support.canaries import Family
from tests.support.link_kit import GatewayHand

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction, AuditEntry
from keylease.contracts.call_records import CallRecord
from keylease.primitives.clock import MICROSECONDS, SystemClock
from keylease.primitives.identifiers import uuid7

SCRUBBING = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0",
}
"""Environment in which every byte is overwritten when it is freed, so that memory holds exactly
what something still refers to (CPython's own allocator leaves bytes where they were until the
block is used again)."""
_UNPROCESSABLE = 422
_LARGE = 300_000


class Doors:
    """A client that knows every way in."""

    def __init__(self, url: str) -> None:
        self.family = Family()
        self.password = f"four words and {self.family.core.decode()}"
        self.wrong_password = f"other words and {self.family.core.decode()}"
        self.texts: list[bytes] = []
        """One-time link, session, enrolment code: what the platform itself gives out."""
        self.api = httpx.Client(base_url=url, timeout=60)
        self.email = ""

    @property
    def secrets(self) -> list[bytes]:
        """What must not be found."""
        return [self.family.core, *self.texts]

    def key(self) -> str:
        """A provider key that nobody has seen yet."""
        return self.family.key("sk-proj-").decode()

    def lease(self) -> str:
        """What a lease looks like, with the core in its signature."""
        signature = self.family.core.decode() + secrets.token_hex(31)
        return f"kll_eyJhbGciOiJFZERTQSJ9.eyJ{secrets.token_hex(20)}.{signature}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:  # noqa: ANN401 - JSON
        """An answer that must be good; its CSRF text is sent from then on."""
        answer = self.api.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        read = answer.json() if answer.content else {}
        if isinstance(read, dict) and read.get("csrf_token"):
            self.api.headers["x-csrf-token"] = read["csrf_token"]
        return read

    def set_up(self, link: str) -> None:
        """The owner sets a password by the one-time link, and signs in with it: right and wrong."""
        text = link.partition("#")[2]
        self.texts.append(text.encode())
        self.ask("POST", "/v1/sign-in/link", {"link": text})
        self.email = f"olga-{secrets.token_hex(4)}@acme.example"
        self.ask("POST", "/v1/sign-in-methods/introduction", {"name": "Olga", "email": self.email})
        self.ask("PUT", "/v1/sign-in-methods/password", {"password": self.password})
        wrong = {"email": self.email, "password": self.wrong_password}
        assert (
            self.api.post("/v1/sign-in/password", json=wrong).status_code
            == httpx.codes.UNAUTHORIZED
        )
        # The right one where nobody asks for it, so that the whole body is refused.
        odd = {"email": self.email, "password": self.password, "more": 1}
        assert self.api.post("/v1/sign-in/password", json=odd).status_code == _UNPROCESSABLE
        self.ask("POST", "/v1/sign-in/password", {"email": self.email, "password": self.password})
        self.texts.append(dict(self.api.cookies)["keylease_session"].encode())

    def paste_everywhere(self) -> None:
        """Keys and leases in bodies, members, queries, paths and headers: nothing takes them."""
        for paste in (self.key, self.lease):
            for send in self._refusing(paste):
                answer = send()
                assert answer.status_code == _UNPROCESSABLE, answer.text
            for send in self._ignoring(paste):
                answer = send()
                assert answer.status_code < 500, answer.text

    def _refusing(self, paste: Callable[[], str]) -> Iterator[Callable[[], httpx.Response]]:
        api, match = self.api, {"if-match": '"0"'}
        credential = {"name": "x", "provider": "openai", "purposes": ["development"]}
        yield lambda: api.post("/v1/credentials", json=credential | {"reference": paste()})
        yield lambda: api.post("/v1/projects", json={"name": "x", "description": paste()})
        yield lambda: api.post("/v1/projects", json={paste(): "x"})
        yield lambda: api.post("/v1/projects", content=f'{{"name": "{paste()}'.encode())
        yield lambda: api.post("/v1/projects", json={"name": paste() + " x" * _LARGE})
        yield lambda: api.post("/v1/policy-grants", json={"name": paste()})
        yield lambda: api.put("/v1/vendors/helper", json={"note": paste()}, headers=match)
        yield lambda: api.post("/v1/inventory/scans", json={"format": 1, "note": paste()})
        yield lambda: api.get("/v1/calls", params={"model": paste()})
        yield lambda: api.get("/v1/audit/entries", params={"object": paste()})

    def _ignoring(self, paste: Callable[[], str]) -> Iterator[Callable[[], httpx.Response]]:
        api = self.api
        yield lambda: api.get(f"/v1/projects/{paste()}")
        yield lambda: api.get(f"/v1/{paste()}/")
        yield lambda: api.get("/v1/projects", headers={"authorization": f"Bearer {paste()}"})
        yield lambda: api.get("/v1/projects", headers={"x-note": paste(), "user-agent": paste()})
        yield lambda: api.post(
            "/v1/projects",
            json={"name": f"p-{secrets.token_hex(4)}"},
            headers={"idempotency-key": paste()},
        )
        yield lambda: api.post("/v1/sign-in/link", json={"link": paste()})
        yield lambda: api.post(
            "/v1/sign-in/outside", json={"issuer_id": "x", "next": f"/{paste()}"}
        )
        yield lambda: api.get("/sign-in", params={"next": paste()})

    def push_as_gateway(self) -> None:
        """Enrol, then push what a good gateway would have masked: whole, and as nobody reads it."""
        clock = SystemClock()
        minted = self.ask("POST", "/v1/gateways/enrolment-codes", {"group": "edge"})
        self.texts.append(minted["code"].encode()[-20:])
        hand = GatewayHand(clock)  # type: ignore[arg-type]  # it only asks for the time
        wish = msgspec.json.encode(hand.wish(minted["code"], group="edge"))
        answer = self._signed(hand, wire.ENROLMENTS, wish)
        hand.gateway_id = msgspec.json.decode(answer, type=wire.EnrolmentAnswer).gateway_id
        record = msgspec.msgpack.encode(_record(clock, self.key()))
        push = wire.CallRecordPush(
            spool_id="spool-1",
            start=wire.SpoolPosition(),
            end=wire.SpoolPosition(segment=1, offset=100),
            records=(record, self.key().encode()),
        )
        self._signed(hand, wire.CALL_RECORDS, msgspec.msgpack.encode(push))
        entry = AuditEntry(
            id=uuid7(clock), sequence=1, at=clock.now(), action=AuditAction.LEASE_REFUSED,
            principal="workload:x", object=self.key(), reason=self.key(), organization_id="",
        )  # fmt: skip
        entries = wire.AuditPush(entries=(msgspec.json.encode(entry), self.key().encode()))
        self._signed(hand, wire.AUDIT_ENTRIES, msgspec.msgpack.encode(entries))

    def _signed(self, hand: GatewayHand, target: str, body: bytes) -> bytes:
        signed = hand.sign(target, body)
        kind = "msgpack" if target in {wire.CALL_RECORDS, wire.AUDIT_ENTRIES} else "json"
        headers = {
            wire.GATEWAY_HEADER: signed.gateway_id,
            wire.TIME_HEADER: signed.time,
            wire.NONCE_HEADER: signed.nonce,
            wire.SIGNATURE_HEADER: signed.signature,
            "content-type": f"application/{kind}",
        }
        answer = httpx.post(f"{self.api.base_url}{target}", content=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.content

    def wash(self) -> None:
        """Overwrite the one buffer into which the event loop reads what arrives."""
        for _ in range(3):
            innocent = httpx.post(f"{self.api.base_url}/v1/sign-in/link", content=b" " * _LARGE * 3)
            assert innocent.status_code == _UNPROCESSABLE


def _record(clock: SystemClock, key: str) -> CallRecord:
    return CallRecord(
        id=uuid7(clock),
        trace_id="0" * 32,
        span_id="0" * 16,
        organization_id="",
        principal="workload:x",
        lease_id="lease",
        purpose="development",
        environment="default",
        operation="chat",
        method="POST",
        path=f"/v1/{key}",
        requested_model=key,
        error=key,
        started_at=clock.now() - MICROSECONDS,
        duration=1000,
        status=200,
        policy_version=1,
        input=key,
    )
