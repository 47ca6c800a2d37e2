"""DPoP (RFC 9449): the sender of a request proves that it holds the key its lease is bound to.

Protects: a bound lease that was stolen is worth nothing without the sender's private key; a proof
    that was overheard cannot be sent again, for another request or to another address.
Does not protect: leases without ``cnf``; those are bearer tokens.
Limits: each worker remembers the proofs it has seen. With N workers a proof that was overheard can
    be sent again at most N-1 times within its window of two minutes, for the same method, URL and
    lease. A worker that has ``MAXIMUM_PROOFS`` proofs to remember refuses more: it never forgets a
    proof that is still valid. No server nonce is asked for.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from keylease.contracts.leases import LeaseClaims
from keylease.errors import SenderNotProven, SignatureInvalid
from keylease.primitives import foreign_signatures
from keylease.primitives.clock import MICROSECONDS, Clock
from keylease.primitives.signatures import (
    encode_base64url,
    read_json_object,
    split_compact,
    thumbprint,
)

MAXIMUM_PROOF_BYTES: Final = 4 * 1024
MAXIMUM_PROOFS: Final = 100_000
WINDOW: Final = 60
"""Seconds that a proof may be old, or ahead of our clock."""
_TYPE: Final = "dpop+jwt"
_ALGORITHMS: Final = ("EdDSA", "ES256")
_MAXIMUM_JTI: Final = 256
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PRIVATE_MEMBERS: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_ADVICE: Final = "Send a fresh DPoP proof (RFC 9449) made with the key the lease is bound to."


class _ProofClaims(msgspec.Struct, frozen=True):
    jti: str
    htm: str
    htu: str
    iat: int
    ath: str = ""


class SenderProof:
    """Checks proofs. One per worker."""

    def __init__(
        self,
        clock: Clock,
        *,
        maximum_proofs: int = MAXIMUM_PROOFS,
        origins: Collection[str] = (),
    ) -> None:
        """``origins`` (``https://gateway.example``) are the names this gateway is reached by.

        When they are given, a URL that was put together from a caller's ``Host`` has to begin with
        one of them, so that a proof made for another server is not good here.
        """
        self._clock = clock
        self._maximum_proofs = maximum_proofs
        self._origins = frozenset(_normal_url(origin) for origin in origins)
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def check(
        self, claims: LeaseClaims, *, method: str, url: str, token: bytes, dpop_header: str | None
    ) -> None:
        """Raise ``SenderNotProven`` unless the request proves the lease's key.

        ``url`` is the request's own, ``token`` the lease as sent, ``dpop_header`` the value of
        the only ``DPoP`` header, or ``None``. A lease without ``cnf`` needs no proof.
        """
        if claims.cnf is None:
            return
        if not dpop_header:
            raise SenderNotProven("The lease is bound to a sender key.", advice=_ADVICE)
        proof, proven = self._proven(dpop_header, method=method, url=url, token=token)
        if not claims.cnf.jkt or proven != claims.cnf.jkt:
            raise SenderNotProven("The proof was made with another key.", advice=_ADVICE)
        # Only now: whoever has a stolen lease and not its key fills no memory.
        self._use_once(proven, proof.jti)

    def thumbprint(self, dpop_header: str, *, method: str, url: str) -> str:
        """The thumbprint of the key that a token request proves, to bind a new lease to it.

        Raises ``SenderNotProven``.
        """
        proof, proven = self._proven(dpop_header, method=method, url=url, token=None)
        self._use_once(proven, proof.jti)
        return proven

    def _proven(
        self, proof: str, *, method: str, url: str, token: bytes | None
    ) -> tuple[_ProofClaims, str]:
        """The claims of a proof for this request, and the thumbprint of its key."""
        try:
            claims, jkt = _verified(proof)
        except (SignatureInvalid, msgspec.ValidationError, UnicodeEncodeError) as error:
            raise SenderNotProven("The DPoP proof is malformed.", advice=_ADVICE) from error
        here = _normal_url(url)
        if self._origins and not any(_is_below(here, origin) for origin in self._origins):
            raise SenderNotProven(
                "The request was sent to a name this gateway does not have.",
                advice="Use one of public_urls in gateway.toml, or let its owner add the name.",
            )
        if claims.htm != method or _normal_url(claims.htu) != here:
            raise SenderNotProven("The DPoP proof is for another request.", advice=_ADVICE)
        if token is not None and claims.ath != access_token_hash(token):
            raise SenderNotProven("The DPoP proof is for another lease.", advice=_ADVICE)
        if abs(claims.iat - self._clock.now() / MICROSECONDS) > WINDOW:
            raise SenderNotProven("The DPoP proof is too old, or ahead of time.", advice=_ADVICE)
        return claims, jkt

    def _use_once(self, jkt: str, jti: str) -> None:
        if not 0 < len(jti) <= _MAXIMUM_JTI:
            raise SenderNotProven("The DPoP proof has no usable jti.", advice=_ADVICE)
        now = self._clock.monotonic()
        # Proofs expire in the order they were seen: all are remembered for the same time.
        while self._seen and next(iter(self._seen.values())) <= now:
            self._seen.popitem(last=False)
        # The key is part of the name, so that nobody can use up another sender's identifiers.
        name = hashlib.sha256(f"{jkt} {jti}".encode()).digest()
        if name in self._seen:
            raise SenderNotProven("The DPoP proof was used before.", advice=_ADVICE)
        if len(self._seen) >= self._maximum_proofs:
            raise SenderNotProven(
                "Too many DPoP proofs within two minutes.", advice="Try again in two minutes."
            )
        self._seen[name] = now + 2 * WINDOW + 1


def access_token_hash(token: bytes) -> str:
    """The ``ath`` of RFC 9449 section 4.2."""
    return encode_base64url(hashlib.sha256(token).digest()).decode()


def _verified(proof: str) -> tuple[_ProofClaims, str]:
    """The claims of a proof whose signature holds, and the thumbprint of its key."""
    jws = split_compact(proof.encode("ascii"), maximum_bytes=MAXIMUM_PROOF_BYTES)
    if jws.header_text("typ") != _TYPE:
        raise SignatureInvalid("The token is no DPoP proof.")
    jwk = jws.unverified_header.get("jwk")
    if not isinstance(jwk, dict) or _PRIVATE_MEMBERS & jwk.keys():
        raise SignatureInvalid("The proof carries no public key.")
    payload = foreign_signatures.verify(jws, jwk, algorithms=_ALGORITHMS)
    return msgspec.convert(read_json_object(payload), _ProofClaims), thumbprint(jwk)


def _normal_url(url: str) -> str:
    """Scheme, authority and path as RFC 9449 section 4.3 compares them: no query, no fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SenderNotProven("The DPoP proof names no URL.", advice=_ADVICE) from error
    if parts.username is not None or not parts.hostname or parts.scheme not in _DEFAULT_PORTS:
        raise SenderNotProven("The DPoP proof names no URL.", advice=_ADVICE)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    return f"{parts.scheme}://{host}:{port}{parts.path or '/'}"


def _is_below(url: str, origin: str) -> bool:
    return url.startswith(origin.rstrip("/") + "/")
