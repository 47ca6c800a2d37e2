"""The control surface, ``/_sim/*``: keys, usage, failures and what was asked.

It is guarded by a bearer of its own, so that no key and no lease of a caller opens it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.http1.simple import Request, Response
from keylease.simulator.exchange import ProviderName
from keylease.simulator.failures import Failure
from keylease.simulator.keys import digest_of
from keylease.simulator.provider import World

PREFIX: Final = "/_sim/"
_KEY_PATH: Final = re.compile(r"/_sim/keys/([\w-]+)")


class _NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to accept, by its hash or, for convenience, itself; only the hash is kept."""

    sha256: str = ""
    secret: str = ""
    provider: ProviderName | None = None


class _NewPace(msgspec.Struct, forbid_unknown_fields=True):
    latency: float | None = None
    chunk_delay: float | None = None
    requests_per_minute: int | None = None


class _ControlRefused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers requests to ``/_sim/*``."""

    def __init__(self, token: str, world: World) -> None:
        self._token_hash = hashlib.sha256(token.encode()).digest()
        self._world = world
        self._routes: dict[str, Callable[[Request], object]] = {
            "POST /_sim/keys": self._add_key,
            "GET /_sim/keys": self._list_keys,
            "GET /_sim/usage": self._usage,
            "GET /_sim/requests": self._requests,
            "DELETE /_sim/requests": self._forget_requests,
            "POST /_sim/failures": self._inject,
            "GET /_sim/failures": self._list_failures,
            "DELETE /_sim/failures": self._clear_failures,
            "POST /_sim/pace": self._set_pace,
        }

    def handle(self, request: Request) -> Response:
        """Answer one control request."""
        try:
            self._check_bearer(request)
            value = self._answer(request)
            status = 200
        except _ControlRefused as refusal:
            status, value = refusal.status, {"error": str(refusal)}
        except msgspec.MsgspecError as error:
            status, value = 400, {"error": f"The request is not understood: {error}"}
        headers = (("content-type", "application/json"),)
        return Response(status=status, headers=headers, body=msgspec.json.encode(value))

    def _check_bearer(self, request: Request) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(hashlib.sha256(token).digest(), self._token_hash):
            raise _ControlRefused(401, "The control surface needs its own bearer token.")

    def _answer(self, request: Request) -> object:
        found = _KEY_PATH.fullmatch(request.path)
        if found is not None and request.method == "DELETE":
            return self._revoke(found[1])
        what = f"{request.method} {request.path}"
        if what not in self._routes:
            raise _ControlRefused(404, f"The control surface has no {what}.")
        return self._routes[what](request)

    def _list_keys(self, _request: Request) -> object:
        return {"data": self._world.keys.list()}

    def _add_key(self, request: Request) -> object:
        wanted = msgspec.json.decode(request.body, type=_NewKey)
        digest = wanted.sha256 or digest_of(wanted.secret.encode())
        if bool(wanted.sha256) == bool(wanted.secret) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise _ControlRefused(400, "Send either sha256 (64 hex digits) or secret.")
        second = self._world.clock.now() // MICROSECONDS
        return self._world.keys.add(digest, provider=wanted.provider, second=second)

    def _revoke(self, key_id: str) -> object:
        if not self._world.keys.revoke(key_id):
            raise _ControlRefused(404, "There is no such key.")
        return {"id": key_id, "revoked": True}

    def _usage(self, request: Request) -> object:
        fields = dict(parse_qsl(request.query))
        try:
            start = int(fields.get("start_time", "0"))
            end = int(fields["end_time"]) if "end_time" in fields else None
        except ValueError:
            raise _ControlRefused(400, "start_time and end_time are seconds since 1970.") from None
        return self._world.usage.page(start=start, end=end, key_id=fields.get("api_key_id", ""))

    def _list_failures(self, _request: Request) -> object:
        return {"data": self._world.failures.list()}

    def _inject(self, request: Request) -> object:
        self._world.failures.inject(msgspec.json.decode(request.body, type=Failure))
        return {"data": self._world.failures.list()}

    def _clear_failures(self, _request: Request) -> object:
        self._world.failures.clear()
        return {"data": []}

    def _set_pace(self, request: Request) -> object:
        wanted = msgspec.json.decode(request.body, type=_NewPace)
        pace = self._world.pace
        if wanted.latency is not None:
            pace.latency = wanted.latency
        if wanted.chunk_delay is not None:
            pace.chunk_delay = wanted.chunk_delay
        if wanted.requests_per_minute is not None:
            self._world.limit.per_minute = wanted.requests_per_minute or None
        return {
            "latency": pace.latency,
            "chunk_delay": pace.chunk_delay,
            "requests_per_minute": self._world.limit.per_minute,
        }

    def _requests(self, _request: Request) -> object:
        kept = []
        for record in self._world.recording.requests:
            value = msgspec.structs.asdict(record)
            value["body"] = record.body.decode("utf-8", "replace")
            kept.append(value)
        return {"total": self._world.recording.total, "data": kept}

    def _forget_requests(self, _request: Request) -> object:
        self._world.recording.clear()
        return {"total": self._world.recording.total, "data": []}
