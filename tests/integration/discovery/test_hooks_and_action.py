"""The pre-commit hook and the GitHub Action say what the command understands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.planting import Repo, openai_key, plant

ROOT = Path(__file__).parents[3]
OPTION = re.compile(r"--[a-z][a-z-]+")


def help_text() -> str:
    result = subprocess.run(
        [sys.executable, "-m", "keylease", "scan", "--help"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_the_hook_stops_a_commit(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = shlex.split(hook["entry"])
    assert program == "keylease"
    repo = Repo(tmp_path / "r")
    plant(repo.folder, {"a.py": f'K = "{openai_key()}"'})
    repo.git("add", "-A")
    result = subprocess.run(
        [sys.executable, "-m", "keylease", *arguments],
        cwd=repo.folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 3


@pytest.fixture
def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return document


def test_the_action_uses_nothing_of_others_and_no_input_as_a_command(
    action: dict[str, Any],
) -> None:
    known = help_text()
    for step in action["runs"]["steps"]:
        assert "uses" not in step
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
    scan = action["runs"]["steps"][-1]["run"]
    for option in OPTION.findall(scan):
        assert option in known, option
    assert action["inputs"]["fail-on"]["default"] in {"high", "medium", "any"}


@pytest.mark.parametrize("sarif", ["out.sarif", ""])
def test_the_action_scans_and_says_so(action: dict[str, Any], tmp_path: Path, sarif: str) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": f'K = "{openai_key()}"'})
    program = tmp_path / "runner" / "keylease" / "bin" / "keylease"
    plant(program.parent, {"keylease": f'#!/bin/sh\nexec {sys.executable} -m keylease "$@"\n'})
    program.chmod(0o755)
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c",  # noqa: S607 - as the runner does
         action["runs"]["steps"][-1]["run"]],
        cwd=repo.folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "RUNNER_TEMP": str(tmp_path / "runner"),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "SCAN_PATH": ".",
            "HISTORY": "true",
            "FAIL_ON": "high",
            "BASELINE": "",
            "SARIF": sarif,
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 3, result.stderr
    if sarif:
        assert (tmp_path / "output").read_text() == "sarif-file=out.sarif\n"
        assert json.loads((repo.folder / sarif).read_text())["runs"][0]["results"]
    else:
        assert "openai-project-key" in result.stdout
