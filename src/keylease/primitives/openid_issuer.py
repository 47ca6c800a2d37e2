"""What an OIDC issuer publishes: its metadata and its public keys.

Protects: the issuer is asked through the egress guard, and only for metadata that names
    exactly the issuer that was asked. Size, time, number of keys and of waiting requests are
    bounded for each issuer, and issuers do not wait for each other.
Does not protect: against an issuer that signs what it should not.
Limits: keys are asked for again after ``FRESH`` seconds; when the issuer cannot be reached, the
    known ones serve for ``USABLE`` seconds in all and then nothing of that issuer is accepted.

Sources: OpenID Connect Discovery 1.0 section 4, RFC 7517 section 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import httpx
import msgspec

from keylease.errors import (
    EgressRefused,
    IssuerUnavailable,
    SignatureInvalid,
    TokenExchangeRefused,
)
from keylease.primitives import foreign_signatures
from keylease.primitives.clock import Clock
from keylease.primitives.egress import Resolver, guarded_client, resolve
from keylease.primitives.signatures import read_json_object

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


class IssuerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where an issuer is, and what may be reached on its behalf."""

    issuer: str
    """Exactly as in the ``iss`` claim."""
    jwks_url: str = ""
    """Skips discovery when set; there is no metadata then."""
    allow_private: Callable[[str], bool] = lambda _host: False
    """The hosts that may have a private address and be spoken to without TLS."""
    ca_file: str = ""
    """Certificate authorities; empty means the public ones."""


class _Keys(msgspec.Struct, frozen=True):
    keys: tuple[Jwk, ...]
    metadata: dict[str, object]
    fetched_at: float
    """By the monotonic clock."""


class IssuerKeys:
    """The metadata and keys of one issuer."""

    def __init__(
        self, address: IssuerAddress, *, clock: Clock, resolver: Resolver = resolve
    ) -> None:
        self._address = address
        self._clock = clock
        self._client = guarded_client(
            allow_private=address.allow_private,
            timeout=TIMEOUT,
            maximum_bytes=MAXIMUM_BYTES,
            ca_file=address.ca_file or None,
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
        held = await self._fresh()
        found = _select(held.keys, kid, algorithm)
        if not found and self._may_ask_for_unknown():
            held = await self._ask(newer_than=held)
            found = _select(held.keys, kid, algorithm)
        if len(found) != 1:
            raise TokenExchangeRefused(
                "The subject token names no key of its issuer, or more than one.",
            )
        return found[0]

    async def metadata(self) -> dict[str, object]:
        """Its discovery document (OpenID Connect Discovery 1.0 section 3).

        Raises ``IssuerUnavailable``.
        """
        return (await self._fresh()).metadata

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._client.aclose()

    async def _fresh(self) -> _Keys:
        held = self._held
        if held is None or self._clock.monotonic() - held.fetched_at > FRESH:
            held = await self._ask(newer_than=held)
        return held

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
            keys = await self._fetch(now)
        except (httpx.HTTPError, httpx.InvalidURL, EgressRefused, SignatureInvalid) as error:
            self._failed_at = self._clock.monotonic()
            reason = str(error) if isinstance(error, EgressRefused) else type(error).__name__
            return self._held_in_need(f"The issuer's keys cannot be had: {reason}")
        self._failed_at = None
        self._held = keys
        return keys

    def _held_in_need(self, reason: str) -> _Keys:
        held = self._held
        if held is None or self._clock.monotonic() - held.fetched_at > USABLE:
            raise IssuerUnavailable(reason)
        return held

    async def _fetch(self, now: float) -> _Keys:
        metadata = {} if self._address.jwks_url else await self._discover()
        jwks_url = self._address.jwks_url or str(metadata["jwks_uri"])
        keys = (await self._get(jwks_url)).get("keys")
        if not isinstance(keys, list) or len(keys) > MAXIMUM_KEYS:
            raise SignatureInvalid("The issuer's key set has no list of keys, or a very long one.")
        # Keys of kinds that we do not know are skipped, as RFC 7517 section 5 demands.
        known = tuple(key for key in keys if isinstance(key, dict))
        return _Keys(keys=known, metadata=metadata, fetched_at=now)

    async def _discover(self) -> dict[str, object]:
        issuer = self._address.issuer
        metadata = await self._get(issuer.rstrip("/") + _WELL_KNOWN)
        if metadata.get("issuer") != issuer or not isinstance(metadata.get("jwks_uri"), str):
            raise SignatureInvalid("The issuer's metadata is that of somebody else.")
        return metadata

    async def _get(self, url: str) -> dict[str, object]:
        answer = await self._client.get(url, headers={"Accept": "application/json"})
        if answer.status_code != httpx.codes.OK:
            raise SignatureInvalid("The issuer answered with another status than 200.")
        return read_json_object(answer.content)


def _select(keys: Sequence[Jwk], kid: str | None, algorithm: str) -> list[Jwk]:
    return [
        key
        for key in keys
        if foreign_signatures.fits(key, algorithm) and (kid is None or key.get("kid") == kid)
    ]
