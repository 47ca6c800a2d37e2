from __future__ import annotations

import os
from pathlib import Path

from tests.support.planting import plant

from keylease.discovery import machine


def test_the_usual_places_and_those_that_variables_name(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {".zshrc": "", ".aws/credentials": "", "src/.env": "", "my/creds": "", "k1": "", "k2": ""},
    )
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "my" / "creds"),
        "KUBECONFIG": f"{tmp_path / 'k1'}:{tmp_path / 'k2'}:relative",
        "HISTFILE": "",
    }
    found = {
        str(path.relative_to(tmp_path))
        for path in machine.places(tmp_path, environment, user=os.geteuid())
        if tmp_path in path.parents
    }
    assert found == {".zshrc", ".aws", "my/creds", "k1", "k2"}


def test_a_crontab_is_asked_for_when_its_file_is_closed(tmp_path: Path) -> None:
    program = tmp_path / "crontab"
    program.write_text("#!/bin/sh\n[ \"$1\" = -l ] && echo 'A_KEY=x' && env\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TOKEN": "not-for-it"}
    piece = machine.crontab(environment, user=1_000_000)
    assert piece
    assert piece.data.startswith(b"A_KEY=x\n")
    assert b"not-for-it" not in piece.data
    assert machine.crontab({"PATH": str(tmp_path / "none")}, user=1_000_000) is None
    program.write_text("#!/bin/sh\nexit 1\n")
    assert machine.crontab(environment, user=1_000_000) is None
