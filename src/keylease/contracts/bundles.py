"""The signed form in which a policy bundle travels from the platform to gateways.

The signature is over bytes: whoever verifies it checks the very bytes that were signed and decodes
them afterwards, so that no two readers can see different policies under one signature.

    payload    JSON of ``policy.PolicyBundle``
    signature  Ed25519 over ``SIGNATURE_CONTEXT`` + payload; the context makes it useless as a
               signature of anything else
    key_id     fingerprint of the policy key: ``sha256:`` and 64 hex digits

Append-only, as the bundle is. One gateway group has one bundle, so one reader that is a version
behind decides what may be in it:

- A field that an older gateway may ignore is added with a default.
- A field that narrows what is allowed is added with a default and named in ``critical`` by whoever
  sets it. A gateway that does not know the name refuses the bundle and keeps the last good one.
- A new value of an enumeration is used once every gateway of the group reports a link version
  that knows it (``platform_link.PollRequest.link``).
- A version has one content. It may be issued again with other times before it expires; whatever
  else changes, also because the platform was updated and writes more members, is the next version.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts import policy
from keylease.contracts.policy_keys import KeyEndorsement, fingerprint

__all__ = [
    "DEFAULT_VALIDITY",
    "MAXIMUM_BUNDLE_BYTES",
    "SIGNATURE_CONTEXT",
    "SIGNED_BUNDLE_FORMAT",
    "UNDERSTOOD",
    "SignedBundle",
    "fingerprint",
    "sign_bundle",
]

SIGNED_BUNDLE_FORMAT: Final = 1
SIGNATURE_CONTEXT: Final = b"keylease/policy-bundle/v1\n"
MAXIMUM_BUNDLE_BYTES: Final = 16 * 1024 * 1024
"""Of the payload; a gateway reads no more."""
DEFAULT_VALIDITY: Final = 24 * 60 * 60
"""Seconds for which gateways serve a bundle with no platform in reach."""

_STRUCTS: Final = {
    "policy": policy.PolicyBundle,
    "credential": policy.Credential,
    "route": policy.Route,
    "target": policy.Target,
    "grant": policy.Grant,
    "limits": policy.Limits,
    "trust_rule": policy.TrustRule,
    "revocation": policy.Revocation,
    "api_key": policy.ApiKeyUse,
    "aged_version": policy.AgedVersion,
    "budget": policy.Budget,
}
UNDERSTOOD: Final = frozenset(
    f"{name}.{field}" for name, struct in _STRUCTS.items() for field in struct.__struct_fields__
)
"""Every field that this version knows, as ``critical`` names them."""


class SignedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A policy bundle as bytes, with its signature. In JSON the bytes are base64."""

    format: int = SIGNED_BUNDLE_FORMAT
    key_id: str
    payload: bytes
    signature: bytes
    endorsements: tuple[KeyEndorsement, ...] = ()
    """The chain by which earlier policy keys of the organization lead to this one, oldest first."""

    @property
    def digest(self) -> str:
        """By which this very issue of a bundle is told from others."""
        return hashlib.sha256(self.payload).hexdigest()


def sign_bundle(
    bundle: policy.PolicyBundle,
    key: Ed25519PrivateKey,
    *,
    endorsements: tuple[KeyEndorsement, ...] = (),
) -> SignedBundle:
    """Encode and sign. The bundle must name its group, its organization and its expiry."""
    payload = msgspec.json.encode(bundle)
    return SignedBundle(
        key_id=fingerprint(key.public_key().public_bytes_raw()),
        payload=payload,
        signature=key.sign(SIGNATURE_CONTEXT + payload),
        endorsements=endorsements,
    )
