"""Signed in to the platform: the stored sign-in, the device flow, identity tokens.

    stored = StoredSignIns(config_dir).read()
    headers = authorization(url, api_key="", stored=stored)

Protects: the text of a session lies in a file of the configuration directory, mode 0600, and is
    sent to the very server that gave it and to no other. Neither it nor an API key is sent without
    TLS beyond this machine. Nothing of it is printed.
Does not protect: against programs of the same user, who can read the file.
Limits: one server at a time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from keylease.errors import (
    ApiProblem,
    EgressRefused,
    NotSignedIn,
    ServerUnreachable,
    SettingsInvalid,
    StorageError,
)
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.egress import guarded_client

SIGN_IN_FILE: Final = "sign-in.json"
CLIENT_ID: Final = "keylease-cli"
EXCHANGE_AFTER: Final = 24 * 3600
"""Seconds after which a session's text is exchanged for a new one."""
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_FORMAT: Final = 1
_MAXIMUM_FILE: Final = 16 * 1024
_MAXIMUM_ANSWER: Final = 1024 * 1024
_TIMEOUT: Final = 15.0
_LOCK_SECONDS: Final = 10.0
_FIRST_FAILURE: Final = 400
_UNAUTHORIZED: Final = 401
_LATER: Final = frozenset({429, 503})
T = TypeVar("T")


class StoredSignIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session of this command line."""

    format: int = _FORMAT
    server: str
    """The address it is good at, exactly."""
    text: str
    renewed_at: int
    """Microseconds UTC."""

    def __repr__(self) -> str:
        return f"StoredSignIn(server={self.server!r}, text=********)"


class StoredSignIns:
    """The file with the sign-in of this user."""

    def __init__(self, config_directory: Path) -> None:
        self.path: Final = config_directory / SIGN_IN_FILE

    def read(self) -> StoredSignIn | None:
        """The sign-in, if there is one. Raises ``SettingsInvalid`` for a file that is none."""
        try:
            mode = self.path.stat().st_mode
            content = files.read_bounded(self.path, maximum=_MAXIMUM_FILE)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsInvalid(f"{self.path} cannot be read: {error.strerror}.") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsInvalid(
                f"{self.path} may be read by others.",
                advice="Sign out, which ends the session, and sign in again.",
            )
        try:
            stored = msgspec.json.decode(content, type=StoredSignIn)
        except msgspec.DecodeError as error:
            raise SettingsInvalid(
                f"{self.path} is no stored sign-in.", advice="Remove it, and sign in again."
            ) from error
        if stored.format != _FORMAT:
            raise SettingsInvalid(
                f"{self.path} was written by a newer Keylease.",
                advice="Sign in again with this one.",
            )
        return stored

    def write(self, sign_in: StoredSignIn) -> None:
        """Keep a sign-in. Raises ``StorageError``."""
        files.make_private_directory(self.path.parent)
        files.replace(self.path, msgspec.json.encode(sign_in))

    def forget(self) -> None:
        """Remove it; there need not be one."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be removed: {error.strerror}.") from error


def authorization(url: str, *, api_key: str, stored: StoredSignIn | None) -> dict[str, str]:
    """The header to send to ``url``: the API key if there is one, else the sign-in of that server.

    Empty when there is neither. Raises ``SettingsInvalid`` when it would leave this machine in
    the clear.
    """
    if api_key:
        text = api_key
    elif stored is not None and stored.server == url:
        text = stored.text
    else:
        return {}
    if not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsInvalid("The API key has characters that no key has.")
    check_address(url)
    return {"Authorization": f"Bearer {text}"}


def check_address(url: str, *, what: str = "A sign-in or API key") -> None:
    """Raise ``SettingsInvalid`` unless ``what`` may be sent there: https, or this machine."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise SettingsInvalid("That is not the address of a server.", advice="Such as https://...")
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise SettingsInvalid(
            f"{what} is not sent without TLS beyond this machine.",
            advice="Use the server's https address.",
        )


def is_this_machine(host: str) -> bool:
    """Whether a host of an address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- the device flow -----------------------------------------------------------------------


class DeviceCodes(msgspec.Struct, frozen=True):
    """What the server has told this device."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int

    def __repr__(self) -> str:
        return "DeviceCodes(********)"


class _Said(msgspec.Struct, frozen=True):
    """What the two OAuth endpoints answer."""

    access_token: str = ""
    error: str = ""
    error_description: str = ""


class DeviceSignIn:
    """Signs a command line in from a browser (RFC 8628)."""

    def __init__(
        self,
        server: str,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ``SettingsInvalid`` for an address that secrets are not sent to."""
        check_address(server)
        self._server = server
        self._clock = clock
        self._sleep = sleep

    async def begin(self) -> DeviceCodes:
        """Ask for codes. Raises ``ServerUnreachable`` and ``ApiProblem``."""
        form = {"client_id": CLIENT_ID, "device_name": socket.gethostname()[:60]}
        async with _client(self._server) as client:
            answer = await _sent(client, "POST", "/oauth/device_authorization", form=form)
        codes = _read(self._server, answer, DeviceCodes)
        if not codes.verification_uri.startswith(f"{self._server}/"):
            # A server that sends people elsewhere to sign in is not the one they have named.
            raise ServerUnreachable(
                f"{self._server} is known to itself by another address: "
                f"{_origin(codes.verification_uri)}.",
                advice="Use that address, if it is the one you trust.",
            )
        return codes

    async def wait(self, codes: DeviceCodes) -> StoredSignIn:
        """Ask until somebody has decided. Raises ``NotSignedIn`` when it is refused or too late."""
        ends = self._clock.monotonic() + codes.expires_in
        interval = max(1, codes.interval)
        form = {
            "grant_type": _GRANT_TYPE,
            "client_id": CLIENT_ID,
            "device_code": codes.device_code,
        }
        async with _client(self._server) as client:
            while self._clock.monotonic() < ends:
                await self._sleep(interval)
                said = await self._asked(client, form)
                if said.access_token:
                    return StoredSignIn(
                        server=self._server,
                        text=said.access_token,
                        renewed_at=self._clock.now(),
                    )
                if said.error == "slow_down":
                    interval += 5
                elif said.error != "authorization_pending":
                    raise NotSignedIn(
                        "The device was refused, or its code has expired.",
                        advice="Run `keylease login` again.",
                    )
        raise NotSignedIn("Nobody has approved in time.", advice="Run `keylease login` again.")

    async def _asked(self, client: httpx.AsyncClient, form: dict[str, str]) -> _Said:
        """One question; a server that is away for a moment has not decided anything."""
        try:
            answer = await _sent(client, "POST", "/oauth/token", form=form)
        except ServerUnreachable:
            return _Said(error="authorization_pending")
        if answer.status_code in _LATER:
            return _Said(error="slow_down")
        if answer.status_code not in {httpx.codes.OK, _FIRST_FAILURE}:
            raise problem_of(self._server, answer)
        return _decoded(self._server, answer, _Said)


