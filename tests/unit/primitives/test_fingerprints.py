from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import secrets
from pathlib import Path

import msgspec
import pytest

from keylease.errors import FingerprintKeyInvalid
from keylease.primitives import fingerprints
from keylease.primitives.fingerprints import (
    FingerprintKey,
    FingerprintKeys,
    estimated_bits,
    key_file,
    local_keys,
    new_keys,
    read_keys,
)

SECRET = b"sk-" + secrets.token_urlsafe(36).encode()
GUESSABLE = (
    b"", b"hunter2", b"password123!", b"correct-horse-battery-staple", b"Passwort2026Passwort2026",
    "Grüße aus münchen und köln".lower().encode("latin-1"),
    b"a" * 200, b"0123456789" * 10, b"abcdef" * 20, b"changeme", b"MY SECRET PASSPHRASE 12",
)  # fmt: skip


def written(path: Path, keys: FingerprintKeys) -> Path:
    path.write_bytes(key_file(keys))
    path.chmod(0o600)
    return path


def test_the_form_is_the_one_that_is_written_down() -> None:
    key = FingerprintKey(key_id="acme", version=3, key=b"k" * 32)
    expected = hmac.new(b"k" * 32, b"keylease fingerprint 1\0" + SECRET, hashlib.sha256)
    assert str(key.fingerprint(SECRET)) == f"acme.3.{expected.hexdigest()}"


def test_only_the_same_key_gives_the_same_fingerprint() -> None:
    first, second = new_keys("acme"), new_keys("acme")
    assert first.of(SECRET) == first.of(SECRET)
    assert first.of(SECRET) != second.of(SECRET)
    assert first.of(SECRET) != first.of(SECRET + b"x")


@pytest.mark.parametrize("secret", GUESSABLE)
def test_what_could_be_guessed_has_none(secret: bytes) -> None:
    assert new_keys().of(secret) == ()


def test_what_providers_issue_has_one() -> None:
    for secret in (
        secrets.token_hex(16),
        secrets.token_hex(20),
        "glpat-" + secrets.token_urlsafe(15),
        "hf_" + secrets.token_urlsafe(25),
        "AKIA" + secrets.token_hex(12).upper() + secrets.token_urlsafe(30),
    ):
        assert new_keys().of(secret.encode()), estimated_bits(secret.encode())


def test_random_bytes_without_a_digit_are_no_words() -> None:
    """As in the text of a word every byte is a sign or a small letter, and yet it is chance."""
    secret = bytes.fromhex("8806e711e71ecec68cdac226997bd08ca18ce301c6cbd36ef5c57e878cd68400")
    assert new_keys().of(secret)


def test_while_a_key_is_rotated_old_and_new_stand_side_by_side() -> None:
    old = new_keys("acme")
    both = old.rotated()
    current, previous = both.of(SECRET)
    assert (current.key_id, current.version, previous.version) == ("acme", 2, 1)
    assert previous == old.of(SECRET)[0]
    with pytest.raises(FingerprintKeyInvalid):
        both.rotated()
    after = both.without_previous()
    assert after.of(SECRET) == (current,)
    assert after.rotated().current.version == 3


def test_keys_of_two_organizations_are_no_rotation() -> None:
    one, other = new_keys("acme"), new_keys("other")
    for current, previous in ((one, other), (one, one)):
        with pytest.raises(FingerprintKeyInvalid):
            FingerprintKeys(current.current, previous.current)


def test_a_key_is_not_shown_pickled_or_serialised() -> None:
    key = new_keys("acme").current
    for text in (repr(key), str(key), f"{key}"):
        assert text in {"acme.1", "FingerprintKey(acme.1)"}
    for use in (pickle.dumps, copy.deepcopy, msgspec.json.encode):
        with pytest.raises(TypeError):
            use(key)


def test_a_key_file_is_read_back(tmp_path: Path) -> None:
    keys = new_keys("acme").rotated()
    read = read_keys(written(tmp_path / "key", keys))
    assert read.of(SECRET) == keys.of(SECRET)


def test_this_machines_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "config" / "fingerprint.key"
    first = local_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert local_keys(path).of(SECRET) == first.of(SECRET)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 5000,
        b'{"format": 1, "id": "acme", "keys": []}',
        b'{"format": 1, "id": "acme", "keys": [{"version": 1, "key": "c2hvcnQ="}]}',
        b'{"format": 1, "id": "acme", "keys": [{"version": 1, "key": "%%%"}]}',
        b'{"format": 1, "id": "Acme Corp", "keys": [{"version": 1, "key": "' + b"A" * 44 + b'"}]}',
        b'{"format": 2, "id": "acme", "keys": [{"version": 1, "key": "' + b"A" * 43 + b'="}]}',
    ],
    ids=range(8),
)
def test_a_file_that_is_no_key_is_refused_without_quoting_it(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(FingerprintKeyInvalid) as refused:
        read_keys(path)
    assert not content or content.decode(errors="replace") not in str(refused.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key", new_keys())
    path.chmod(0o640)
    with pytest.raises(FingerprintKeyInvalid, match="read by others"):
        read_keys(path)
    with pytest.raises(FileNotFoundError):
        read_keys(tmp_path / "none")


def test_estimates_cost_little_for_long_secrets() -> None:
    assert estimated_bits(secrets.token_hex(50_000).encode()) > fingerprints.MINIMUM_BITS
    assert estimated_bits(b"ab" * 100_000) < fingerprints.MINIMUM_BITS
