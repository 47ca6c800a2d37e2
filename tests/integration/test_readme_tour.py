"""The README's tour, command by command, with its real clients.

Only the providers are replaced: gateway.toml and keylease.toml lead to the simulator, as they would
to any endpoint of the user's own. What changes from run to run - times, identifiers, numbers - is
made equal on both sides; ``...`` in the README stands for anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.support.ports import free_port
from tests.support.simulated_provider import RunningSimulator, simulator

from keylease.strongroom.config_files.default_files import gateway_text

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
    text = re.sub(r"(?:localhost|127\.0\.0\.1):\d+", "HOST", text)
    text = re.sub(r"\b[A-Z]{4}-[A-Z]{4}\b", "CODE", text)
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
        self.server_port = free_port()
        self.server = f"http://localhost:{self.server_port}"
        self.forgotten = f"sk-proj-{secrets.token_urlsafe(90)}"
        self.keys = {
            "YOUR_OPENAI_KEY": f"sk-test-{secrets.token_hex(16)}",
            "YOUR_ANTHROPIC_KEY": f"sk-ant-test-{secrets.token_hex(16)}",
        }
        for key in self.keys.values():
            provider.accept_key(key.encode())
        config = directory / ".config" / "keylease"
        config.mkdir(parents=True, mode=0o700)
        openai, anthropic = provider.openai_url.removesuffix("/v1"), provider.anthropic_url
        self.upstreams = {"openai": f"{openai}/v1", "anthropic": anthropic}
        gateway = gateway_text(platform_url=self.server)
        for name, origin in (("openai", openai), ("anthropic", anthropic)):
            line = f'provider = "{name}"\n'
            gateway = gateway.replace(line, f'{line}hosts = ["{origin}"]\n')
        (config / "gateway.toml").write_text(gateway)
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
            "KEYLEASE_SERVER_URL": self.server,
        }

    def start(self) -> subprocess.Popen[bytes]:
        with (self.directory / "up.log").open("wb") as log:
            return subprocess.Popen(
                [
                    PRODUCT / "bin" / "keylease",
                    "up",
                    "--port",
                    str(self.port),
                    "--server-port",
                    str(self.server_port),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return (self.directory / "up.log").read_text()


class Owner:
    """The person who opens the link, in a browser of their own."""

    def __init__(self, home: Home) -> None:
        self._browser = httpx.Client(base_url=home.server, headers={"origin": home.server})
        link = re.search(r"/sign-in/link#(\S+)", home.log)
        assert link, home.log
        self._post("/v1/sign-in/link", {"link": link[1]})
        who = {"name": "Ada", "email": "ada@example.com"}
        self._post("/v1/sign-in-methods/introduction", who)
        password = {"password": secrets.token_hex(16)}
        self._changed("PUT", "/v1/sign-in-methods/password", password)
        self._lead_to(home.upstreams)

    def close(self) -> None:
        self._browser.close()

    def approve(self, code: str) -> None:
        self._post("/v1/devices/decision", {"user_code": code, "approve": True})

    def _lead_to(self, upstreams: dict[str, str]) -> None:
        """Let the first policy's credentials lead to the simulator."""
        for credential in self._browser.get("/v1/credentials").json()["items"]:
            path = f"/v1/credentials/{credential['id']}"
            found = self._browser.get(path)
            fields = (
                "name", "provider", "reference", "purposes", "environment", "owner",
            )  # fmt: skip
            content = {name: found.json()[name] for name in fields}
            content["upstream"] = upstreams[credential["name"]]
            self._changed("PUT", path, content, version=found.headers["etag"])
        draft = self._browser.get("/v1/policy").headers["etag"]
        self._changed("POST", "/v1/policy/publish", {}, version=draft)

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        self._changed("POST", path, body)

    def _changed(
        self, method: str, path: str, body: Mapping[str, object], *, version: str = ""
    ) -> None:
        headers = {"if-match": version} if version else {}
        session = self._browser.get("/v1/session")
        if session.is_success:
            headers["x-csrf-token"] = session.json()["csrf_token"]
        answer = self._browser.request(method, path, json=body, headers=headers)
        assert answer.is_success, (path, answer.text)


@pytest.fixture
def home(tmp_path: Path, simulator: RunningSimulator) -> Iterator[Home]:
    assert PRODUCT.exists(), "run the tests with `make test`: it builds the product's environment"
    made = Home(tmp_path, simulator)
    process = made.start()
    deadline = time.monotonic() + 60
    while "Ctrl-C stops it" not in made.log:
        assert process.poll() is None, made.log
        assert time.monotonic() < deadline, made.log
        time.sleep(0.05)
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, made.log


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
    printed = ""
    with (
        contextlib.closing(Owner(home)) as owner,
        subprocess.Popen(
            ["/bin/bash", "-c", script],
            cwd=place,
            env={**home.environment, **home.keys, "A_FORGOTTEN_KEY": home.forgotten},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            if code := re.search(r"enter the code (\S+)", line):
                owner.approve(code[1])
    seen = printed.split(f"{END}\n")
    assert seen.pop() == ""
    assert home.forgotten not in printed
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
