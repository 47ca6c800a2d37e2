"""``keylease secret`` as a user runs it: real processes, pipes and a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.readable import readable
from tests.support.store_tools import fake_key

KEYLEASE = str(Path(sys.executable).parent / "keylease")


class Command:
    """``keylease secret`` with directories of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directories = [
            f"--data-dir={directory / 'data'}",
            f"--config-dir={directory / 'config'}",
        ]

    def line(self, *arguments: str) -> list[str]:
        return [KEYLEASE, "secret", *arguments, *self.directories]

    def run(
        self,
        *arguments: str,
        entered: bytes | None = None,
        variables: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            self.line(*arguments),
            input=None if entered is None else entered.decode("latin-1"),
            stdin=subprocess.DEVNULL if entered is None else None,
            capture_output=True,
            encoding="latin-1",
            env={**self.environment(), **(variables or {})},
            pass_fds=pass_fds,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in result.stderr
        return result

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.directory), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

    def files(self) -> Iterator[bytes]:
        for path in self.directory.rglob("*"):
            if path.is_file():
                yield path.read_bytes()


class Terminal:
    """A command on a terminal of its own, as a person has it."""

    def __init__(self, command: Command, *arguments: str) -> None:
        self.main, terminal = pty.openpty()

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command.line(*arguments),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**command.environment(), "TERM": "dumb", "NO_COLOR": "1"},
            preexec_fn=own_terminal,  # noqa: PLW1509 - a controlling terminal has no other way
        )
        os.close(terminal)
        self.shown = b""

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 30
        while words.encode() not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read(0.1) and self.process.poll() is not None:
                raise AssertionError(self.shown)

    def enter(self, text: str) -> None:
        os.write(self.main, text.encode())

    def end(self) -> tuple[int, str]:
        while self._read(0.2) or self.process.poll() is None:
            continue
        os.close(self.main)
        return self.process.wait(timeout=30), self.shown.decode()

    def _read(self, seconds: float) -> bool:
        if not readable(self.main, seconds):
            return False
        try:
            data = os.read(self.main, 65536)
        except OSError:  # Linux says EIO when the other end is gone
            return False
        self.shown += data
        return bool(data)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_a_piped_secret_is_stored_and_nowhere_else(command: Command) -> None:
    value = fake_key()
    result = command.run("put", "openai", "--provider=openai", entered=f"{value}\n".encode())
    assert (result.returncode, result.stdout) == (0, "")
    assert "sealed://openai, bound to openai at api.openai.com" in result.stderr
    listed = command.run("list", "--json")
    (entry,) = json.loads(listed.stdout)
    assert (entry["name"], entry["provider"], entry["hosts"]) == (
        "openai",
        "openai",
        ["api.openai.com"],
    )
    checked = command.run("check", "sealed://openai", "--json")
    report = json.loads(checked.stdout)
    assert report["length"] == "40 to 79 characters"
    assert report["version"]
    for shown in (result, listed, checked):
        assert value not in shown.stdout + shown.stderr
    for content in command.files():
        assert value.encode() not in content


def test_a_check_says_what_cannot_be_a_provider_key(command: Command) -> None:
    checked = command.run("check", "env://NOTE", variables={"NOTE": "not a key"})
    assert checked.returncode == 0
    assert "warning: What the store gave cannot be a provider key." in checked.stderr
    assert "not a key" not in checked.stdout + checked.stderr


def test_a_typed_secret_is_not_echoed(command: Command) -> None:
    value = fake_key()
    terminal = Terminal(command, "put", "openai")
    terminal.until("not shown")
    terminal.enter(value + "X\x7f\r")
    status, shown = terminal.end()
    assert status == 0, shown
    assert value not in shown
    assert f"Read {len(value)} characters, ending in ...{value[-4:]}" in shown
    assert "Stored sealed://openai" in shown
    assert command.run("check", "sealed://openai").returncode == 0


