"""Policy keys: how one is named, and how the next one follows it.

An organization's policy key signs its bundles; a gateway pins the key at enrolment. When the key is
changed, the old one signs the new one, and every bundle carries the chain. A gateway that pinned
any key of the chain follows it to the last one:

    signature  Ed25519 by the old key over ``ENDORSEMENT_CONTEXT`` + organization id + line feed +
               the 32 bytes of the new public key

Protects: whoever has only the new key, or only the platform's database, cannot make a gateway
    follow: each link is signed by the key before it, and for one organization.
Does not protect: after the theft of an old key. Whoever has it can endorse another key to gateways
    that have not followed yet; then enrol them again.
Limits: ``LONGEST_CHAIN`` links; a gateway that was away for longer is enrolled again.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keylease.errors import BundleNotSigned

ENDORSEMENT_CONTEXT: Final = b"keylease/policy-key-endorsement/v1\n"
LONGEST_CHAIN: Final = 32
_KEY_BYTES: Final = 32


class KeyEndorsement(msgspec.Struct, frozen=True, kw_only=True):
    """One policy key says that another one follows it. Signed and stored: append-only."""

    key_id: str
    """Fingerprint of the key that signs."""
    successor: bytes
    """32 bytes of Ed25519."""
    signature: bytes


def fingerprint(public_key: bytes) -> str:
    """How a policy key is named and pinned: ``sha256:`` and the hash of its 32 bytes in hex."""
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def endorse(
    successor: Ed25519PublicKey, *, by: Ed25519PrivateKey, organization_id: str
) -> KeyEndorsement:
    """Let the key in use say which one follows it."""
    new = successor.public_bytes_raw()
    return KeyEndorsement(
        key_id=fingerprint(by.public_key().public_bytes_raw()),
        successor=new,
        signature=by.sign(_signed(organization_id, new)),
    )


def follow(
    pinned: bytes,
    endorsements: tuple[KeyEndorsement, ...],
    *,
    key_id: str,
    organization_id: str,
) -> bytes:
    """The public key that ``key_id`` names, reached from the pinned one by endorsements.

    Gives ``pinned`` when it is the one. Raises ``BundleNotSigned`` when no chain leads there.
    """
    # 1. Nothing is computed over an endless chain.
    if len(endorsements) > LONGEST_CHAIN:
        raise BundleNotSigned("The chain of policy keys is longer than a gateway follows.")
    current = pinned
    for link in endorsements:
        # 2. Links before the pinned key are skipped; from there on each has to hold.
        if fingerprint(current) == key_id:
            break
        if link.key_id != fingerprint(current):
            continue
        # 3. The signature of the key that we trust by now.
        try:
            Ed25519PublicKey.from_public_bytes(current).verify(
                link.signature, _signed(organization_id, link.successor)
            )
        except InvalidSignature as error:
            raise BundleNotSigned("The endorsement of a new policy key does not hold.") from error
        if len(link.successor) != _KEY_BYTES:
            raise BundleNotSigned("The endorsed policy key is no Ed25519 key.")
        current = link.successor
    # 4. Where the chain ends is the key that signed.
    if fingerprint(current) != key_id:
        raise BundleNotSigned(
            "The policy bundle is not signed by the key this gateway trusts, nor a successor.",
            advice="If the platform lost its policy key, enroll this gateway again.",
        )
    return current


def _signed(organization_id: str, successor: bytes) -> bytes:
    return ENDORSEMENT_CONTEXT + organization_id.encode() + b"\n" + successor
