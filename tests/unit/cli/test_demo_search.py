from __future__ import annotations

import base64
import gzip
import json
import os
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.simulated_provider import fresh_key

from keylease.cli.demo_search import search


def escaped(key: bytes) -> bytes:
    return "".join(f"\\u{byte:04x}" for byte in key).encode()


DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda key: b"before " + key + b" after",
    "hex": lambda key: key.hex().encode(),
    "capital hex": lambda key: key.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64, one further": lambda key: base64.b64encode(b"x" + key + b"yz"),
    "base64, two further": lambda key: base64.b64encode(b"user:" + key),
    "base64url": lambda key: base64.urlsafe_b64encode(b"\xff\xfe" + key + b"?"),
    "every byte URL-escaped": lambda key: "".join(f"%{byte:02X}" for byte in key).encode(),
    "URL": lambda key: urllib.parse.quote(key.decode(), safe="").encode(),
    "JSON": lambda key: json.dumps({"key": key.decode()}).encode(),
    "JSON escapes": lambda key: "".join(f"\\u{byte:04x}" for byte in key).encode(),
    "UTF-16": lambda key: key.decode().encode("utf-16"),
    "gzip inside": lambda key: b"log lines " + gzip.compress(b"a key: " + key) + b" more",
    "zlib": zlib.compress,
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_key_is_found_in_every_form(tmp_path: Path, disguise: Callable[[bytes], bytes]) -> None:
    key = fresh_key()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(disguise(key))
    found = search([tmp_path], key)
    assert {path for path, _ in found.hits} == {str(tmp_path / "deep" / "file")}


def test_other_keys_and_half_keys_are_not_found(tmp_path: Path) -> None:
    key = fresh_key()
    (tmp_path / "file").write_bytes(fresh_key() + b"\n" + key[:-1] + b"\n" + base64.b64encode(b"x"))
    found = search([tmp_path], key)
    assert found.hits == []
    assert (found.files, found.size) == (1, (tmp_path / "file").stat().st_size)


def test_links_and_sockets_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    assert search([tmp_path], fresh_key()).files == 0


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")

    def refuse(_: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert search([tmp_path], fresh_key()).unreadable == [str(tmp_path / "file")]
