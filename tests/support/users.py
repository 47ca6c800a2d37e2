"""Processes of another user, so that being root hides nothing from a permission test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import keylease

NOBODY = 65534
SOURCES = Path(keylease.__file__).parents[1]


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that every user can pass through; pytest's own is private."""
    path = Path(tempfile.mkdtemp(prefix="keylease-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_python() -> Iterator[str]:
    """An interpreter with the product's packages that every user of this machine can start."""
    if os.geteuid() != 0:
        yield sys.executable
        return
    system = "/usr/bin/python3"
    if not Path(system).exists() or version_of(system) != sys.version_info[:2]:
        pytest.skip("needs a system Python of the same version, which other users can start")
    with open_directory() as directory:
        subprocess.run([system, "-m", "venv", "--without-pip", directory / "venv"], check=True)
        python = directory / "venv" / "bin" / "python"
        packages = site_packages_of(str(python))
        (packages / "tests.pth").write_text(
            f"{SOURCES}\n{sysconfig.get_paths()['purelib']}\n{sysconfig.get_paths()['platlib']}\n"
        )
        yield str(python)


def run_as(
    command: Sequence[str | Path],
    *,
    user: int | None = NOBODY,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end as another user (as ourselves when we are not root)."""
    switch = user is not None and os.geteuid() == 0
    return subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        user=user if switch else None,
        group=user if switch else None,
        extra_groups=[] if switch else None,
        timeout=60,
        cwd="/",
    )


def version_of(python: str) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:2])"
    result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return tuple(map(int, result.stdout.split()))


def site_packages_of(python: str) -> Path:
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return Path(result.stdout.strip())


__all__ = ["NOBODY", "open_directory", "run_as", "shared_python"]
