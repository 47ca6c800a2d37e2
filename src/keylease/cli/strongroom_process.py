"""Start strongroom processes: the only way from the command line to anything that sees a key.

The child is `python -I` of the strongroom's own environment, with an allow-listed environment and
no descriptor but those that are named. Key bytes never pass through this process: a command that
takes a secret hands its standard input over.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from keylease.cli.environment import strongroom_environment
from keylease.errors import ProcessFailed
from keylease.settings import Settings, process_environment


def strongroom_command(arguments: Sequence[str], *, python: str) -> list[str]:
    """The command line of a strongroom process. ``python`` is ``settings.strongroom_python``."""
    return [python, "-I", "-m", "keylease.strongroom", *arguments]


def log_arguments(settings: Settings) -> tuple[str, ...]:
    """What a gateway is told about its log."""
    return ("--log-level", settings.log_level.value, "--log-format", settings.log_format.value)


def spawn_strongroom(
    arguments: Sequence[str],
    *,
    python: str,
    pass_fds: Sequence[int] = (),
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    start_new_session: bool = False,
    variables: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a strongroom process and leave it running. Raises ``ProcessFailed``.

    ``variables`` names what it gets of this process's environment beyond the allow-list: for a
    short command that reads them at once, not for a gateway (that one gets a handover).
    """
    environment = process_environment()
    named = {name: environment[name] for name in variables if name in environment}
    try:
        return subprocess.Popen(  # noqa: S603 - our own program, no shell
            strongroom_command(arguments, python=python),
            env={**strongroom_environment(), **named},
            pass_fds=tuple(pass_fds),
            stdin=stdin,
            stdout=stdout,
            close_fds=True,
            start_new_session=start_new_session,
        )
    except OSError as error:
        raise ProcessFailed(
            f"The strongroom's Python {python} cannot be started: {error.strerror}.",
            advice="Set KEYLEASE_STRONGROOM_PYTHON to the Python of the strongroom's environment.",
        ) from error


def run_strongroom(
    arguments: Sequence[str],
    *,
    python: str,
    pass_fds: Sequence[int] = (),
    stdin: int | None = subprocess.DEVNULL,
    variables: Sequence[str] = (),
) -> int:
    """Run a strongroom process to its end; gives its exit status.

    It writes its own messages. ``stdin=None`` lets it read what this process would read.
    """
    process = spawn_strongroom(
        arguments, python=python, pass_fds=pass_fds, stdin=stdin, variables=variables
    )
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent the interrupt to the child too: it decides how to end
        return status if status >= 0 else 128 - status
