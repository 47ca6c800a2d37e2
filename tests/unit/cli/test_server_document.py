"""What stands in the list of processes while the server runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from keylease.cli.scan_push import is_shared
from keylease.cli.server import server_command, server_document
from keylease.cli.trace_options import server_settings, trace_members
from keylease.cli.up import organization_key
from keylease.errors import ConfigurationError, SettingsInvalid
from keylease.platform.identity.one_time import random_text
from keylease.settings import load
from keylease.strongroom.config_files.default_files import write_first_files
from keylease.strongroom.config_files.gateway_file import load_gateway


def command_for(address: str, home: Path) -> str:
    given = {"HOME": str(home), "KEYLEASE_DATABASE_URL": address}
    settings = load({}, {name: value for name, value in given.items() if value}).settings
    return " ".join(server_command(settings))


def test_no_password_of_the_database_is_in_the_list_of_processes(tmp_path: Path) -> None:
    secret = random_text()
    for given in (f"ada:{secret}@db.example/keylease", f"ada@db.example/k?password={secret}"):
        with pytest.raises(ConfigurationError, match="password") as caught:
            command_for(f"postgresql://{given}", tmp_path)
        assert secret not in str(caught.value) + caught.value.advice
    address = "postgresql://ada@db.example/keylease?passfile=/run/keylease/pgpass"
    assert address in command_for(address, tmp_path)
    assert command_for("", tmp_path).startswith(sys.executable)


def document_for(home: Path, **variables: str) -> dict[str, Any]:
    given = {"HOME": str(home)} | {f"KEYLEASE_{name}": value for name, value in variables.items()}
    found: dict[str, Any] = json.loads(server_document(load({}, given).settings))
    return found


def test_the_server_is_told_where_the_results_of_the_promises_are(tmp_path: Path) -> None:
    assert document_for(tmp_path)["promises_file"] == ""
    file = tmp_path / "promises.json"
    assert document_for(tmp_path, PROMISES_FILE=str(file))["promises_file"] == str(file)


def test_no_password_of_the_trace_store_is_in_the_list_of_processes(tmp_path: Path) -> None:
    secret = random_text()
    with pytest.raises(ConfigurationError, match="contains a password") as caught:
        document_for(tmp_path, TRACE_STORE_URL=f"clickhouse://ada:{secret}@db.example")
    assert secret not in str(caught.value) + caught.value.advice
    with pytest.raises(ConfigurationError, match="no trace_store_url"):
        document_for(tmp_path, TRACE_STORE_PASSWORD_FILE="password")
    file = tmp_path / "password"
    file.write_text(secret)
    document = document_for(
        tmp_path,
        TRACE_STORE_URL="clickhouse://ada@db.example/spans",
        TRACE_STORE_PASSWORD_FILE=str(file),
        TRACE_STORE_CLUSTER="all",
    )
    assert document["trace_store_url"] == "clickhouse://ada@db.example/spans"
    assert document["trace_store_password_file"] == str(file)
    assert document["trace_store_cluster"] == "all"
    assert secret not in json.dumps(document)


def test_fingerprint_keys_are_named_by_organization(tmp_path: Path) -> None:
    keys = "a.key, 018f=/run/secrets/b.key"
    found = document_for(tmp_path, TRACE_FINGERPRINT_KEY=keys)["trace_fingerprint_keys"]
    assert found == {"": str(Path.cwd() / "a.key"), "018f": "/run/secrets/b.key"}
    for wrong in ("=a.key", "a=", "a=b,a=c", "x,y"):
        with pytest.raises(SettingsInvalid, match="ORGANIZATION=FILE"):
            document_for(tmp_path, TRACE_FINGERPRINT_KEY=wrong)


def test_flags_decide_before_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KEYLEASE_TRACE_STORE_URL", "clickhouse://ada@other.example")
    settings = server_settings(
        data_dir=tmp_path,
        config_dir=tmp_path,
        trace_store_url="clickhouse://ada@db.example",
        trace_store_password_file=Path("password"),
        trace_store_cluster=None,
        trace_fingerprint_key=["a.key", "018f=b.key"],
    )
    assert settings.trace_store_url == "clickhouse://ada@db.example"
    assert settings.trace_store_password_file == str(Path.cwd() / "password")
    assert set(trace_members(settings)["trace_fingerprint_keys"]) == {"", "018f"}  # type: ignore[call-overload]  # a mapping


def test_an_installation_has_one_fingerprint_key(tmp_path: Path) -> None:
    settings = load(
        {}, {"HOME": str(tmp_path), "KEYLEASE_CONFIG_DIR": str(tmp_path / "c")}
    ).settings
    own = tmp_path / "c" / "fingerprint.key"
    # 1. A gateway alone has none.
    write_first_files(settings.gateway_file, settings.policy_file)
    assert organization_key(settings, load_gateway(settings.gateway_file)) == ""
    assert not own.exists()
    settings.gateway_file.unlink()
    # 2. With a platform it is made, for the gateway, the server and the scans of this machine.
    write_first_files(
        settings.gateway_file, settings.policy_file, platform_url="http://localhost:4140",
        fingerprint_key=str(own),
    )  # fmt: skip
    gateway = load_gateway(settings.gateway_file)
    assert gateway.platform is not None
    assert gateway.platform.fingerprint_key_file == str(own)
    assert organization_key(settings, gateway) == str(own)
    assert own.stat().st_mode & 0o777 == 0o600
    made = own.read_bytes()
    assert organization_key(settings, gateway) == str(own)
    assert own.read_bytes() == made
    assert is_shared(None, settings)
    # 3. Where gateway.toml names another, that one is it, and none is made for it.
    text = settings.gateway_file.read_text().replace('"fingerprint.key"', '"/run/acme.key"')
    settings.gateway_file.write_text(text)
    assert organization_key(settings, load_gateway(settings.gateway_file)) == "/run/acme.key"
    assert not is_shared(None, settings)
    assert is_shared(own, settings)
