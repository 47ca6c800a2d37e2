"""Which passwords are accepted, and how they and codes are kept."""

from __future__ import annotations

import pyotp
import pytest
from tests.support.sign_in_kit import CHEAP

from keylease.errors import InputInvalid, StorageCorrupt
from keylease.platform.identity.sealing import Sealer
from keylease.platform.identity.sign_in import one_time_codes
from keylease.platform.identity.sign_in.passwords import (
    Parameters,
    PasswordHasher,
    check_new_password,
)
from keylease.primitives.clock import MICROSECONDS

NOW = 1_780_000_000 * MICROSECONDS


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "elevenchars",
        "passwordpassword",
        "Password-2026!!",
        "123456789012",
        "aaaaaaaaaaaa",
        "Qwertyuiop123",
        "ada.lovelace 12",
        "correcthorsebatterystaple",
        "x" * 257,
        "with\0nothing in it",
    ],
)
def test_passwords_that_are_guessed_first_are_refused(password: str) -> None:
    with pytest.raises(InputInvalid):
        check_new_password(password, email="ada.lovelace@example.com")


@pytest.mark.parametrize(
    "password", ["four words that fit", "Zw8!kq_mm0-Lr", "пароль из четырёх слов"]
)
def test_others_are_accepted(password: str) -> None:
    check_new_password(password, email="ada@example.com")


async def test_a_hash_says_how_it_was_made_and_is_renewed_when_that_is_outdated() -> None:
    old = PasswordHasher(CHEAP)
    stored = await old.hash("four words that fit")
    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    now = PasswordHasher(Parameters(memory_kib=128, passes=1, lanes=1))
    assert await now.matches("four words that fit", stored)
    assert not await now.matches("four words that do not", stored)
    assert now.is_outdated(stored)
    assert not old.is_outdated(stored)
    assert stored != await old.hash("four words that fit")


async def test_the_product_uses_what_rfc_9106_recommends() -> None:
    stored = await PasswordHasher().hash("four words that fit")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_the_same_characters_typed_otherwise_are_the_same_password() -> None:
    hasher = PasswordHasher(CHEAP)
    stored = await hasher.hash("cafe\u0301 au lait, s'il")
    assert await hasher.matches("caf\u00e9 au lait, s'il", stored)


async def test_without_a_hash_nothing_matches_and_a_broken_one_is_said() -> None:
    hasher = PasswordHasher(CHEAP)
    assert not await hasher.matches("four words that fit", None)
    with pytest.raises(StorageCorrupt):
        await hasher.matches("four words that fit", "$2b$12$nothing")


def test_a_code_is_good_once_and_half_a_minute_to_each_side() -> None:
    secret = one_time_codes.new_secret()
    app = pyotp.TOTP(secret)
    seconds = NOW // MICROSECONDS
    for offset, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        code = app.at(seconds, counter_offset=offset)
        found = one_time_codes.step_of(secret, code, now=NOW, after=0)
        assert (found is not None) is good, offset
    step = one_time_codes.step_of(secret, app.at(seconds), now=NOW, after=0)
    assert step is not None
    assert one_time_codes.step_of(secret, app.at(seconds), now=NOW, after=step) is None
    for nonsense in ("", "12345", "1234567", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16"):
        assert one_time_codes.step_of(secret, nonsense, now=NOW, after=0) is None


def test_recovery_codes_are_read_however_they_are_typed() -> None:
    code = one_time_codes.new_recovery_codes()[0]
    digest = one_time_codes.recovery_digest(code, user_id="u")
    assert one_time_codes.recovery_digest(code.lower().replace("-", " "), user_id="u") == digest
    assert one_time_codes.recovery_digest(code, user_id="somebody else") != digest


def test_a_sealed_secret_opens_in_its_place_only() -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(b"a secret", place="totp/o/u")
    assert b"a secret" not in sealed
    assert sealer.open(sealed, place="totp/o/u") == b"a secret"
    changed = bytearray(sealed)
    changed[-1] ^= 1
    for wrong, place, key in (
        (sealed, "totp/o/other", b"k"),
        (bytes(changed), "totp/o/u", b"k"),
        (sealed, "totp/o/u", b"j"),
        (b"", "totp/o/u", b"k"),
        (sealed[:9], "totp/o/u", b"k"),
    ):
        with pytest.raises(StorageCorrupt):
            Sealer(key * 32).open(wrong, place=place)
