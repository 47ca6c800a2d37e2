"""An OIDC issuer on loopback: discovery, keys that can be rotated, and tokens of any kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from tests.support.manual_clock import ManualClock
from tests.support.plain_server import PlainServer, http, plain_server

from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import encode_base64url
from keylease.strongroom.configuration import TrustedIssuer

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"
_RSA = RSAKey.generate_key(2048)  # made once: it takes long


def key_for(algorithm: str) -> Key:
    """A key that signs with the algorithm; the RSA key is always the same one."""
    match algorithm[:2]:
        case "RS" | "PS":
            return _RSA
        case "ES":
            return ECKey.generate_key("P-384" if algorithm == "ES384" else "P-256")
        case _:
            return OKPKey.generate_key("Ed25519")


class LocalIssuer:
    """What the issuer publishes and signs."""

    def __init__(self, server: PlainServer, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.url = server.url
        self.keys: dict[str, Key] = {}
        self.add_key("k1", "ES256")

    def trusted(self) -> TrustedIssuer:
        return TrustedIssuer(issuer=self.url, allow_private_address=True)

    def add_key(self, kid: str, algorithm: str) -> None:
        self.keys[kid] = key_for(algorithm)
        self.publish()

    def publish(self, *extra: dict[str, object]) -> None:
        keys: list[object] = [
            {**key.as_dict(private=False), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        self.server.answers[DISCOVERY] = http({"issuer": self.url, "jwks_uri": self.url + JWKS})
        self.server.answers[JWKS] = http({"keys": [*keys, *extra]})

    @property
    def now(self) -> int:
        return self.clock.now() // MICROSECONDS

    def claims(self, **changes: object) -> dict[str, object]:
        base: dict[str, object] = {
            "iss": self.url,
            "sub": "job",
            "aud": "keylease",
            "iat": self.now,
            "exp": self.now + 300,
            "jti": "token-1",
        }
        return {name: value for name, value in {**base, **changes}.items() if value is not ...}

    def token(
        self,
        *,
        kid: str = "k1",
        alg: str = "ES256",
        header: dict[str, object] | None = None,
        **claims: object,
    ) -> bytes:
        """A signed token; a claim of ``...`` is left out."""
        head: dict[str, object] = {"alg": alg, "kid": kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        signing_input = b".".join(
            encode_base64url(json.dumps(part).encode()) for part in (head, self.claims(**claims))
        )
        model = jws.JWSRegistry.algorithms["Ed25519" if alg == "EdDSA" else alg]
        signature = model.sign(signing_input, self.keys[kid])
        return signing_input + b"." + encode_base64url(signature)


@asynccontextmanager
async def local_issuer(clock: ManualClock) -> AsyncIterator[LocalIssuer]:
    """Run an issuer until the block ends."""
    async with plain_server() as server:
        yield LocalIssuer(server, clock)
