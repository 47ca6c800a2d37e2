from __future__ import annotations

import itertools

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts.policy_keys import (
    LONGEST_CHAIN,
    KeyEndorsement,
    endorse,
    fingerprint,
    follow,
)
from keylease.errors import BundleNotSigned

ORGANIZATION = "018f0000-0000-7000-8000-0000000000aa"


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def chain(keys: list[Ed25519PrivateKey]) -> tuple[KeyEndorsement, ...]:
    return tuple(
        endorse(new.public_key(), by=old, organization_id=ORGANIZATION)
        for old, new in itertools.pairwise(keys)
    )


def test_every_key_of_a_chain_leads_to_the_last() -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(4)]
    for pinned in keys:
        reached = follow(
            public(pinned),
            chain(keys),
            key_id=fingerprint(public(keys[-1])),
            organization_id=ORGANIZATION,
        )
        assert reached == public(keys[-1])


def test_no_key_leads_back() -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    with pytest.raises(BundleNotSigned):
        follow(
            public(new),
            chain([old, new]),
            key_id=fingerprint(public(old)),
            organization_id=ORGANIZATION,
        )


@pytest.mark.parametrize("what", ["forged", "foreign", "missing", "other_organization", "endless"])
def test_a_chain_that_does_not_hold_is_not_followed(what: str) -> None:
    old, new, thief = (Ed25519PrivateKey.generate() for _ in range(3))
    (link,) = chain([old, new])
    target = public(new)
    links: tuple[KeyEndorsement, ...] = (link,)
    organization = ORGANIZATION
    match what:
        case "forged":
            target = public(thief)
            links = (msgspec.structs.replace(link, successor=target),)
        case "foreign":
            target = public(thief)
            links = chain([Ed25519PrivateKey.generate(), thief])
        case "missing":
            links = ()
        case "other_organization":
            organization = ORGANIZATION.replace("aa", "bb")
        case "endless":
            links = (link,) * (LONGEST_CHAIN + 1)
    with pytest.raises(BundleNotSigned):
        follow(public(old), links, key_id=fingerprint(target), organization_id=organization)