# --- with a session ------------------------------------------------------------------------


async def exchanged(stored: StoredSignIn, sign_ins: StoredSignIns, *, clock: Clock) -> StoredSignIn:
    """The sign-in, with a new text when the one at hand is a day old.

    Of two commands at the same moment one exchanges it, and the other reads what that one kept.
    """
    if clock.now() - stored.renewed_at < EXCHANGE_AFTER * MICROSECONDS:
        return stored
    with files.locked(sign_ins.path.with_suffix(".lock"), seconds=_LOCK_SECONDS):
        current = sign_ins.read()
        if current is None or current.text != stored.text:
            return current or stored
        headers = authorization(stored.server, api_key="", stored=stored)
        async with _client(stored.server, headers) as client:
            answer = await _sent(client, "POST", "/v1/session/exchange")
        body = _read(stored.server, answer, dict[str, Any])
        renewed = msgspec.structs.replace(
            stored, text=str(body["session_text"]), renewed_at=clock.now()
        )
        sign_ins.write(renewed)
    return renewed


async def sign_out(stored: StoredSignIn) -> None:
    """End the session at the server. Raises ``ServerUnreachable``; one that has ended is fine."""
    headers = authorization(stored.server, api_key="", stored=stored)
    async with _client(stored.server, headers) as client:
        answer = await _sent(client, "DELETE", "/v1/session")
    if answer.status_code not in {204, _UNAUTHORIZED}:
        raise problem_of(stored.server, answer)


def identity_tokens(
    url: str, headers: dict[str, str], *, gateway_group: str
) -> Callable[[], Awaitable[str]]:
    """For ``leases.TokenExchangeSource``: asks the platform for a fresh token at every call.

    ``headers`` are those of ``authorization``.
    """

    async def token() -> str:
        async with _client(url, headers) as client:
            answer = await _sent(
                client, "POST", "/v1/identity-token", body={"gateway_group": gateway_group}
            )
        return str(_read(url, answer, dict[str, Any])["token"])

    return token


# --- requests ------------------------------------------------------------------------------


@asynccontextmanager
async def _client(
    server: str, headers: dict[str, str] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    client = guarded_client(
        allow_private=True, timeout=_TIMEOUT, maximum_bytes=_MAXIMUM_ANSWER, headers=headers
    )
    async with client:
        client.base_url = httpx.URL(server)
        yield client


async def _sent(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    form: dict[str, str] | None = None,
    body: dict[str, str] | None = None,
) -> httpx.Response:
    try:
        return await client.request(method, path, data=form, json=body)
    except (httpx.HTTPError, EgressRefused) as error:
        raise unreachable(str(client.base_url).rstrip("/"), error) from error


def unreachable(server: str, error: Exception) -> ServerUnreachable:
    """Why the platform at ``server`` did not answer, in words."""
    match error:
        case EgressRefused():
            reason = error.message.rstrip(".")
        case httpx.ConnectError():
            reason = "nothing takes connections there"
        case httpx.TimeoutException():
            reason = "it does not answer in time"
        case _:
            reason = f"the connection broke ({type(error).__name__})"
    return ServerUnreachable(
        f"{server} cannot be reached: {reason}.",
        advice="Start it with `keylease up`, or name its address with --server or"
        " KEYLEASE_SERVER_URL.",
    )


def _read(server: str, answer: httpx.Response, kind: type[T]) -> T:
    if answer.status_code >= _FIRST_FAILURE:
        raise problem_of(server, answer)
    return _decoded(server, answer, kind)


def _decoded(server: str, answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise not_the_platform(server) from error


def not_the_platform(server: str) -> ServerUnreachable:
    """Something answers at ``server``, and it is not the platform."""
    return ServerUnreachable(
        f"{server} does not answer as the platform does.",
        advice="Is it the server's address, and not a gateway's? `keylease up` prints both.",
    )


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    code: str = ""
    advice: str = ""


def problem_of(server: str, answer: httpx.Response) -> ApiProblem | NotSignedIn | ServerUnreachable:
    """What a problem document (RFC 9457) says, as an error."""
    try:
        said = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        return not_the_platform(server)
    if not said.code and not said.detail:
        return not_the_platform(server)  # a gateway's errors are JSON, too
    if answer.status_code == _UNAUTHORIZED:
        return NotSignedIn(said.detail, advice="Sign in with `keylease login`.")
    return ApiProblem(
        said.detail,
        status=answer.status_code,
        reason=said.code,
        advice=said.advice,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.hostname else "no address"
