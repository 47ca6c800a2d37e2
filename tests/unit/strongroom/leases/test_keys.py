"""The lease signing keys: kept as a secret, rotated, and never among the public ones."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from tests.support.lease_kit import LeaseKit
from tests.support.manual_clock import ManualClock

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.references import Reference
from keylease.errors import (
    LeaseForeign,
    SecretInvalid,
    SecretMisused,
    SecretNotFound,
    StoreUnsupported,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.signatures import thumbprint
from keylease.strongroom.leases.key_commands import write_keys
from keylease.strongroom.leases.key_source import SigningKeySource
from keylease.strongroom.leases.keys import MAXIMUM_KEYS, SigningKeys
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret

SEALED = "sealed://lease-keys"


class Shelf:
    """A store and a sealer in memory."""

    def __init__(self) -> None:
        self.entries: dict[str, Secret] = {}
        self.recorded: list[tuple[str, tuple[str, ...], bool]] = []

    async def fetch(self, reference: Reference) -> FetchedSecret:
        if reference.path not in self.entries:
            raise SecretNotFound("There is no such secret.")
        return FetchedSecret(secret=self.entries[reference.path], version="1", fetched_at=0)

    def put(
        self,
        name: str,
        secret: Secret,
        *,
        provider: str,
        hosts: tuple[str, ...],
        replace: bool = False,
    ) -> object:
        self.entries[name] = secret
        self.recorded.append((provider, hosts, replace))
        return None

    def source(self, reference: str, clock: ManualClock) -> SigningKeySource:
        return SigningKeySource(reference, fetch=self.fetch, sealer=self, clock=clock)


def test_the_stored_form_goes_both_ways() -> None:
    keys = SigningKeys.generate(5).rotate(7)
    again = SigningKeys.from_secret(keys.to_secret())
    assert again.public_jwks() == keys.public_jwks()
    assert (again.kid, again.created_at) == (keys.kid, 7)
    assert again.to_secret().equals(keys.to_secret())


def test_the_public_set_has_no_private_part_and_names_keys_by_thumbprint() -> None:
    keys = SigningKeys.generate(5).rotate(7)
    public = json.loads(keys.public_jwks())["keys"]
    assert len(public) == 2
    for jwk in public:
        assert set(jwk) == {"kty", "crv", "x", "kid", "alg", "use"}
        assert jwk["kid"] == thumbprint(jwk)
    assert public[0]["kid"] == keys.kid


def test_printing_keys_shows_no_key() -> None:
    keys = SigningKeys.generate(5)
    stored = json.loads(keys.to_secret().reveal(why="a test looks for it"))["keys"][0]["d"]
    assert stored not in f"{keys!r} {keys} {keys.__dict__} {keys.to_secret()!r}"
    with pytest.raises(SecretMisused):
        bytes(keys.to_secret())


def test_a_retired_key_verifies_until_its_leases_have_expired() -> None:
    kit = LeaseKit()
    token = kit.token()
    rotated = kit.keys.rotate(kit.clock.now())
    assert rotated.kid != kit.keys.kid
    verifier = kit.verifier()
    verifier.replace_keys(rotated.public_jwks())
    verifier.verify(token)
    later = kit.clock.now() + (LONGEST_LIFETIME + 60) * MICROSECONDS
    assert kit.keys.kid in rotated.without_expired(later - 1).public_keys()
    assert kit.keys.kid not in rotated.without_expired(later).public_keys()
    verifier.replace_keys(rotated.without_expired(later).public_jwks())
    with pytest.raises(LeaseForeign):
        verifier.verify(token)


def test_rotation_is_bounded() -> None:
    keys = SigningKeys.generate(0)
    for now in range(1, MAXIMUM_KEYS):
        keys = keys.rotate(now)
    assert len(keys.public_keys()) == MAXIMUM_KEYS
    with pytest.raises(SecretInvalid):
        keys.rotate(MAXIMUM_KEYS)
    keys.rotate((LONGEST_LIFETIME + 100) * MICROSECONDS)


def broken(**changes: object) -> Secret:
    stored = json.loads(SigningKeys.generate(5).to_secret().reveal(why="a test changes it"))
    stored["keys"][0].update(changes)
    return Secret(json.dumps(stored))


@pytest.mark.parametrize(
    "secret",
    [
        Secret(b""),
        Secret(b"sk-test-not-a-key-set"),
        Secret(b"{}"),
        Secret(b'{"keys":[]}'),
        Secret(b'{"keys":[{}]}'),
        Secret(b"x" * 100_000),
        broken(kid="other"),
        broken(x="A" * 43),
        broken(d="AA"),
        broken(crv="Ed448"),
        broken(retired_at=5),
        broken(created_at="now"),
    ],
    ids=range(12),
)
def test_what_is_no_key_set_is_refused_without_showing_it(secret: Secret) -> None:
    with pytest.raises(SecretInvalid) as caught:
        SigningKeys.from_secret(secret)
    assert "sk-test" not in str(caught.value)


async def test_a_sealed_reference_gets_its_keys_on_first_use() -> None:
    shelf, clock = Shelf(), ManualClock()
    first = await shelf.source(SEALED, clock).open()
    assert shelf.recorded == [("keylease", (), False)]
    assert (await shelf.source(SEALED, clock).open()).kid == first.kid
    assert len(shelf.recorded) == 1


async def test_rotated_keys_are_stored_before_they_are_used() -> None:
    shelf, clock = Shelf(), ManualClock()
    source = shelf.source(SEALED, clock)
    first = await source.open()
    rotated = await source.rotate()
    again = await source.open()
    assert again.kid == rotated.kid != first.kid
    assert first.kid in again.public_keys()


async def test_an_empty_foreign_store_is_an_error_that_says_what_to_do() -> None:
    shelf, clock = Shelf(), ManualClock()
    source = shelf.source("vault://secret/keylease#signing", clock)
    with pytest.raises(SecretNotFound, match=r"signing-key`.*sealed://"):
        await source.open()
    shelf.entries["secret/keylease"] = SigningKeys.generate(0).to_secret()
    await source.open()
    with pytest.raises(StoreUnsupported, match="signing-key --rotate"):
        await source.rotate()


def test_without_a_store_there_is_no_default_key() -> None:
    async def fetch(_reference: Reference) -> FetchedSecret:
        raise StoreUnsupported("The store cannot be used.")

    source = SigningKeySource(SEALED, fetch=fetch, sealer=Shelf(), clock=ManualClock())
    with pytest.raises(StoreUnsupported):
        asyncio.run(source.open())


def test_keys_for_a_foreign_store_are_written_and_rotated() -> None:
    clock, first, second = ManualClock(), io.BytesIO(), io.BytesIO()
    write_keys(None, first, clock=clock)
    made = SigningKeys.from_secret(Secret(first.getvalue()))
    write_keys(io.BytesIO(first.getvalue() + b"\n"), second, clock=clock)
    rotated = SigningKeys.from_secret(Secret(second.getvalue()))
    assert made.kid in rotated.public_keys()
    assert rotated.kid != made.kid
    with pytest.raises(SecretInvalid):
        write_keys(io.BytesIO(b"nonsense"), io.BytesIO(), clock=clock)
