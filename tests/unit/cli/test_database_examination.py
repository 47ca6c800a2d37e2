"""`keylease doctor` says how the database is reached, and whether an upgrade can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from keylease.cli.database_examination import examine_database
from keylease.cli.examination import State
from keylease.platform.db import backups
from keylease.settings import load


def found(database_url: str) -> dict[str, tuple[State, str]]:
    given = {"HOME": "/nowhere", "KEYLEASE_DATABASE_URL": database_url}
    settings = load({}, {name: value for name, value in given.items() if value}).settings
    return {one.name: (one.state, one.detail + one.advice) for one in examine_database(settings)}


def test_sqlite_needs_nothing() -> None:
    assert found("") == {}


def test_a_dump_that_cannot_be_made_is_said_before_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "_PLACES", (f"{tmp_path}/bin/pg_dump",))
    address = "postgresql://keylease@/k?host=/run/postgresql"
    state, said = found(address)["pg_dump"]
    assert state is State.WARNING
    assert "--pg-dump" in said
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.touch(mode=0o700)
    assert found(address)["pg_dump"] == (State.GOOD, str(program))


def test_how_it_is_reached_and_who_may_read_the_password(tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    address = f"postgresql://keylease@db.example.com/k?passfile={file}"
    assert found(address)["transport"][0] is State.WARNING
    assert found(f"{address}&ssl=verify-full").keys() & {"transport"} == set()
    assert found(address)["passfile"][0] is State.WARNING
    for mode, state in ((0o640, State.PROBLEM), (0o600, State.GOOD)):
        file.touch()
        file.chmod(mode)
        assert found(address)["passfile"][0] is state
