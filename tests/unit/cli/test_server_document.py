"""What stands in the list of processes while the server runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keylease.cli.server import server_command
from keylease.errors import ConfigurationError
from keylease.platform.identity.one_time import random_text
from keylease.settings import load


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
