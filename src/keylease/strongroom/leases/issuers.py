"""The public keys of OIDC issuers that gateway.toml trusts.

Protects: only listed issuers are asked, and issuers do not wait for each other. Metadata may name
    any host for the keys; a private one only if gateway.toml names it.
Does not protect: against an issuer that signs what it should not.
Limits: those of ``primitives.openid_issuer``.
"""

from __future__ import annotations

from collections.abc import Iterable

import httpx

from keylease.errors import GatewayFileInvalid, TokenExchangeRefused
from keylease.primitives.clock import Clock
from keylease.primitives.egress import Resolver, resolve
from keylease.primitives.openid_issuer import IssuerAddress, IssuerKeys
from keylease.strongroom.configuration import TrustedIssuer


class IssuerDirectory:
    """All trusted issuers, by their exact name."""

    def __init__(
        self, trusted: Iterable[TrustedIssuer], *, clock: Clock, resolver: Resolver = resolve
    ) -> None:
        self._issuers = {
            entry.issuer: IssuerKeys(_address(entry), clock=clock, resolver=resolver)
            for entry in trusted
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


def _address(trusted: TrustedIssuer) -> IssuerAddress:
    own_hosts = {_host(url) for url in (trusted.issuer, trusted.jwks_url) if url}
    return IssuerAddress(
        issuer=trusted.issuer,
        jwks_url=trusted.jwks_url,
        allow_private=lambda host: trusted.allow_private_address and host in own_hosts,
        ca_file=trusted.ca_file,
    )


def _host(url: str) -> str:
    try:
        return httpx.URL(url).raw_host.decode()
    except httpx.InvalidURL as error:
        raise GatewayFileInvalid(
            f"The trusted issuer's address {url!r} is no URL.",
            advice="Write it in gateway.toml like https://issuer.example.com.",
        ) from error
