"""Whether a bundle may be served: every step raises ``BundleRefused`` or goes on.

Protects: a bundle is decoded only after the signature over its very bytes held, with the key that
    was pinned at enrolment; an older one, another one of the same version, one for somebody else,
    an expired one, and one that demands what this version does not understand are refused as a
    whole.
Does not protect: against a platform that signs a hostile policy. What it can do with one is bounded
    by gateway.toml; see ``servable`` and ``bindings``.
Limits: ``MAXIMUM_BUNDLE_BYTES``, ``MAXIMUM_ITEMS`` of each kind.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keylease.contracts.bundles import (
    MAXIMUM_BUNDLE_BYTES,
    SIGNATURE_CONTEXT,
    SIGNED_BUNDLE_FORMAT,
    UNDERSTOOD,
    SignedBundle,
)
from keylease.contracts.policy import POLICY_FORMAT, PolicyBundle
from keylease.contracts.policy_keys import follow
from keylease.errors import (
    BundleExpired,
    BundleForeign,
    BundleNotSigned,
    BundleNotUnderstood,
    BundleOutdated,
    BundleTooLarge,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.link.enrolment import Enrolment

MAXIMUM_ITEMS: Final = 100_000
CLOCK_SKEW: Final = 300
"""Seconds that the platform's clock may be ahead of ours."""
_TIMES: Final = {"issued_at", "expires_at"}
_HIGHEST_VERSION: Final = 2**53
"""Above this, JSON readers disagree about numbers."""


class HighWater(msgspec.Struct, frozen=True, kw_only=True):
    """The newest bundle that was ever taken. Stored; append-only."""

    version: int = 0
    issued_at: int = 0
    content: str = ""
    """Digest of everything but the times: a version has one content, however often it is issued."""


class OpenedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that passed every check."""

    bundle: PolicyBundle
    serve_until: int
    """Microseconds UTC: its own expiry, or earlier by gateway.toml."""
    mark: HighWater
    policy_key: bytes
    """That signed it; pinned from now on."""


def open_bundle(
    signed: SignedBundle,
    *,
    enrolment: Enrolment,
    high_water: HighWater,
    maximum_age: float,
    now: int,
) -> OpenedBundle:
    """Check a bundle; ``maximum_age`` in seconds, ``now`` in microseconds UTC."""
    # 1. Its size, before anything is computed over it.
    if len(signed.payload) > MAXIMUM_BUNDLE_BYTES:
        raise BundleTooLarge("The policy bundle is larger than a gateway reads.")
    # 2. The signature, over the bytes as they came.
    policy_key = _check_signature(signed, enrolment)
    # 3. Only now is it read.
    bundle = _decode(signed.payload)
    # 4. It demands nothing that this version does not know.
    _check_understood(bundle)
    # 5. It is for us.
    if bundle.organization_id != enrolment.organization_id or bundle.group != enrolment.group:
        raise BundleForeign(
            "The policy bundle was made for another organization or gateway group.",
            advice="The platform mixes up its gateways; tell its operator.",
        )
    # 6. It is of now.
    serve_until = _check_times(bundle, maximum_age=maximum_age, now=now)
    # 7. It is not older than what was in force, and no second truth of the same version.
    mark = HighWater(
        version=bundle.version, issued_at=bundle.issued_at, content=_content(signed.payload)
    )
    _check_order(mark, high_water)
    return OpenedBundle(bundle=bundle, serve_until=serve_until, mark=mark, policy_key=policy_key)


def _check_signature(signed: SignedBundle, enrolment: Enrolment) -> bytes:
    """The policy key that signed: the pinned one, or one that it led to."""
    if signed.format != SIGNED_BUNDLE_FORMAT:
        raise BundleNotUnderstood(
            "The policy bundle is signed in a form that this version does not know.",
            advice="Update this gateway.",
        )
    policy_key = follow(
        enrolment.policy_key,
        signed.endorsements,
        key_id=signed.key_id,
        organization_id=enrolment.organization_id,
    )
    try:
        key = Ed25519PublicKey.from_public_bytes(policy_key)
        key.verify(signed.signature, SIGNATURE_CONTEXT + signed.payload)
    except InvalidSignature as error:
        raise BundleNotSigned("The policy bundle's signature does not hold.") from error
    return policy_key


def _decode(payload: bytes) -> PolicyBundle:
    try:
        return msgspec.json.decode(payload, type=PolicyBundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleNotUnderstood(
            "The policy bundle is malformed, or holds a value that this version does not know.",
            advice="Compare the versions of this gateway and of the platform.",
        ) from error


def _check_understood(bundle: PolicyBundle) -> None:
    unknown = [name for name in bundle.critical if name not in UNDERSTOOD]
    if bundle.format != POLICY_FORMAT or unknown:
        # The names come from the platform; only their number is repeated.
        raise BundleNotUnderstood(
            f"The policy bundle has format {bundle.format} and demands {len(unknown)} things that "
            "this version does not know.",
            advice="Update this gateway.",
        )
    parts = (
        bundle.credentials,
        bundle.routes,
        bundle.grants,
        bundle.trust_rules,
        bundle.revocations,
        bundle.api_keys,
    )
    if any(len(part) > MAXIMUM_ITEMS for part in parts):
        raise BundleTooLarge(f"The policy bundle has more than {MAXIMUM_ITEMS} items of a kind.")
    if not 0 < bundle.version < _HIGHEST_VERSION:
        raise BundleNotUnderstood("The policy bundle's version is no version.")


def _check_times(bundle: PolicyBundle, *, maximum_age: float, now: int) -> int:
    if bundle.issued_at > now + CLOCK_SKEW * MICROSECONDS:
        raise BundleExpired(
            "The policy bundle was issued in the future.",
            advice="Compare the clocks of this machine and of the platform.",
        )
    until = min(bundle.expires_at, bundle.issued_at + int(maximum_age * MICROSECONDS))
    if until <= now:
        raise BundleExpired(
            "The policy bundle has expired.",
            advice="The gateway needs the platform to get a new one; compare the clocks too.",
        )
    return until


def _check_order(mark: HighWater, high_water: HighWater) -> None:
    if mark.version < high_water.version:
        raise BundleOutdated(
            f"The policy bundle has version {mark.version}; version {high_water.version} was in "
            "force already.",
            advice="If the platform was put back from a back-up, raise its policy version.",
        )
    if mark.version == high_water.version and mark.content != high_water.content:
        raise BundleOutdated(
            f"There is another policy bundle of version {mark.version} than the one in force.",
            advice="The platform tells its gateways different things; tell its operator.",
        )


def _content(payload: bytes) -> str:
    """Over the members as they were written, so that an update of this program changes nothing."""
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    digest = hashlib.sha256()
    for name in sorted(members.keys() - _TIMES):
        digest.update(msgspec.json.encode(name) + b":" + bytes(members[name]) + b"\n")
    return digest.hexdigest()
