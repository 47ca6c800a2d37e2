"""The README's tour, command by command, with its real clients.

Only the providers are replaced: gateway.toml and keylease.toml lead to the simulator, as they would
to any endpoint of the user's own. What changes from run to run - times, identifiers, numbers - is
made equal on both sides; ``...`` in the README stands for anything.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.ports import free_port
from tests.support.simulated_provider import RunningSimulator, simulator

from keylease.strongroom.config_files.default_files import gateway_text, policy_text

ROOT = Path(__file__).parents[2]
PRODUCT = ROOT / ".venv"
END = "--- end of a command ---"
__all__ = ["simulator"]


class Command(NamedTuple):
    text: str
    expected: str


def tour() -> tuple[dict[str, str], list[Command]]:
    """The files and the commands of the tour."""
    section = (ROOT / "README.md").read_text().split("## A tour")[1].split("\n## ")[0]
    files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", section, flags=re.DOTALL))
    commands = []
    for block in re.findall(r"```console\n(.*?)```", section, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, expected = part.partition("\n")
            commands.append(Command(text, expected))
    return files, commands


def normal(text: str) -> str:
    """The same text for the same meaning."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"user:[\w.-]+", "user:NAME", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\d[\d,.]*(?:ms|s\b)", "DURATION", text)
    text = re.sub(r"(chatcmpl-)\w+", r"\1ID", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def matches(expected: str, seen: str) -> bool:
    words = [".*".join(map(re.escape, word.split("..."))) for word in normal(expected).split()]
    return re.fullmatch(r"\s+".join(words), normal(seen), flags=re.DOTALL) is not None


class Home:
    """A home directory in which the product runs."""

    def __init__(self, directory: Path, provider: RunningSimulator) -> None:
        self.directory = directory
        self.port = free_port()
        self.keys = {
            "YOUR_OPENAI_KEY": f"sk-test-{secrets.token_hex(16)}",
            "YOUR_ANTHROPIC_KEY": f"sk-ant-test-{secrets.token_hex(16)}",
        }
        for key in self.keys.values():
            provider.accept_key(key.encode())
        config = directory / ".config" / "keylease"
        config.mkdir(parents=True, mode=0o700)
        openai, anthropic = provider.openai_url.removesuffix("/v1"), provider.anthropic_url
        gateway, policy = gateway_text(), policy_text()
        for name, origin, url in (
            ("openai", openai, f"{openai}/v1"),
            ("anthropic", anthropic, anthropic),
        ):
            line = f'provider = "{name}"\n'
            gateway = gateway.replace(line, f'{line}hosts = ["{origin}"]\n')
            policy = policy.replace(line, f'{line}upstream = "{url}"\n')
        (config / "gateway.toml").write_text(gateway)
        (config / "keylease.toml").write_text(policy)
        programs = directory / "bin"
        programs.mkdir()
        python = programs / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self.environment = {
            "HOME": str(directory),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "COLUMNS": "200",
        }

    def start(self) -> subprocess.Popen[bytes]:
        with (self.directory / "up.log").open("wb") as log:
            return subprocess.Popen(
                [PRODUCT / "bin" / "keylease", "up", "--no-server", "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return (self.directory / "up.log").read_text()


@pytest.fixture
def home(tmp_path: Path, simulator: RunningSimulator) -> Iterator[Home]:
    assert PRODUCT.exists(), "run the tests with `make test`: it builds the product's environment"
    made = Home(tmp_path, simulator)
    process = made.start()
    deadline = time.monotonic() + 30
    while "Ctrl-C stops it" not in made.log:
        assert process.poll() is None, made.log
        assert time.monotonic() < deadline, made.log
        time.sleep(0.05)
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0, made.log


def test_every_command_of_the_tour_does_what_the_readme_shows(home: Home) -> None:
    files, commands = tour()
    assert len(files) >= 2
    assert len(commands) >= 10
    place = home.directory / "tour"
    place.mkdir()
    (place / ".venv").symlink_to(PRODUCT)
    for name, text in files.items():
        (place / name).write_text(text.replace("localhost:4141", f"127.0.0.1:{home.port}"))
    script = "".join(f"{{ {command.text}\n}} 2>&1\necho '{END}'\n" for command in commands).replace(
        "localhost:4141", f"127.0.0.1:{home.port}"
    )
    result = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=place,
        env={**home.environment, **home.keys},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert result.stderr == ""
    seen = result.stdout.split(f"{END}\n")
    assert seen.pop() == ""
    for command, output in zip(commands, seen, strict=True):
        assert matches(command.expected, output), (
            f"\n$ {command.text}\n--- the README shows\n{command.expected}--- it printed\n{output}"
        )


def test_the_comparison_can_fail() -> None:
    assert matches("took 1.5s, user:a ...\n", "took 30ms, user:b and more")
    assert not matches("one warning", "two warnings")
    assert not matches("200", "401")


def test_the_readme_names_only_files_that_exist() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert missing == []


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text()))
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert targets - known == set()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