def test_a_secret_longer_than_a_terminal_line_is_whole(command: Command) -> None:
    value = "k" * 9000
    terminal = Terminal(command, "put", "long")
    terminal.until("not shown")
    for start in range(0, len(value), 1000):
        terminal.enter(value[start : start + 1000])
        time.sleep(0.02)
    terminal.enter("\r")
    status, shown = terminal.end()
    assert status == 0, shown
    assert "Read 9000 characters" in shown


def test_a_paste_of_two_lines_is_refused_whole(command: Command) -> None:
    value = fake_key()
    terminal = Terminal(command, "put", "openai")
    terminal.until("not shown")
    terminal.enter(f"{value}\recho pasted\r")
    status, shown = terminal.end()
    assert status == 1
    assert "a line break in it" in shown
    assert value not in shown
    assert "echo pasted" not in shown, "the rest of the paste goes to nobody"
    assert command.run("list").stdout == ""


def test_an_interrupt_restores_the_terminal(command: Command) -> None:
    terminal = Terminal(command, "put", "openai")
    terminal.until("not shown")
    terminal.enter("sk-test-half\x03")
    status, shown = terminal.end()
    assert status != 0
    assert "half" not in shown
    assert command.run("list").stdout == ""


@pytest.mark.parametrize(
    ("entered", "words"),
    [
        (b"", "Nothing was entered"),
        (b"\n", "Nothing was entered"),
        (b"sk-test a", "space or a line break"),
        (b" sk-test", "space or a line break"),
        (b"sk-test\nsk-test", "space or a line break"),
        (b"sk-test\x00", "cannot be printed"),
        (b"sk-test\xff", "cannot be printed"),
        ("sk-test\u200b".encode(), "cannot be printed"),
        (b"x" * 20000, "over 16384 bytes"),
    ],
    ids=["nothing", "newline", "space", "before", "lines", "nul", "latin", "zero width", "long"],
)
def test_slips_of_the_clipboard_get_one_clear_error(
    command: Command, entered: bytes, words: str
) -> None:
    result = command.run("put", "openai", entered=entered)
    assert result.returncode == 1
    assert words in result.stderr
    assert "sk-test" not in result.stderr
    assert len(result.stderr.splitlines()) == 2, "one error, one hint"
    assert command.run("list").stdout == ""


def test_a_secret_as_an_argument_is_refused_and_not_repeated(command: Command) -> None:
    value = fake_key()
    result = command.run("put", "openai", value, entered=b"")
    assert result.returncode == 64
    assert value not in result.stdout + result.stderr
    assert "never an argument" in result.stderr


def descendants(pid: int) -> list[int]:
    found = [pid]
    for known in found:
        for path in Path(f"/proc/{known}/task").glob("*/children"):
            found += [int(child) for child in path.read_text().split()]
    return found


