"""Phoenix and MLflow, each in an environment of its own: installed, started, and counted.

    python bench/traces/rivals.py install [NAME ...]      phoenix, mlflow

Both take OTLP over HTTP and keep spans in SQLite, as they do out of the box. What is persisted is
counted in their own database, because an acknowledgement of Phoenix only says that a span waits.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import processes

PLACE = Path(__file__).parents[2] / "build" / "bench"
START_SECONDS = 120.0
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH", "TMPDIR")
}


@dataclasses.dataclass(frozen=True)
class Rival:
    """One of them."""

    name: str
    title: str
    package: str
    database: str
    """Its file below the working directory."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def home(self) -> Path:
        return PLACE / self.name

    def installed(self) -> bool:
        return (self.home / "bin" / self.name).exists()

    def install(self) -> None:
        venv.create(self.home, with_pip=True)
        python = self.home / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", self.package], check=True)

    def version(self) -> str:
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        python = self.home / "bin" / "python"
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    def start(self, directory: Path, port: int) -> subprocess.Popen[str]:
        """Start it in a process group of its own and wait until it listens."""
        command, environment = self._command(directory, port)
        with (directory / f"{self.name}.log").open("w") as log:
            process = subprocess.Popen(
                [str(self.home / "bin" / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=directory,
                env=ENVIRONMENT | environment,
                start_new_session=True,
            )
        try:
            processes.wait_for_port(port, process, START_SECONDS)
        except BaseException:
            processes.stop(process)
            raise
        return process

    def _command(self, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
        if self.name == "phoenix":
            return ["phoenix", "serve"], {
                "PHOENIX_WORKING_DIR": str(directory),
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(port),
                "PHOENIX_GRPC_PORT": str(processes.free_port()),
                "PHOENIX_TELEMETRY_ENABLED": "false",
            }
        store = f"sqlite:///{directory / self.database}"
        command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", store, "--workers", "1"]
        return command, {"MLFLOW_DISABLE_TELEMETRY": "true"}

    def persisted(self, directory: Path) -> int:
        """How many spans its database has."""
        file = directory / self.database
        if not file.exists():
            return 0
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
        try:
            return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its tables are not there yet, or it holds the database
        finally:
            connection.close()


RIVALS = {
    rival.name: rival
    for rival in (
        Rival("phoenix", "Phoenix", "arize-phoenix", "phoenix.db"),
        Rival("mlflow", "MLflow", "mlflow", "mlflow.db", {"x-mlflow-experiment-id": "0"}),
    )
}


if __name__ == "__main__":
    for wanted in sys.argv[2:] or list(RIVALS):
        RIVALS[wanted].install()
