"""A desktop session's keyring without a desktop: a bus of its own, and GNOME's keyring unlocked.

Only where ``dbus-daemon`` and ``gnome-keyring-daemon`` are installed; nothing is installed here.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""A bus that starts no programs by itself: neither a second keyring nor a prompter."""


def missing() -> str:
    """What is not installed; empty where nothing is missing."""
    return ", ".join(name for name in PROGRAMS if shutil.which(name) is None)


@contextlib.contextmanager
def secret_service(directory: Path) -> Iterator[dict[str, str]]:
    """Start both; gives the variables by which a session's programs find them.

    The keyring is on the bus a moment later.
    """
    home, run = directory / "home", directory / "run"
    for made in (home, run):
        made.mkdir(mode=0o700)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(run)}
    bus_file = directory / "bus.conf"
    bus_file.write_text(_BUS.format(socket=run / "bus"))
    with contextlib.ExitStack() as running:
        bus = running.enter_context(
            _program(
                "dbus-daemon", f"--config-file={bus_file}", "--print-address=1", env=environment
            )
        )
        assert bus.stdout is not None
        environment["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().decode().strip()
        keyring = running.enter_context(
            _program(
                "gnome-keyring-daemon",
                "--foreground",
                "--unlock",
                "--components=secrets",
                env=environment,
            )
        )
        assert keyring.stdin is not None
        keyring.stdin.write(secrets.token_hex(8).encode())
        keyring.stdin.close()
        keyring.stdin = None  # so that communicate() does not touch it again
        yield environment


@contextlib.contextmanager
def _program(*command: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
