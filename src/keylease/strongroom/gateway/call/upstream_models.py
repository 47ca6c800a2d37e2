"""Which models a provider serves to a credential, for the lists that callers get.

A policy mostly names models by patterns, and patterns have no names to list. So the provider is
asked with the credential that calls would use, and what it says is remembered for a while. What of
it a lease may use is decided by ``routing``.

Protects: the provider is asked for its list of models and nothing else; only well-formed names are
    taken from the answer, none that holds the credential.
Limits: at most ``_MAXIMUM_NAMES`` names in ``_MAXIMUM_BYTES``; a provider that fails, or takes more
    than ``_SECONDS``, has none for ``_PAUSE``: then the list has what the policy names by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.policy import Credential
from keylease.errors import KeyleaseError
from keylease.primitives.clock import Clock
from keylease.primitives.http1.interfaces import (
    Pool,
    ResponseHead,
    ResponseReceiver,
    UpstreamFailure,
)
from keylease.strongroom.gateway.call.credentials import Authentications
from keylease.strongroom.gateway.providers.interfaces import MODEL_ID

_SECONDS: Final = 3.0
_KEPT: Final = 300.0
_PAUSE: Final = 10.0
_MAXIMUM_BYTES: Final = 8 * 1024 * 1024
_MAXIMUM_NAMES: Final = 5000
_OK: Final = 200
_QUESTIONS: Final = {
    WireFormat.OPENAI: ("/models", b"accept: application/json\r\n"),
    WireFormat.ANTHROPIC: (
        "/v1/models?limit=1000",
        b"accept: application/json\r\nanthropic-version: 2023-06-01\r\n",
    ),
}
"""Path below the upstream's base URL, and the fields it asks for."""
_LIST: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRIES: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXT: Final = msgspec.json.Decoder(str)


class _Collector(ResponseReceiver):
    """Collects one answer; ``whole`` gives its body, empty where there is none to be used."""

    def __init__(self) -> None:
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []
        self._size = 0

    def head_received(self, head: ResponseHead) -> None:
        """Only a list is of use."""
        if head.status != _OK:
            self._end(b"")

    def data_received(self, data: bytes) -> None:
        """A piece of the list."""
        self._size += len(data)
        if self._size > _MAXIMUM_BYTES:
            self._end(b"")
        elif not self.whole.done():
            self._pieces.append(data)

    def response_complete(self) -> None:
        """It is whole."""
        self._end(b"".join(self._pieces))

    def failed(self, failure: UpstreamFailure) -> None:
        """There is none."""
        del failure
        self._end(b"")

    def pause_writing(self) -> None:
        """The question has no body."""

    def resume_writing(self) -> None:
        """The question has no body."""

    def _end(self, body: bytes) -> None:
        if not self.whole.done():
            self.whole.set_result(body)


class UpstreamModels:
    """What the providers of one worker said."""

    def __init__(self, authentications: Authentications, clock: Clock) -> None:
        self._authentications = authentications
        self._clock = clock
        self._known: dict[str, tuple[float, Credential, tuple[str, ...]]] = {}
        self._asking: dict[str, asyncio.Event] = {}

    async def names(
        self, credential: Credential, pool: Pool, prefix: str, wire_format: WireFormat
    ) -> tuple[str, ...]:
        """The models that ``credential`` opens at ``pool``; none where that cannot be said."""
        while (asking := self._asking.get(credential.id)) is not None:
            await asking.wait()
        known = self._known.get(credential.id)
        if known is not None and known[0] > self._clock.monotonic() and known[1] == credential:
            return known[2]
        asking = self._asking[credential.id] = asyncio.Event()
        try:
            names = await self._ask(credential, pool, prefix, wire_format)
        finally:
            del self._asking[credential.id]
            asking.set()
        until = self._clock.monotonic() + (_KEPT if names else _PAUSE)
        self._known[credential.id] = (until, credential, names)
        return names

    async def _ask(
        self, credential: Credential, pool: Pool, prefix: str, wire_format: WireFormat
    ) -> tuple[str, ...]:
        tail, fields = _QUESTIONS[wire_format]
        collector = _Collector()
        try:
            async with asyncio.timeout(_SECONDS):
                authentication = await self._authentications.fetch(credential, wire_format)
                request = pool.request(
                    method="GET",
                    target=f"{prefix}{tail}".encode("ascii"),
                    headers=authentication.header_lines + fields,
                    receiver=collector,
                )
                try:
                    body = await collector.whole
                finally:
                    request.cancel()
        except (KeyleaseError, TimeoutError):
            return ()  # a dead store or provider takes nothing else of the list away
        secret = authentication.secret.decode("latin-1")
        return tuple(name for name in _named_in(body) if not secret or secret not in name)


def _named_in(body: bytes) -> tuple[str, ...]:
    found: dict[str, None] = {}
    try:
        for entry in _ENTRIES.decode(_LIST.decode(body).get("data", b"[]"))[:_MAXIMUM_NAMES]:
            name = _TEXT.decode(entry.get("id", b'""'))
            if MODEL_ID.fullmatch(name):
                found[name] = None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(found)
