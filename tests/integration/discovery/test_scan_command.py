"""`keylease scan` as a new user meets it: a real process, from start to exit status."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from tests.support.planting import Repo, groq_key, openai_key, plant
from tests.support.users import open_directory, run_as, shared_python

from keylease.discovery.formats.schemas import schemas

__all__ = ["shared_python"]

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


class Machine:
    """A user's home, and the command in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keylease", *arguments],
            cwd=cwd or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    return Machine(home)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "app")
    made.commit({"README.md": "x\n", ".gitignore": ".env\n"})
    return made


def test_a_new_user_sees_what_to_do(machine: Machine, repo: Repo) -> None:
    key = openai_key()
    repo.commit({"app.py": f'client = OpenAI(api_key="{key}")\n'})
    repo.commit({"app.py": 'import os\nkey = os.environ["OPENAI_API_KEY"]\n'})
    plant(
        repo.folder,
        {
            ".env": f"OPENAI_API_KEY={key}\n",
            ".github/workflows/ci.yml": "jobs:\n  t:\n    K: ${{ secrets.GROQ_API_KEY }}\n",
        },
    )
    result = machine.run("scan", ".", "--history", cwd=repo.folder)
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert any(line.startswith("openai-project-key  sk-proj-...") for line in lines)
    assert ".env:1:16  OPENAI_API_KEY, environment file" in lines
    assert any(line.startswith("app.py:1:26  api_key, in history only, added") for line in lines)
    assert "ask: Ann Example <ann@example.org> (commit that brought it)" in lines
    assert "app.py:2:10  read by a program" in lines
    assert "1 secret (1 high confidence)" in result.stderr
    assert "Revoke a key where it was issued first" in result.stderr
    assert key not in result.stdout + result.stderr


def test_the_exit_status_says_what_happened(machine: Machine, tmp_path: Path) -> None:
    tree = plant(tmp_path / "t", {"a.env": f"OPENAI_API_KEY={openai_key()}", "ok/b.txt": "x"})
    assert machine.run("scan", str(tree)).returncode == 0
    assert machine.run("scan", str(tree), "--fail-on", "high").returncode == 3
    assert machine.run("scan", str(tree / "ok"), "--fail-on", "any").returncode == 0
    plant(tree, {"broken.zip": b"PK\x03\x04nonsense"})
    assert machine.run("scan", str(tree)).returncode == 4
    assert machine.run("scan", str(tree), "--fail-on", "high").returncode == 3
    missing = machine.run("scan", str(tree / "none"))
    assert missing.returncode == 64
    assert "There is no" in missing.stderr
    assert machine.run("scan", "--staged", "--history").returncode == 64
    assert machine.run("scan", "--fail-on", "nonsense").returncode == 2
    assert machine.run("scan", str(tree), "-o", str(tree / "none" / "x")).returncode == 1


