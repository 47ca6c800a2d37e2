"""Every path the gateway answers, and who answers it.

Protects: a path that is on no list gets a 404, whoever asks; nothing of a request but its method,
    its path and its listed fields has a say in where it goes.
Limits: paths are compared as they were received. Percent-encoded forms of a listed path are not
    listed, and so are 404.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from keylease.errors import (
    CallsNotAccepted,
    KeyleaseError,
    MethodNotAllowed,
    PathNotFound,
    RequestTooLarge,
)
from keylease.primitives.http1.interfaces import (
    HandlerFactory,
    Headers,
    RequestHandler,
    RequestHead,
    Responder,
)
from keylease.primitives.identifiers import Uuid7Maker
from keylease.strongroom.gateway.call.admission import Admission
from keylease.strongroom.gateway.call.answers import JSON_TYPE, NO_STORE, REQUEST_ID, send_error
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.call_head import CallHead
from keylease.strongroom.gateway.call.exchange import Exchange
from keylease.strongroom.gateway.call.static_keys import StaticKeys, WaitingCall, is_api_key
from keylease.strongroom.gateway.interfaces import CoordinatorLink, HttpAnswer
from keylease.strongroom.gateway.providers.anthropic import ANTHROPIC
from keylease.strongroom.gateway.providers.interfaces import Match, Surface
from keylease.strongroom.gateway.providers.openai import OPENAI
from keylease.strongroom.leases.verify import PresentedToken

_TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
_TOKEN_BODY: Final = 64 * 1024
_MODELS: Final = "/v1/models"
_ADVICE: Final = "The gateway serves the paths that its documentation lists, and no others."


class _Ignored(RequestHandler):
    """Takes what else comes of a request that was answered from its head."""

    def body_received(self, data: bytes) -> None:
        """Ignored."""

    def request_complete(self) -> None:
        """Ignored."""

    def client_gone(self) -> None:
        """Ignored."""

    def pause_writing(self) -> None:
        """Ignored."""

    def resume_writing(self) -> None:
        """Ignored."""


_IGNORED: Final = _Ignored()


class _TokenExchange(_Ignored):
    """``POST /oauth/token``: the coordinator answers."""

    def __init__(
        self, *, environment: CallEnvironment, head: RequestHead, responder: Responder, request: str
    ) -> None:
        self._environment = environment
        self._head = head
        self._responder = responder
        self._request_id = request
        self._form = bytearray()
        self._done = False

    def body_received(self, data: bytes) -> None:
        """A piece of the form."""
        if self._done:
            return
        self._form += data
        if len(self._form) > _TOKEN_BODY:
            self._done = True
            error = RequestTooLarge(f"The form is larger than {_TOKEN_BODY} bytes.")
            _send_plain_error(self._responder, error, self._request_id)

    def request_complete(self) -> None:
        """Ask the coordinator."""
        if not self._done:
            self._environment.tasks.start(self._ask(), name="exchange a token")

    async def _ask(self) -> None:
        head = self._head
        try:
            answer = await self._environment.link.exchange_token(
                form=bytes(self._form),
                content_type=(head.header(b"content-type") or b"").decode("latin-1"),
                dpop=(head.header(b"dpop") or b"").decode("latin-1"),
                peer=self._responder.peer,
                certificate=self._responder.certificate,
            )
        except KeyleaseError as error:
            _send_plain_error(self._responder, error, self._request_id)
        except BaseException:
            defect = KeyleaseError("The gateway failed to answer.")
            _send_plain_error(self._responder, defect, self._request_id)
            raise
        else:
            _send_answer(self._responder, answer, self._request_id)


class Listener(HandlerFactory):
    """The ``HandlerFactory`` of a worker."""

    def __init__(
        self,
        *,
        environment: CallEnvironment,
        admission: Admission,
        link: CoordinatorLink,
        ready: Callable[[], HttpAnswer],
        static_keys: StaticKeys | None = None,
    ) -> None:
        self._environment = environment
        self._new_request_id = Uuid7Maker(environment.clock)
        self._admission = admission
        self._link = link
        self._ready = ready
        self._static_keys = static_keys
        self._exact: dict[str, tuple[Surface, Match]] = {}
        for prefix in ("/v1", "/openai/v1"):
            for tail, match in OPENAI.exact_paths().items():
                self._exact[prefix + tail] = (OPENAI, match)
        for prefix in ("", "/anthropic"):
            for tail, match in ANTHROPIC.exact_paths().items():
                if prefix or tail != _MODELS:
                    self._exact[prefix + tail] = (ANTHROPIC, match)
        self._own: dict[str, Callable[[RequestHead, Responder, str], RequestHandler]] = {
            _TOKEN_PATH: self._token,
            "/.well-known/jwks.json": self._jwks,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }

    def __call__(self, head: RequestHead, responder: Responder) -> RequestHandler:
        """Decide who handles a request."""
        request_id = self._new_request_id()
        call_head = head.notes
        if type(call_head) is CallHead:
            return self._call(head, call_head, responder, request_id)
        path = head.path
        found = self._exact.get(path)
        if found is None or path == _MODELS:
            own = self._own.get(path)
            if own is not None:
                return own(head, responder, request_id)
            surface = _surface_of(head)
            if surface is None:
                error = PathNotFound("There is nothing at this path.", advice=_ADVICE)
                return _send_plain_error(responder, error, request_id)
            match = surface.match(_tail(path, surface))
        else:
            surface, match = found
        try:
            call_head = head.notes = _read(head, surface, match)
        except KeyleaseError as error:
            send_error(responder, surface, error, request_id)
            return _IGNORED
        return self._call(head, call_head, responder, request_id)

    def _call(
        self, head: RequestHead, call_head: CallHead, responder: Responder, request_id: str
    ) -> RequestHandler:
        keys = self._static_keys
        key = call_head.fields.token
        if keys is not None and key is not None and is_api_key(key.secret_bytes):
            lease = keys.known(key)
            if lease is None:
                return self._exchange_first(keys, key, head, call_head, responder, request_id)
            return self._admitted(head, call_head, responder, request_id, lease)
        return self._admitted(head, call_head, responder, request_id, None)

    def _admitted(
        self,
        head: RequestHead,
        call_head: CallHead,
        responder: Responder,
        request_id: str,
        lease: PresentedToken | None,
    ) -> RequestHandler:
        try:
            # 1. The call can be recorded.
            if not self._link.accepts_calls():
                raise CallsNotAccepted(
                    "The gateway cannot record calls at the moment and serves none.",
                    advice="Its spool is full or its disk is: the owner has to make room.",
                )
            # 2. The lease is good: now, and not only when this head was read first.
            claims = self._admission.admit(head, call_head.fields, lease, responder.certificate)
        except KeyleaseError as error:
            send_error(responder, call_head.surface, error, request_id)
            return _IGNORED
        exchange = Exchange(
            environment=self._environment,
            head=call_head,
            responder=responder,
            claims=claims,
            request_id=request_id,
        )
        exchange.begin(head)
        return exchange

    def _exchange_first(
        self,
        keys: StaticKeys,
        key: PresentedToken,
        head: RequestHead,
        call_head: CallHead,
        responder: Responder,
        request_id: str,
    ) -> RequestHandler:
        waiting = WaitingCall(
            responder,
            lambda lease: self._admitted(head, call_head, responder, request_id, lease),
        )
        self._environment.tasks.start(
            waiting.run(
                keys,
                key,
                lambda error: send_error(responder, call_head.surface, error, request_id),
            ),
            name="exchange an API key",
        )
        return waiting

    # --- our own endpoints -----------------------------------------------------------------------

    def _token(self, head: RequestHead, responder: Responder, request_id: str) -> RequestHandler:
        if head.method != "POST":
            return _wrong_method(responder, "POST", request_id=request_id)
        return _TokenExchange(
            environment=self._environment, head=head, responder=responder, request=request_id
        )

    def _jwks(self, head: RequestHead, responder: Responder, request_id: str) -> RequestHandler:
        if head.method not in ("GET", "HEAD"):
            return _wrong_method(responder, "GET", "HEAD", request_id=request_id)
        headers: Headers = [
            (b"content-type", b"application/jwk-set+json"),
            (b"cache-control", b"public, max-age=300"),
            (REQUEST_ID, request_id.encode()),
        ]
        responder.send(200, headers, self._link.jwks())
        return _IGNORED

    def _healthz(self, head: RequestHead, responder: Responder, request_id: str) -> RequestHandler:
        if head.method not in ("GET", "HEAD"):
            return _wrong_method(responder, "GET", "HEAD", request_id=request_id)
        headers = [JSON_TYPE, NO_STORE, (REQUEST_ID, request_id.encode())]
        responder.send(200, headers, b'{"status":"ok"}')
        return _IGNORED

    def _readyz(self, head: RequestHead, responder: Responder, request_id: str) -> RequestHandler:
        if head.method not in ("GET", "HEAD"):
            return _wrong_method(responder, "GET", "HEAD", request_id=request_id)
        _send_answer(responder, self._ready(), request_id)
        return _IGNORED


def _read(head: RequestHead, surface: Surface, match: Match | None) -> CallHead:
    """Whether the method and the path are on the provider's list, and what the fields say."""
    if match is None:
        raise PathNotFound("This path of the API is not served here.", advice=_ADVICE)
    operation = match.methods.get(head.method)
    if operation is None:
        raise _not_allowed(*sorted(match.methods))
    return CallHead(head, surface=surface, operation=operation, object_id=match.object_id)


