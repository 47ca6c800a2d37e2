"""`keylease doctor` with and without a gateway: what is on, what is off, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.running_gateway import running_gateway


def doctor(
    directory: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keylease", "doctor", *arguments,
         "--data-dir", str(directory / "data"), "--config-dir", str(directory / "config")],
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )  # fmt: skip


def findings(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    report = json.loads(result.stdout)
    return {f"{f['area']} {f['name']}": f for f in report["findings"]}


POLICY = """
version = 1
[[credential]]
name = "there"
provider = "openai"
reference = "env://THERE"
purposes = ["development"]
environment = "local"
[[credential]]
name = "missing"
provider = "anthropic"
reference = "env://MISSING"
purposes = ["development"]
environment = "local"
[[route]]
name = "all"
models = ["*"]
targets = [{ credential = "there" }, { credential = "missing" }]
[[grant]]
name = "people"
principals = ["user:*"]
models = ["*"]
purposes = ["development"]
environments = ["local"]
"""
GATEWAY = """
[[binding]]
reference = "env://THERE"
provider = "openai"
purposes = ["development"]
[[binding]]
reference = "env://MISSING"
provider = "anthropic"
purposes = ["development"]
"""


def test_with_a_gateway_it_reports_that_gateway(tmp_path: Path) -> None:
    with running_gateway(
        tmp_path,
        gateway_toml=GATEWAY,
        policy_toml=POLICY,
        environment={"THERE": "sk-test-doctor"},
    ) as gateway:
        found = findings(result := doctor(tmp_path, "--json"))
        for name in ("not dumpable", "no core dumps", "no new privileges"):
            assert found[f"hardening {name}"]["state"] == "good"
            assert found[f"hardening {name}"]["detail"].startswith("on: ")
        assert str(gateway.pid) in found["gateway running"]["detail"]
        assert found["credentials there"]["state"] == "good"
        assert found["credentials missing"]["state"] == "problem"
        assert "MISSING" in found["credentials missing"]["detail"]
        assert "leases without limits: grant 'people'" in result.stdout
        assert result.returncode == 1  # a credential cannot be had
        assert "sk-test-doctor" not in result.stdout + result.stderr
        plain = doctor(tmp_path)
        assert "hardening:\n" in plain.stdout
        assert "problem" in plain.stdout
        assert plain.returncode == 1


def test_without_a_gateway_it_asks_a_process_started_for_it(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--json")
    found = findings(result)
    assert found["hardening measured on"]["state"] == "note"
    assert found["hardening not dumpable"]["state"] == "good"
    assert found["gateway running"]["detail"].startswith("No gateway is running on ")
    assert result.returncode == 0, result.stdout


def test_it_names_what_is_set_and_never_shows_it(tmp_path: Path) -> None:
    result = doctor(
        tmp_path,
        "--json",
        environment={"OPENAI_API_KEY": "sk-test-shown", "HTTPS_PROXY": "http://user:pass@p:1"},
    )
    found = findings(result)
    assert found["environment provider variables"]["state"] == "warning"
    assert "OPENAI_API_KEY" in found["environment provider variables"]["detail"]
    assert "HTTPS_PROXY" in found["environment redirections"]["detail"]
    assert "sk-test-shown" not in result.stdout
    assert "user:pass" not in result.stdout


def test_files_that_others_can_change_are_a_problem(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir(mode=0o700)
    (config / "gateway.toml").write_text("version = 1\n")
    (config / "gateway.toml").chmod(0o666)
    (config / "sealing.key").write_text("x")
    (config / "sealing.key").chmod(0o644)
    result = doctor(tmp_path, "--json")
    found = findings(result)
    for name in ("gateway.toml", "sealing.key"):
        assert found[f"files {name}"]["state"] == "problem"
        assert "chmod" in found[f"files {name}"]["advice"]
    assert result.returncode == 1


def test_a_mistake_in_the_policy_is_a_problem_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir(mode=0o700)
    (config / "gateway.toml").write_text("version = 1\n")
    (config / "keylease.toml").write_text("version = 1\n[[grnt]]\n")
    result = doctor(tmp_path)
    assert result.returncode == 1
    assert "keylease.toml:2" in result.stdout


def test_a_clock_that_was_set_back_is_seen(tmp_path: Path) -> None:
    (tmp_path / "data" / "strongroom").mkdir(parents=True)
    os.utime(tmp_path / "data" / "strongroom", (4_000_000_000, 4_000_000_000))
    found = findings(doctor(tmp_path, "--json"))
    assert found["clock time"]["state"] == "problem"


def test_a_strongroom_python_that_does_not_work_is_a_problem(tmp_path: Path) -> None:
    result = doctor(
        tmp_path, "--json", environment={"KEYLEASE_STRONGROOM_PYTHON": "/nowhere/python"}
    )
    assert findings(result)["hardening strongroom process"]["state"] == "problem"
    assert result.returncode == 1
