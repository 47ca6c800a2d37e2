"""What `keylease doctor` says of the trace store, and of a gateway without a fingerprint key."""

from __future__ import annotations

from pathlib import Path

from keylease.cli import examination
from keylease.cli.examination import Finding, State
from keylease.settings import load


def told(home: Path, **variables: str) -> dict[str, Finding]:
    given = {"HOME": str(home)} | {f"KEYLEASE_{name}": value for name, value in variables.items()}
    found = examination._trace_store(load({}, given).settings)
    return {finding.name: finding for finding in found}


def test_the_trace_store_in_the_settings_is_named(tmp_path: Path) -> None:
    assert told(tmp_path)["trace store"].detail == "the engine inside the server"
    url = "clickhouse://ada@db.example"
    found = told(tmp_path, TRACE_STORE_URL=url, TRACE_STORE_CLUSTER="all")["trace store"]
    assert (found.state, found.detail) == (
        State.NOTE,
        "ClickHouse server clickhouse://ada@db.example:8443/keylease, cluster all",
    )
    found = told(tmp_path, TRACE_STORE_URL=f"{url}?secure=false")["trace store"]
    assert (found.state, "without TLS" in found.detail) == (State.WARNING, True)
    found = told(tmp_path, TRACE_STORE_URL="clickhouse://ada:x@db.example")["trace store"]
    assert (found.state, "contains a password" in found.detail) == (State.PROBLEM, True)


def test_its_password_file_is_there_and_private(tmp_path: Path) -> None:
    file = tmp_path / "password"
    given = {
        "TRACE_STORE_URL": "clickhouse://ada@db.example",
        "TRACE_STORE_PASSWORD_FILE": f"{file}",
    }
    assert told(tmp_path, **given)["password"].state is State.PROBLEM
    file.write_text("x")
    file.chmod(0o644)
    assert told(tmp_path, **given)["password"].advice.startswith("Run `chmod")
    file.chmod(0o600)
    assert told(tmp_path, **given)["password"].state is State.GOOD


def test_a_gateway_without_a_fingerprint_key_is_told_what_it_misses() -> None:
    (found,) = examination._fingerprint_key("")
    assert (found.state, "[platform]" in found.advice) == (State.NOTE, True)
    assert list(examination._fingerprint_key("/run/acme.key")) == []
