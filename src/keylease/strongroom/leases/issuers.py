"""The public keys of OIDC issuers that gateway.toml trusts.

Protects: only listed issuers are asked, through the egress guard, and only for metadata that names
    exactly the issuer that was asked. Size, time, number of keys and of waiting requests are
    bounded for each issuer, and issuers do not wait for each other.
Does not protect: against an issuer that signs what it should not.
Limits: keys are asked for again after ``FRESH`` seconds; when the issuer cannot be reached, the
    known ones serve for ``USABLE`` seconds in all and then nothing of that issuer is accepted.

Sources: OpenID Connect Discovery 1.0 section 4, RFC 7517 section 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import httpx
import msgspec

from keylease.errors import (
    EgressRefused,
    GatewayFileInvalid,
    IssuerUnavailable,
    SignatureInvalid,
    TokenExchangeRefused,
)
from keylease.primitives.clock import Clock
from keylease.primitives.egress import Resolver, guarded_client, resolve
from keylease.primitives.signatures import read_json_object
from keylease.strongroom.configuration import TrustedIssuer
from keylease.strongroom.leases import jose

FRESH: Final = 600.0
"""Seconds after which the keys are asked for again."""
USABLE: Final = 3600.0
"""Seconds after which keys that could not be asked for again are not used any more."""
UNKNOWN_KEY_PAUSE: Final = 15.0
"""Seconds between two questions that a key id we do not know makes us ask."""
FAILURE_PAUSE: Final = 5.0
"""Seconds for which an issuer that failed is not asked again."""
MAXIMUM_WAITING: Final = 64
"""Exchanges that may wait for one issuer."""
MAXIMUM_KEYS: Final = 100
MAXIMUM_BYTES: Final = 256 * 1024
TIMEOUT: Final = 5.0
"""Seconds for one question."""
_WELL_KNOWN: Final = "/.well-known/openid-configuration"

Jwk = dict[str, object]


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[Jwk, ...]
    fetched_at: float
    """By the monotonic clock."""


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(
        self, trusted: TrustedIssuer, *, clock: Clock, resolver: Resolver = resolve
    ) -> None:
        self._trusted = trusted
        self._clock = clock
        own_hosts = {_host(url) for url in (trusted.issuer, trusted.jwks_url) if url}
        self._client = guarded_client(
            # Metadata may name any host for the keys; a private one only if the file names it.
            allow_private=lambda host: trusted.allow_private_address and host in own_hosts,
            timeout=TIMEOUT,
            maximum_bytes=MAXIMUM_BYTES,
            ca_file=trusted.ca_file or None,
            resolver=resolver,
        )
        self._asking = asyncio.Lock()
        self._waiting = 0
        self._held: _Keys | None = None
        self._asked_at: float | None = None
        self._failed_at: float | None = None

    async def find(self, *, kid: str | None, algorithm: str) -> Jwk:
        """The one key that verifies this ``kid`` and algorithm.

        Without a ``kid`` there must be a single key for the algorithm. Raises
        ``TokenExchangeRefused`` when there is none, ``IssuerUnavailable`` when that is unknown.
        """
        held = self._held
        now = self._clock.monotonic()
        if held is None or now - held.fetched_at > FRESH:
            held = await self._ask(newer_than=held)
        found = _select(held.keys, kid, algorithm)
        if not found and self._may_ask_for_unknown():
            held = await self._ask(newer_than=held)
            found = _select(held.keys, kid, algorithm)
        if len(found) != 1:
            raise TokenExchangeRefused(
                "The subject token names no key of its issuer, or more than one.",
            )
        return found[0]

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._client.aclose()

    def _may_ask_for_unknown(self) -> bool:
        asked = self._asked_at
        return asked is None or self._clock.monotonic() - asked >= UNKNOWN_KEY_PAUSE

    async def _ask(self, *, newer_than: _Keys | None) -> _Keys:
        """Keys newer than those, asked for once however many wait; or, in need, the held ones."""
        if self._waiting >= MAXIMUM_WAITING:
            raise IssuerUnavailable("Too many exchanges wait for this issuer.")
        self._waiting += 1
        try:
            async with self._asking:
                if self._held is not newer_than and self._held is not None:
                    return self._held
                return await self._ask_now()
        finally:
            self._waiting -= 1

    async def _ask_now(self) -> _Keys:
        now = self._clock.monotonic()
        if self._failed_at is not None and now - self._failed_at < FAILURE_PAUSE:
            return self._held_in_need("The issuer's keys could not be had a moment ago.")
        self._asked_at = now
        try:
            keys = await self._fetch()
        except (httpx.HTTPError, httpx.InvalidURL, EgressRefused, SignatureInvalid) as error:
            self._failed_at = self._clock.monotonic()
            reason = str(error) if isinstance(error, EgressRefused) else type(error).__name__
            return self._held_in_need(f"The issuer's keys cannot be had: {reason}")
        self._failed_at = None
        self._held = _Keys(keys=keys, fetched_at=now)
        return self._held

    def _held_in_need(self, reason: str) -> _Keys:
        held = self._held
        if held is None or self._clock.monotonic() - held.fetched_at > USABLE:
            raise IssuerUnavailable(reason)
        return held

    async def _fetch(self) -> tuple[Jwk, ...]:
        jwks_url = self._trusted.jwks_url or await self._discover()
        keys = (await self._get(jwks_url)).get("keys")
        if not isinstance(keys, list) or len(keys) > MAXIMUM_KEYS:
            raise SignatureInvalid("The issuer's key set has no list of keys, or a very long one.")
        # Keys of kinds that we do not know are skipped, as RFC 7517 section 5 demands.
        return tuple(key for key in keys if isinstance(key, dict))

    async def _discover(self) -> str:
        issuer = self._trusted.issuer
        metadata = await self._get(issuer.rstrip("/") + _WELL_KNOWN)
        jwks_url = metadata.get("jwks_uri")
        if metadata.get("issuer") != issuer or not isinstance(jwks_url, str):
            raise SignatureInvalid("The issuer's metadata is that of somebody else.")
        return jwks_url

    async def _get(self, url: str) -> dict[str, object]:
        answer = await self._client.get(url, headers={"Accept": "application/json"})
        if answer.status_code != httpx.codes.OK:
            raise SignatureInvalid("The issuer answered with another status than 200.")
        return read_json_object(answer.content)


class IssuerDirectory:
    """All trusted issuers, by their exact name."""

    def __init__(
        self, trusted: Iterable[TrustedIssuer], *, clock: Clock, resolver: Resolver = resolve
    ) -> None:
        self._issuers = {
            entry.issuer: IssuerKeys(entry, clock=clock, resolver=resolver) for entry in trusted
        }

    def get(self, issuer: str) -> IssuerKeys:
        """The keys of an issuer; raises ``TokenExchangeRefused`` when it is not trusted."""
        found = self._issuers.get(issuer)
        if found is None:
            raise TokenExchangeRefused(
                "The subject token's issuer is not trusted here.",
                advice="The owner of the gateway lists issuers in gateway.toml.",
            )
        return found

    async def close(self) -> None:
        """Close every connection."""
        for issuer in self._issuers.values():
            await issuer.close()


def _host(url: str) -> str:
    try:
        return httpx.URL(url).raw_host.decode()
    except httpx.InvalidURL as error:
        raise GatewayFileInvalid(f"The trusted issuer's address {url!r} is no URL.") from error


def _select(keys: Sequence[Jwk], kid: str | None, algorithm: str) -> list[Jwk]:
    return [
        key for key in keys if jose.fits(key, algorithm) and (kid is None or key.get("kid") == kid)
    ]