def test_every_output_has_the_schema_that_is_published(machine: Machine, repo: Repo) -> None:
    plant(
        repo.folder,
        {"a.env": f"OPENAI_API_KEY={openai_key()}\nHF_TOKEN=\n", "b.zip": b"PK\x03\x04"},
    )
    repo.commit({"k.py": f'K = "{groq_key()}"'})
    repo.commit({"k.py": None})
    for name, schema in schemas().items():
        published = json.loads((REFERENCE / name).read_text())
        assert published == json.loads(json.dumps(schema)), f"`make docs` renews {name}"
    found = machine.run("scan", "--history", "--format", "json", cwd=repo.folder)
    report = json.loads(found.stdout)
    jsonschema.validate(report, schemas()["scan-report.schema.json"])
    assert {f["provider"] for f in report["findings"]} == {"openai", "groq"}
    machine.run("scan", "--write-baseline", "known.json", cwd=repo.folder)
    baseline = json.loads((repo.folder / "known.json").read_text())
    jsonschema.validate(baseline, schemas()["scan-baseline.schema.json"])
    sarif = machine.run("scan", "--history", "--format", "sarif", cwd=repo.folder).stdout
    narrowed = dict(schemas()["scan-sarif.schema.json"])
    del narrowed["allOf"]  # the published schema lies outside this machine
    jsonschema.validate(json.loads(sarif), narrowed)
    written = machine.run("scan", "--format", "csv", "-o", "out.csv", cwd=repo.folder)
    assert written.stdout == ""
    with (repo.folder / "out.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            jsonschema.validate(row, schemas()["scan-csv.schema.json"])


def test_a_baseline_is_shared_between_machines(machine: Machine, tmp_path: Path) -> None:
    tree = plant(tmp_path / "t", {"a.env": f"OPENAI_API_KEY={openai_key()}"})
    known = str(tmp_path / "known.json")
    assert machine.run("scan", str(tree), "--write-baseline", known).returncode == 0
    other = Machine(tmp_path / "other")
    other.home.mkdir()
    result = other.run("scan", str(tree), "--baseline", known, "--fail-on", "any")
    assert result.returncode == 0
    assert "0 secrets, 1 known" in result.stderr
    plant(tree, {"b.env": f"GROQ_API_KEY={groq_key()}"})
    assert other.run("scan", str(tree), "--baseline", known, "--fail-on", "any").returncode == 3


def test_machines_with_the_same_key_give_the_same_fingerprints(
    machine: Machine, tmp_path: Path
) -> None:
    tree = plant(tmp_path / "t", {"a.env": f"OPENAI_API_KEY={openai_key()}"})
    key = str(tmp_path / "org.key")
    assert machine.run("fingerprint-key", "create", key, "--id", "acme").returncode == 0
    assert machine.run("fingerprint-key", "create", key).returncode == 64

    def fingerprints() -> list[dict[str, object]]:
        result = machine.run("scan", str(tree), "--format", "json", "--fingerprint-key", key)
        found: list[dict[str, object]] = json.loads(result.stdout)["findings"][0]["fingerprints"]
        return found

    (before,) = fingerprints()
    assert (before["key_id"], before["version"]) == ("acme", 1)
    assert machine.run("fingerprint-key", "rotate", key).returncode == 0
    current, previous = fingerprints()
    assert current["version"] == 2
    assert previous == before
    shown = machine.run("fingerprint-key", "show", key).stdout
    assert "acme" in shown
    assert len(shown.splitlines()) == 3
    assert machine.run("fingerprint-key", "finish", key).returncode == 0
    assert fingerprints() == [current]
    assert machine.run("fingerprint-key", "finish", key).returncode == 64
    assert machine.run("scan", str(tree), "--fingerprint-key", "none").returncode == 64
    local = machine.home / ".config" / "keylease" / "fingerprint.key"
    assert not local.exists()
    assert machine.run("scan", str(tree)).returncode == 0
    assert local.stat().st_mode & 0o777 == 0o600


def test_a_commit_with_a_new_key_is_stopped(machine: Machine, repo: Repo) -> None:
    plant(repo.folder, {"new.py": f'K = "{openai_key()}"'})
    arguments = ("scan", "--staged", "--fail-on", "high")
    assert machine.run(*arguments, cwd=repo.folder).returncode == 0
    repo.git("add", "new.py")
    result = machine.run(*arguments, cwd=repo.folder)
    assert result.returncode == 3
    assert "new.py:1:6" in result.stdout


def test_ctrl_c_keeps_what_was_found(machine: Machine, tmp_path: Path) -> None:
    tree = plant(tmp_path / "t", {"000.env": f"OPENAI_API_KEY={openai_key()}"})
    plant(tree, {f"{n:05}.txt": "key = value\n" * 400 for n in range(1, 4000)})
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "keylease",
            "scan",
            str(tree),
            "--format",
            "json",
            "--processes",
            "2",
        ],
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=machine.home,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and len(children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    output, talk = process.communicate(timeout=60)
    report = json.loads(output)
    assert process.returncode in {0, 130}
    if process.returncode == 130:
        assert report["interrupted"] is True
        assert report["complete"] is False
        assert b"Interrupted" in talk


def test_nothing_is_read_that_the_user_may_not_read(shared_python: str) -> None:
    with open_directory() as place:
        content = {"mine.env": f"OPENAI_API_KEY={openai_key()}", "closed/a.env": "x"}
        tree = plant(place / "t", content | {"shut.env": f"GROQ_API_KEY={groq_key()}"})
        for path in (place, tree):
            path.chmod(0o755)
        (tree / "mine.env").chmod(0o644)
        (tree / "shut.env").chmod(0o600)
        (tree / "closed").chmod(0o700)
        home = place / "home"
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        result = run_as(
            [shared_python, "-m", "keylease", "scan", str(tree), "--format", "json"],
            environment={"HOME": str(home)},
        )
        report = json.loads(result.stdout)
    assert {f["provider"] for f in report["findings"]} == {"openai"}
    if os.geteuid() == 0:
        assert result.returncode == 4
        assert [p["code"] for p in report["problems"]] == ["permission_denied"] * 2


def test_the_machine_is_looked_at_without_naming_a_folder(machine: Machine) -> None:
    typed, configured, served = openai_key(), groq_key(), openai_key()
    plant(
        machine.home,
        {
            ".bash_history": f"ls\nexport OPENAI_API_KEY={typed}\n",
            ".config/zed/settings.json": json.dumps({"groq_api_key": configured}),
            "elsewhere/.env": f"OPENAI_API_KEY={openai_key()}",
        },
    )
    with subprocess.Popen(["/bin/sleep", "60"], env={"OPENAI_API_KEY": served}) as other:
        try:
            result = machine.run("scan", "--machine", "--format", "json")
        finally:
            other.kill()
    report = json.loads(result.stdout)
    kinds = {
        loc["path"]: loc["kind"]
        for finding in report["findings"]
        for loc in finding["locations"]
        if loc["path"].startswith(("~", f"process {other.pid} "))
    }
    assert kinds == {
        "~/.bash_history": "shell_history",
        "~/.config/zed/settings.json": "editor_configuration",
        f"process {other.pid} (sleep)": "process_environment",
    }
    assert all(key not in result.stdout for key in (typed, configured, served))


def test_help_loads_neither_an_http_client_nor_an_event_loop(machine: Machine) -> None:
    code = (
        "import sys, keylease.cli.scan as s\n"
        "heavy = {'httpx', 'yaml', 'asyncio', 'uvloop', 'cryptography', 'rich', 'hyperscan'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"
