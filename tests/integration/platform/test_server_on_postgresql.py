"""A real server on PostgreSQL, as an operator has it: a password file, an upgrade, a stand-by."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from alembic.script import ScriptDirectory
from tests.support.manual_clock import ManualClock
from tests.support.platform_doors import Doors
from tests.support.platform_process import running_platform
from tests.support.postgres import PostgresServer

from keylease.cli.main import main
from keylease.platform.db.backups import BackUps
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import _configuration, migrate, newest_version
from keylease.platform.server.configuration import PLATFORM_UID, ServerConfiguration
from keylease.primitives.confinement.landlock import landlock_abi
from keylease.primitives.transparency.directory import CHECKPOINT

NAME = "operated"
PASSWORD = "not-" + "a-real-one"


@dataclass(frozen=True)
class Place:
    """A database that asks for a password, one version behind, and a directory for its server."""

    server: PostgresServer
    url: str
    data: Path
    before: str

    def configured(self, **members: object) -> dict[str, Any]:
        return {"database_url": self.url, "pg_dump": self.server.program("pg_dump"), **members}


@pytest.fixture(scope="module")
def place(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("operated")
    postgres.create_database(NAME)
    postgres.command(NAME, f"CREATE ROLE keylease LOGIN PASSWORD '{PASSWORD}'")
    postgres.command(NAME, f'ALTER DATABASE "{NAME}" OWNER TO keylease')
    before = previous_version()
    asyncio.run(migrated_to(f"postgresql://keylease@/{NAME}?host={postgres.folder}", before))
    with postgres.asking_for_passwords(NAME, role="keylease"):
        file = directory / "pgpass"
        file.write_text(f"*:*:{NAME}:keylease:{PASSWORD}\n")
        file.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(file, PLATFORM_UID, PLATFORM_UID)
        directory.chmod(0o711)
        url = f"postgresql://keylease@/{NAME}?host={postgres.folder}&passfile={file}"
        yield Place(postgres, url, directory / "platform", before)
    postgres.drop_database(NAME)
    postgres.command("postgres", "DROP ROLE keylease")


def previous_version() -> str:
    script = ScriptDirectory.from_config(_configuration()).get_revision(newest_version())
    return str(script.down_revision)


async def migrated_to(url: str, version: str) -> None:
    database = Database(url, clock=ManualClock())
    await migrate(database, target=version, backups=BackUps(directory=Path(), waived=True))
    await database.close()


def refused(data: Path, **members: object) -> str:
    """What a server says that does not start."""
    configuration = ServerConfiguration(data_directory=str(data), **{"port": 0, **members})  # type: ignore[arg-type]  # a test's own members
    done = subprocess.run(
        [sys.executable, "-m", "keylease.platform", msgspec.json.encode(configuration).decode()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_server_with_a_password_is_upgraded_used_verified_and_followed(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 1. Without a way back nothing is changed, and the message says what to do.
    said = refused(place.data, **place.configured(pg_dump=str(tmp_path / "absent")))
    assert "--without-backup" in said
    dump = place.data / f"postgresql.backup-{place.before}.dump"
    assert not dump.exists()
    # 2. The confined server dumps the database through the password's file, then changes it.
    with running_platform(place.data, log=tmp_path / "log", **place.configured()) as platform:
        assert ("confined by Landlock off" in platform.ready.posture) == (not landlock_abi())
        assert dump.stat().st_mode & 0o777 == 0o600
        listed = subprocess.run(
            [place.server.program("pg_restore"), "--list", str(dump)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "TABLE DATA public alembic_version" in listed.stdout
        # 3. People use it; what was done is proven, offline too.
        doors = Doors(platform.url)
        with doors.api:
            doors.set_up(platform.ready.sign_in_link)
            doors.ask("POST", "/v1/projects", {"name": "apollo"})
            made = doors.ask("POST", "/v1/api-keys", {"name": "auditor", "permissions": WANTED})
        key_file = tmp_path / "api-key"
        key_file.write_text(made["text"])
        key_file.chmod(0o600)
        reached = ("--server", platform.url, "--api-key-file", str(key_file))
        assert main(["audit", "keys", *reached]) == 0
        key = capsys.readouterr().out.strip()
        (log,) = (log for log in (place.data / "audit" / "logs").iterdir() if key_names(key, log))
        kept = tmp_path / "kept"
        kept.write_bytes((log / CHECKPOINT).read_bytes())
        checked = ("--key", key, "--checkpoint", str(kept))
        assert (
            main(["audit", "verify", platform.url, *checked, "--api-key-file", str(key_file)]) == 0
        )
        assert main(["audit", "verify", str(log), *checked]) == 0
        capsys.readouterr()
        assert main(["trust", *reached]) == 0
        told = capsys.readouterr().out
        assert "sign-in to the database" in told
        assert "pgpass" in told
        assert PASSWORD not in told
        assert httpx.get(f"{platform.url}/status").json()["database"] == "ok"
        # 4. A second server on the same database, with a directory of its own, changes nothing.
        said = refused(tmp_path / "other", **place.configured())
        assert "does not belong to this database" in said
        assert "postgresql.md" in said
        assert platform.stop() == 0
    # 5. The stand-by takes the directory over.
    with running_platform(place.data, **place.configured()) as follower:
        assert httpx.get(f"{follower.url}/readyz").json() == {"status": "ok"}
        header = {"authorization": f"Bearer {made['text']}"}
        assert httpx.get(f"{follower.url}/v1/audit/entries", headers=header).is_success


WANTED = ["audit:read", "audit:export", "trust:read"]


def key_names(key: str, log: Path) -> bool:
    """Whether a verifier key (``origin+id+key``) is of this log."""
    return log.name in key.partition("+")[0]
