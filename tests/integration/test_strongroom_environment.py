"""What lies beside a key: the distributions of the lock file, ours, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-strongroom" / "bin" / "python"
LIST = """
import importlib.metadata, json, site, sys
names = sorted(d.metadata["Name"].lower().replace("_", "-").replace(".", "-")
               for d in importlib.metadata.distributions())
print(json.dumps([names, sys.path, site.ENABLE_USER_SITE]))
"""


@pytest.fixture(scope="module")
def environment() -> tuple[list[str], list[str], bool | None]:
    assert PYTHON.exists(), "run the tests with `make test`: it builds the strongroom's environment"
    output = subprocess.run(
        [PYTHON, "-I", "-c", LIST], capture_output=True, text=True, check=True
    ).stdout
    names, path, user_site = json.loads(output)
    return names, path, user_site


def locked() -> set[str]:
    text = (ROOT / "requirements" / "strongroom.lock").read_text()
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, flags=re.MULTILINE))


def test_only_locked_distributions_are_installed(
    environment: tuple[list[str], list[str], bool | None],
) -> None:
    names, _, _ = environment
    assert "keylease" in names
    assert set(names) - locked() == {"keylease"}


def test_no_path_file_is_run_at_start(
    environment: tuple[list[str], list[str], bool | None],
) -> None:
    _, path, user_site = environment
    assert not user_site
    assert [hook for entry in path if entry for hook in Path(entry).glob("*.pth")] == []


@pytest.mark.skipif(
    shutil.which("cc") is None or os.environ.get("KEYLEASE_COMPILE") == "no",
    reason="nothing to compile with, or not asked to",
)
def test_the_call_path_is_compiled_where_it_can_be() -> None:
    program = (
        "from keylease.strongroom.gateway.form import form_of_call_path as form; print(form())"
    )
    ran = subprocess.run([PYTHON, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "compiled"


@pytest.mark.skipif(
    shutil.which("cc") is None
    or os.environ.get("KEYLEASE_COMPILE") == "no"
    or not Path("/proc/self/maps").exists(),
    reason="nothing to compile with, or not asked to, or nobody says what is in memory",
)
def test_no_code_of_the_platform_is_in_the_memory_of_a_worker() -> None:
    """The sources lie there, as in every wheel; nothing of them is loaded, compiled or not."""
    program = (
        "import pathlib, sys, keylease.strongroom.gateway.call.exchange;"
        "maps = pathlib.Path('/proc/self/maps').read_text().split();"
        "ours = {path for path in maps if '__mypyc' in path and '/keylease' in path};"
        "assert ours;"
        "assert not any(b'keylease.platform' in pathlib.Path(path).read_bytes() for path in ours);"
        "assert not [name for name in sys.modules if name.startswith('keylease.platform')]"
    )
    subprocess.run([PYTHON, "-I", "-c", program], check=True)


def test_it_is_not_writable_by_others() -> None:
    packages = next((PYTHON.parents[1] / "lib").glob("python*")) / "site-packages"
    assert [p for p in packages.rglob("*.py") if p.stat().st_mode & 0o002] == []
