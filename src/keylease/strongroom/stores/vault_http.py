"""One HTTP exchange with Vault or OpenBao: small, bounded, and never anywhere but its address.

Protects: no proxy, no redirect, no variable changes where a token is sent; TLS is verified, with
    the CA file from gateway.toml if there is one; answers are bounded.
Does not protect: a token on the way to an ``http://`` address; the posture says so.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from keylease.errors import SecretInvalid, StoreTimedOut, StoreUnavailable, StoreUnsupported
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.posture import Posture

MAXIMUM_ANSWER: Final = 1024 * 1024
_PRECONDITION: Final = 412
"""Vault Enterprise: this node has not caught up with a write yet; try again."""


class VaultAnswer:
    """Status and body. The body may hold a secret, so it is not shown."""

    __slots__ = ("_body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    def __repr__(self) -> str:
        return f"VaultAnswer(status={self.status}, {len(self._body)} bytes)"

    def document(self) -> dict[str, Any]:
        """The JSON object in the body. Raises ``SecretInvalid``."""
        try:
            return msgspec.json.decode(self._body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        raise SecretInvalid(
            "Vault answered with something that is no JSON object.",
            advice="Check that address under [stores.vault] is that of Vault or OpenBao itself.",
        )

    def mentions(self, word: str) -> bool:
        """Whether an error answer contains ``word``."""
        return word.encode() in self._body.lower()


class VaultHttp:
    """Sends requests to ``vault_address``."""

    def __init__(
        self,
        settings: StoreSettings,
        *,
        posture: Posture,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._address = _checked_address(settings.vault_address, posture)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("httpcore").setLevel(logging.WARNING)
        self._client = httpx.AsyncClient(
            verify=_tls(settings.vault_ca_file),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(settings.timeout_seconds),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(
        self, method: str, path: str, *, token: Secret | None = None, body: bytes | None = None
    ) -> VaultAnswer:
        """One request below ``/v1/``, tried once.

        Gives answers with the status 200 to 299, 400, 403 and 404; the rest is raised as
        ``StoreUnavailable`` or ``StoreTimedOut``.
        """
        headers = {"X-Vault-Request": "true", "Accept": "application/json"}
        if self._settings.vault_namespace:
            headers["X-Vault-Namespace"] = self._settings.vault_namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal(why="authenticate to Vault").decode("latin-1")
        url = f"{self._address}/v1/{quote(path, safe='/')}"
        failure: StoreUnavailable
        try:
            async with self._client.stream(method, url, headers=headers, content=body) as response:
                answer = VaultAnswer(response.status_code, await _bounded(response))
        except httpx.TimeoutException:
            failure = _timed_out(self._settings)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            failure = _unreachable(type(error).__name__)
        else:
            _raise_for_state(answer)
            return answer
        # Raised here, where the foreign error, which may refer to the request, is not around.
        raise failure


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAXIMUM_ANSWER:
            raise SecretInvalid(
                f"Vault answered with more than {MAXIMUM_ANSWER} bytes.",
                advice="Check that address under [stores.vault] is that of Vault itself.",
            )
    return bytes(body)


def _raise_for_state(answer: VaultAnswer) -> None:
    """Turn what is wrong with the server, rather than with the request, into errors."""
    status = answer.status
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status < HTTPStatus.BAD_REQUEST:
        raise StoreUnavailable(
            "Vault answered with a redirect, as a standby node does.",
            advice="Set address under [stores.vault] to the active node or to a balancer.",
        )
    if status == HTTPStatus.SERVICE_UNAVAILABLE and answer.mentions("sealed"):
        raise StoreUnavailable("Vault is sealed.", advice="Unseal it.")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise StoreUnavailable(
            "Vault limits our requests, or this node is a standby.",
            advice="Raise the rate limit quota of the mount, or check the address.",
        )
    if status == _PRECONDITION:
        raise StoreUnavailable(
            "The Vault node has not caught up with the active one yet.",
            advice="It was tried again; if it lasts, set address to the active node.",
        )
    raise StoreUnavailable(
        f"Vault answered with the status {status}.", advice="Its own log says why."
    )


def _checked_address(address: str, posture: Posture) -> str:
    if not address:
        raise StoreUnsupported(
            "vault:// references need the address of Vault or OpenBao.",
            advice="Set address under [stores.vault] in gateway.toml.",
        )
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme not in {"https", "http"} or not host or parts.query or parts.username:
        raise StoreUnsupported(
            "The address of Vault is no plain https:// address.",
            advice="Write it like https://vault.example.com:8200 in gateway.toml.",
        )
    if parts.scheme == "http" and not _is_loopback(host):
        posture.note("vault:http", f"Vault at {host} is reached without TLS.")
    return address.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(ca_file: str) -> ssl.SSLContext:
    # Not create_default_context: that one writes TLS keys to SSLKEYLOGFILE when it is set.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not ca_file:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise StoreUnsupported(
            f"The CA file {ca_file} cannot be read as certificates.",
            advice="Check ca_file under [stores.vault] in gateway.toml.",
        ) from None
    return context


def _timed_out(settings: StoreSettings) -> StoreTimedOut:
    return StoreTimedOut(
        f"Vault did not answer in {settings.timeout_seconds:g} seconds.",
        advice="Check the network, or raise timeout under [stores] in gateway.toml.",
    )


def _unreachable(kind: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"Vault cannot be reached ({kind}).",
        advice="Check that it runs, and address and ca_file under [stores.vault] in gateway.toml.",
    )
