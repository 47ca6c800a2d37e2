"""Which keys become the gateway user's own."""

from __future__ import annotations

from pathlib import Path

from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.startup import own_key_files

PLATFORM = 'version = 1\n[platform]\nurl = "https://keylease.example.com"\n'


def test_only_a_fingerprint_key_beside_gateway_toml_is_given_away(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "gateway.toml", tmp_path / "mounted" / "a.key"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    for line, expected in (
        ("", ()),
        ('fingerprint_key = "missing.key"\n', ()),
        ('fingerprint_key = "own.key"\n', (str(tmp_path / "own.key"),)),
        (f'fingerprint_key = "{elsewhere}"\n', ()),
    ):
        (tmp_path / "own.key").touch()
        file.write_text(PLATFORM + line)
        assert own_key_files(load_gateway(file)) == expected
