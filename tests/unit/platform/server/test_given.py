"""Small secrets that the platform is given: read once, or refused with what to do."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from keylease.errors import ConfigurationError, FingerprintKeyInvalid
from keylease.platform.server.configuration import ServerConfiguration
from keylease.platform.server.given import Given, read_given
from keylease.primitives.fingerprints import key_file, new_keys

URL = "clickhouse://ada@db.example"


def given(directory: Path, **members: object) -> Given:
    return read_given(
        ServerConfiguration(data_directory=str(directory), **members)  # type: ignore[arg-type]  # a test's own members
    )


def private(path: Path, content: bytes, *, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_nothing_is_given_by_default(tmp_path: Path) -> None:
    assert given(tmp_path) == Given()


def test_a_password_is_one_line_of_a_private_file(tmp_path: Path) -> None:
    text = secrets.token_hex(8)
    found = Given()
    for content in (text, f"{text}\n", f"{text}\r\n"):
        file = private(tmp_path / "password", content.encode())
        found = given(tmp_path, trace_store_url=URL, trace_store_password_file=file)
        assert found.trace_store is not None
        assert found.trace_store.password.reveal(why="a test") == text
        assert text not in repr(found)
    other = secrets.token_hex(8)
    private(tmp_path / "password", other.encode())
    assert found.trace_store is not None
    assert found.trace_store.read_again is not None
    assert found.trace_store.read_again().reveal(why="a test") == other
    (tmp_path / "password").chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others"):
        found.trace_store.read_again()


def test_a_bad_password_file_stops_the_start(tmp_path: Path) -> None:
    text = secrets.token_hex(8)
    wrong = {
        "does not hold one line": private(tmp_path / "two", f"{text}\n{text}\n".encode()),
        "read by others": private(tmp_path / "open", text.encode(), mode=0o640),
        "No such file": str(tmp_path / "nowhere"),
        "cannot be read": str(tmp_path),
    }
    wrong |= {"not hold one line": private(tmp_path / "empty", b"\n")}
    for why, file in wrong.items():
        with pytest.raises(ConfigurationError, match=why) as caught:
            given(tmp_path, trace_store_url=URL, trace_store_password_file=file)
        assert text not in str(caught.value) + caught.value.advice
    long = private(tmp_path / "long", b"x" * 5000)
    with pytest.raises(ConfigurationError, match="one line"):
        given(tmp_path, trace_store_url=URL, trace_store_password_file=long)


def test_a_password_without_a_server_is_a_mistake(tmp_path: Path) -> None:
    file = private(tmp_path / "password", b"x")
    for members in ({"trace_store_password_file": file}, {"trace_store_cluster": "all"}):
        with pytest.raises(ConfigurationError, match="no trace_store_url"):
            given(tmp_path, **members)


def test_a_fifo_in_place_of_a_password_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigurationError, match="one line"):
        given(tmp_path, trace_store_url=URL, trace_store_password_file=str(tmp_path / "fifo"))


def test_each_organization_has_a_fingerprint_key_of_its_own(tmp_path: Path) -> None:
    first, second = new_keys("acme"), new_keys("zebra")
    files = {
        "": private(tmp_path / "a.key", key_file(first)),
        "other": private(tmp_path / "b.key", key_file(second)),
    }
    found = given(tmp_path, trace_fingerprint_keys=files).fingerprint_keys
    assert [str(keys.current) for keys in found.values()] == ["acme.1", "zebra.1"]
    # A rotated copy of the same key is the same key.
    files["other"] = private(tmp_path / "c.key", key_file(first.rotated()))
    with pytest.raises(FingerprintKeyInvalid, match="same fingerprint key"):
        given(tmp_path, trace_fingerprint_keys=files)
    with pytest.raises(FingerprintKeyInvalid, match="There is no fingerprint key"):
        given(tmp_path, trace_fingerprint_keys={"": str(tmp_path / "nowhere.key")})