def _surface_of(head: RequestHead) -> Surface | None:
    path = head.path
    if path.startswith("/anthropic/"):
        return ANTHROPIC
    if path.startswith("/openai/v1/"):
        return OPENAI
    if path.startswith("/v1/messages/"):
        return ANTHROPIC
    if path == _MODELS or path.startswith(_MODELS + "/"):
        return ANTHROPIC if _speaks_anthropic(head) else OPENAI
    return OPENAI if path.startswith("/v1/") else None


def _speaks_anthropic(head: RequestHead) -> bool:
    return any(name == b"anthropic-version" for name, _ in head.headers)


def _tail(path: str, surface: Surface) -> str:
    """The path below the API's root."""
    if surface is ANTHROPIC:
        return path.removeprefix("/anthropic")
    return path.removeprefix("/openai").removeprefix("/v1")


def _not_allowed(*methods: str) -> MethodNotAllowed:
    return MethodNotAllowed(f"This path takes {', '.join(methods)}.", allowed=methods)


def _wrong_method(responder: Responder, *methods: str, request_id: str) -> RequestHandler:
    return _send_plain_error(responder, _not_allowed(*methods), request_id)


def _send_plain_error(
    responder: Responder, error: KeyleaseError, request_id: str
) -> RequestHandler:
    body = {"error": error.code, "error_description": str(error), "request_id": request_id}
    headers = [JSON_TYPE, NO_STORE, (REQUEST_ID, request_id.encode())]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    responder.send(error.http_status, headers, msgspec.json.encode(body))
    return _IGNORED


def _send_answer(responder: Responder, answer: HttpAnswer, request_id: str) -> None:
    headers: Headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers
    ]
    headers.append((REQUEST_ID, request_id.encode()))
    responder.send(answer.status, headers, answer.body)
