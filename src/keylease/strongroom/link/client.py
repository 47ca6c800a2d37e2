"""Asks the platform: every request signed by this gateway's key, every answer bounded.

Protects: only the address of gateway.toml is asked, over TLS beyond loopback; a redirect is an
    error; an answer is bounded in size and time, and nothing of it is repeated in a message but a
    code of our own alphabet. A request is good once, for this platform, for minutes.
Does not protect: what is said. The platform learns references, names and records, as it must.
"""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts import platform_link as wire
from keylease.contracts.bundles import MAXIMUM_BUNDLE_BYTES
from keylease.errors import EgressRefused, GatewayRevoked, PlatformRefused, PlatformUnreachable
from keylease.primitives.clock import Clock
from keylease.primitives.egress import Resolver, guarded_client, resolve
from keylease.primitives.signatures import encode_base64url
from keylease.strongroom.configuration import PlatformSettings

_POLL_SLACK: Final = 20.0
"""Seconds beyond the longest wait, for a large bundle on a slow line."""
_TIMEOUT: Final = 30.0
_MAXIMUM_POLL: Final = MAXIMUM_BUNDLE_BYTES * 3 // 2
_MAXIMUM_ANSWER: Final = 64 * 1024
_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"
_CODE: Final = re.compile(r"[a-z][a-z_]{0,63}")
_OK: Final = 200
_BAD_REQUEST: Final = 400
_SERVER_ERROR: Final = 500
_LATER: Final = frozenset({408, 425, 429})
_CLOCK: Final = "request_time_refused"

Answer = TypeVar("Answer", bound=msgspec.Struct)


class LinkClient:
    """One gateway's requests. Close it when done."""

    def __init__(
        self,
        settings: PlatformSettings,
        *,
        key: Ed25519PrivateKey,
        gateway_id: str,
        clock: Clock,
        resolver: Resolver = resolve,
    ) -> None:
        """``gateway_id`` is ``ENROLLING`` while there is none."""
        self._url = settings.url
        self._key = key
        self._gateway_id = gateway_id
        self._clock = clock
        own = urlsplit(settings.url).hostname

        def client(*, timeout: float, maximum_bytes: int) -> httpx.AsyncClient:
            return guarded_client(
                # The owner of gateway.toml named this host; its address may be a private one.
                allow_private=lambda host: host == own,
                timeout=timeout,
                maximum_bytes=maximum_bytes,
                ca_file=settings.ca_file or None,
                resolver=resolver,
            )

        self._polls = client(timeout=wire.LONGEST_WAIT + _POLL_SLACK, maximum_bytes=_MAXIMUM_POLL)
        self._others = client(timeout=_TIMEOUT, maximum_bytes=_MAXIMUM_ANSWER)

    # --- what is asked; each raises PlatformUnreachable, PlatformRefused or GatewayRevoked -----

    async def enroll(self, request: wire.EnrolmentRequest) -> wire.EnrolmentAnswer:
        """Register this gateway's key."""
        body = msgspec.json.encode(request)
        return await self._ask(self._others, wire.ENROLMENTS, body, _JSON, wire.EnrolmentAnswer)

    async def poll(self, request: wire.PollRequest) -> wire.PollAnswer:
        """Say how we are and wait for news."""
        body = msgspec.json.encode(request)
        return await self._ask(self._polls, wire.POLL, body, _JSON, wire.PollAnswer)

    async def push_call_records(self, push: wire.CallRecordPush) -> wire.PushAnswer:
        """Hand over a batch; it is durable there when this returns."""
        body = msgspec.msgpack.encode(push)
        return await self._ask(self._others, wire.CALL_RECORDS, body, _MSGPACK, wire.PushAnswer)

    async def push_audit_entries(self, push: wire.AuditPush) -> wire.PushAnswer:
        """Hand over a batch; it is durable there when this returns."""
        body = msgspec.msgpack.encode(push)
        return await self._ask(self._others, wire.AUDIT_ENTRIES, body, _MSGPACK, wire.PushAnswer)

    async def push_cosignature(self, cosignature: wire.Cosignature) -> wire.PushAnswer:
        """Hand over what this gateway witnessed."""
        body = msgspec.json.encode(cosignature)
        return await self._ask(self._others, wire.COSIGNATURES, body, _JSON, wire.PushAnswer)

    async def push_fingerprints(self, push: wire.FingerprintPush) -> wire.PushAnswer:
        """Tell by what fetched secrets are recognised; it is durable there when this returns."""
        body = msgspec.json.encode(push)
        return await self._ask(self._others, wire.FINGERPRINTS, body, _JSON, wire.PushAnswer)

    # --- how -------------------------------------------------------------------------------

    async def _ask(
        self,
        client: httpx.AsyncClient,
        target: str,
        body: bytes,
        media_type: str,
        kind: type[Answer],
    ) -> Answer:
        headers = {**self._signature(target, body), "content-type": media_type}
        try:
            answer = await client.post(self._url + target, content=body, headers=headers)
        except EgressRefused as error:
            raise PlatformUnreachable(
                f"The platform cannot be asked: {error.message}", advice=error.advice
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PlatformUnreachable(
                f"The platform does not answer ({type(error).__name__})."
            ) from error
        if answer.status_code != _OK:
            raise _refusal(answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PlatformUnreachable(
                "What answers at the platform's address speaks another language.",
                advice="Compare `url` in gateway.toml, and the versions on both sides.",
            ) from error

    def _signature(self, target: str, body: bytes) -> dict[str, str]:
        time = str(self._clock.now())
        nonce = encode_base64url(os.urandom(wire.NONCE_BYTES)).decode()
        signed = wire.signing_input(
            method="POST",
            target=target,
            body=body,
            gateway_id=self._gateway_id,
            time=time,
            nonce=nonce,
        )
        return {
            wire.GATEWAY_HEADER: self._gateway_id,
            wire.TIME_HEADER: time,
            wire.NONCE_HEADER: nonce,
            wire.SIGNATURE_HEADER: encode_base64url(self._key.sign(signed)).decode(),
        }

    async def close(self) -> None:
        """Close every connection."""
        await self._polls.aclose()
        await self._others.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _refusal(answer: httpx.Response) -> PlatformUnreachable | PlatformRefused | GatewayRevoked:
    """The error for an answer that is none, with nothing in it that the other side wrote."""
    status = answer.status_code
    if status < _BAD_REQUEST or status >= _SERVER_ERROR or status in _LATER:
        return PlatformUnreachable(f"The platform answers with status {status}.")
    try:
        refusal = msgspec.json.decode(answer.content, type=wire.LinkRefusal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        refusal = wire.LinkRefusal()
    code = refusal.code if _CODE.fullmatch(refusal.code) else f"status_{status}"
    if code == GatewayRevoked.code:
        return GatewayRevoked(
            "The platform has revoked this gateway.",
            advice="If that was not meant, enroll it again with a new code.",
        )
    advice = "Compare the clocks of this machine and of the platform." if code == _CLOCK else ""
    return PlatformRefused(f"The platform refuses: {code}.", reason=code, advice=advice)