def test_no_process_has_it_in_its_arguments_or_environment(command: Command) -> None:
    """Both processes are looked at while they hold the terminal and the secret is half read."""
    value = fake_key()
    process = subprocess.Popen(
        command.line("put", "openai"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=command.environment(),
    )
    assert process.stdin is not None
    process.stdin.write(value.encode())
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not any(
        b"secret-put" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in descendants(process.pid)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    looked_at = descendants(process.pid)
    assert len(looked_at) == 2
    for pid in looked_at:
        for name in ("cmdline", "environ"):
            # A strongroom process is closed even to its own user: then there is nothing to see.
            with contextlib.suppress(PermissionError):
                assert value.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    if os.geteuid() == 0:
        maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        assert value.encode() not in memory_of(process.pid, maps), "the command line's own memory"
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def memory_of(pid: int, maps: list[str]) -> bytes:
    content = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in maps:
            place, rights, *_ = line.split()
            start, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                memory.seek(start)
                content += memory.read(end - start)
    return bytes(content)


def test_replace_remove_and_what_is_missing(command: Command) -> None:
    assert command.run("put", "a", entered=b"sk-test-1").returncode == 0
    again = command.run("put", "a", entered=b"sk-test-2")
    assert again.returncode == 1
    assert "--replace" in again.stderr
    assert command.run("put", "a", "--replace", entered=b"sk-test-2").returncode == 0
    unsure = command.run("remove", "a")
    assert unsure.returncode == 64
    assert "--yes" in unsure.stderr
    assert command.run("remove", "a", "--yes").returncode == 0
    gone = command.run("check", "sealed://a")
    assert gone.returncode == 1
    assert "no sealed secret named a" in gone.stderr
    assert command.run("remove", "a", "--yes").returncode == 1


def test_removing_asks_at_a_terminal(command: Command) -> None:
    command.run("put", "a", entered=b"sk-test-1")
    terminal = Terminal(command, "remove", "a")
    terminal.until("Remove sealed://a?")
    terminal.enter("n\r")
    assert terminal.end()[0] != 0
    headings, row = command.run("list").stdout.splitlines()
    assert headings.split() == ["NAME", "STORED", "PROVIDER", "HOSTS"]
    assert headings.index("STORED") == row.index("20")
    assert row.startswith("a ")
    assert row.split()[2:] == ["-", "-"]
    terminal = Terminal(command, "remove", "a")
    terminal.until("Remove sealed://a?")
    terminal.enter("y\r")
    assert terminal.end()[0] == 0
    assert command.run("list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("put", "a", "--provider=nobody"), "one of: openai"),
        (("put", "a", "--host=x"), "--host needs --provider"),
        (("put", "a", "--provider=openai", "--host=https://x"), "not the name of a host"),
        (("put", "a", "--provider=openai-compatible"), "--host"),
        (("put", "../a"), "not of the form"),
        (("check", "a"), "known scheme"),
        (("check", "vault://secret/a"), "names no field"),
    ],
    ids=["provider", "host alone", "host", "no host", "name", "reference", "field"],
)
def test_mistakes_are_told_before_a_secret_is_asked_for(
    command: Command, arguments: tuple[str, ...], words: str
) -> None:
    result = command.run(*arguments)
    assert result.returncode == 64
    assert words in result.stderr


def test_check_reaches_other_stores(command: Command) -> None:
    value = fake_key()
    result = command.run("check", "env://MY_KEY", variables={"MY_KEY": value})
    assert result.returncode == 0
    assert "digest-" in result.stdout
    assert value not in result.stdout + result.stderr
    absent = command.run("check", "env://MY_KEY")
    assert absent.returncode == 1
    assert "MY_KEY was not set" in absent.stderr


def given(text: str) -> int:
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    return reader


def test_rekey_to_a_passphrase_and_back(command: Command) -> None:
    phrase = "correct horse battery staple"
    command.run("put", "a", entered=b"sk-test-1")
    assert command.run("rekey").returncode == 0
    descriptor = given(phrase)
    result = command.run("rekey", f"--new-passphrase-fd={descriptor}", pass_fds=(descriptor,))
    os.close(descriptor)
    assert result.returncode == 0, result.stderr
    assert "passphrase_file" in result.stderr

    terminal = Terminal(command, "check", "sealed://a")
    terminal.until("Passphrase of the sealed store")
    terminal.enter(phrase + "\r")
    status, shown = terminal.end()
    assert status == 0, shown
    assert phrase not in shown

    descriptor = given("an incorrect horse")
    wrong = command.run("list", f"--passphrase-fd={descriptor}", pass_fds=(descriptor,))
    os.close(descriptor)
    assert wrong.returncode == 1
    assert "not the one that sealed" in wrong.stderr

    path = command.directory / "config" / "second.key"
    descriptor = given(phrase)
    back = command.run(
        "rekey",
        f"--passphrase-fd={descriptor}",
        f"--new-key-file={path}",
        pass_fds=(descriptor,),
    )
    os.close(descriptor)
    assert back.returncode == 0, back.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    nowhere = command.run("check", "sealed://a")
    assert nowhere.returncode == 1, "the old key file does not open it"
