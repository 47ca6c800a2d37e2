"""What is said to an outside issuer: metadata and keys, the exchange of a code, user info.

Protects: everything goes through the egress guard: no redirects, bounded size and time, no private
    address but of hosts that the server's own configuration names.
Limits: answers of issuers are trusted for what the issuer's tokens say, and no further.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from urllib.parse import quote_plus, urlsplit

import httpx

from keylease.errors import EgressRefused, IssuerUnavailable, SignatureInvalid, SignInRefused
from keylease.primitives.clock import Clock
from keylease.primitives.egress import guarded_client
from keylease.primitives.openid_issuer import IssuerAddress, IssuerKeys
from keylease.primitives.signatures import read_json_object

_MAXIMUM_ISSUERS: Final = 100
_TIMEOUT: Final = 10.0
_MAXIMUM_BYTES: Final = 256 * 1024


class IssuerClients:
    """One client for each issuer, shared by every sign-in."""

    def __init__(self, *, clock: Clock, private_hosts: frozenset[str]) -> None:
        self._clock = clock
        self._private_hosts = private_hosts
        self._keys: OrderedDict[str, IssuerKeys] = OrderedDict()
        self._client: httpx.AsyncClient | None = None

    def may_be_asked(self, url: str) -> bool:
        """Whether a URL may be one of an issuer: https, or a private host that is allowed."""
        parts = urlsplit(url)
        return bool(parts.hostname) and (
            parts.scheme == "https"
            or (parts.scheme == "http" and parts.hostname in self._private_hosts)
        )

    async def keys(self, issuer: str) -> IssuerKeys:
        """The metadata and keys of an issuer, cached by its name."""
        found = self._keys.get(issuer)
        if found is None:
            address = IssuerAddress(issuer=issuer, allow_private=self._is_private)
            found = self._keys[issuer] = IssuerKeys(address, clock=self._clock)
            while len(self._keys) > _MAXIMUM_ISSUERS:
                _, oldest = self._keys.popitem(last=False)
                await oldest.close()
        self._keys.move_to_end(issuer)
        return found

    async def endpoint(self, issuer: str, name: str) -> str:
        """An endpoint of the issuer's metadata; empty when it has none that may be asked."""
        metadata = await (await self.keys(issuer)).metadata()
        value = metadata.get(name)
        return value if isinstance(value, str) and self.may_be_asked(value) else ""

    async def exchange(
        self, issuer: str, *, client_id: str, client_secret: str, form: dict[str, str]
    ) -> dict[str, object]:
        """Ask the token endpoint; raises ``SignInRefused`` and ``IssuerUnavailable``."""
        metadata = await (await self.keys(issuer)).metadata()
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        headers, auth = {"Accept": "application/json"}, None
        if not client_secret:
            form = {**form, "client_id": client_id}
        elif isinstance(methods, list) and "client_secret_basic" not in methods:
            form = {**form, "client_id": client_id, "client_secret": client_secret}
        else:
            # RFC 6749 section 2.3.1: both are form-encoded first.
            auth = httpx.BasicAuth(quote_plus(client_id), quote_plus(client_secret))
        url = await self.endpoint(issuer, "token_endpoint")
        if not url:
            raise SignInRefused("The issuer has no token endpoint that may be asked.")
        return await self._asked("POST", url, headers=headers, data=form, auth=auth)

    async def user_info(self, issuer: str, access_token: str) -> dict[str, object]:
        """What else the issuer says of who has signed in; nothing when it has no such endpoint."""
        url = await self.endpoint(issuer, "userinfo_endpoint")
        if not url:
            return {}
        headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token}"}
        return await self._asked("GET", url, headers=headers)

    async def close(self) -> None:
        """Close every connection."""
        for keys in self._keys.values():
            await keys.close()
        if self._client is not None:
            await self._client.aclose()

    async def _asked(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        data: dict[str, str] | None = None,
        auth: httpx.BasicAuth | None = None,
    ) -> dict[str, object]:
        if self._client is None:
            self._client = guarded_client(
                allow_private=self._is_private, timeout=_TIMEOUT, maximum_bytes=_MAXIMUM_BYTES
            )
        try:
            answer = await self._client.request(
                method, url, headers=headers, data=data, auth=auth or httpx.USE_CLIENT_DEFAULT
            )
            body = read_json_object(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, EgressRefused) as error:
            raise IssuerUnavailable("The issuer does not answer.") from error
        except SignatureInvalid as error:
            raise SignInRefused("The issuer's answer is no JSON object.") from error
        if answer.status_code != httpx.codes.OK:
            raise SignInRefused("The issuer has not accepted the sign-in.")
        return body

    def _is_private(self, host: str) -> bool:
        return host in self._private_hosts
