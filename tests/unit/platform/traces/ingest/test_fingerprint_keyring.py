"""By which key a masked secret is recognised."""

from __future__ import annotations

import secrets
from pathlib import Path

from keylease.platform.traces.ingest.fingerprint_keys import FingerprintKeyring
from keylease.primitives.fingerprints import new_keys, read_keys

SECRET = secrets.token_hex(32).encode()


def test_an_organization_has_a_key_of_its_own_until_it_shares_one(tmp_path: Path) -> None:
    ring, shared = FingerprintKeyring(tmp_path), new_keys("acme")
    (own,) = ring.of("first")(SECRET)
    (others,) = ring.of("second")(SECRET)
    assert own.value != others.value
    assert ring.shared_with("first") == ""
    ring.share("first", shared)
    # What was masked before is recognised, behind the key that scanners have.
    assert ring.of("first")(SECRET) == (*shared.of(SECRET), own)
    assert ring.of("second")(SECRET) == (others,)
    assert (ring.shared_with("first"), ring.shared_with("second")) == ("acme.1", "")


def test_with_a_shared_key_none_is_made(tmp_path: Path) -> None:
    ring, shared = FingerprintKeyring(tmp_path / "keys"), new_keys("acme").rotated()
    ring.share("first", shared)
    assert ring.of("first")(SECRET) == shared.of(SECRET)
    assert len(shared.of(SECRET)) == 2
    assert not (tmp_path / "keys").exists()
    assert ring.of("first")(b"guessable") == ()


def test_a_platform_that_is_given_its_own_key_uses_it_once(tmp_path: Path) -> None:
    ring = FingerprintKeyring(tmp_path)
    before = ring.of("first")(SECRET)
    ring.share("first", read_keys(tmp_path / "first.key"))
    assert ring.of("first")(SECRET) == before
