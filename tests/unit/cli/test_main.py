"""The console entry: the table, the errors, the exit statuses."""

from __future__ import annotations

import errno
import os
import secrets
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

import keylease
from keylease.cli import main as entry
from keylease.errors import DataFormatTooNew, PortInUse, StorageFull


def keylease_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "keylease", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command `probe` whose body a test sets."""
    module = types.ModuleType("tests_probe_command")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(entry.COMMANDS, "probe", entry.CommandEntry(module.__name__, "Probe."))
    return module


def test_help_lists_every_command_and_loads_none() -> None:
    code = (
        "import sys; from keylease.cli.main import main; main(['--help']);"
        "print(sorted(m for m in sys.modules if m.startswith('keylease.cli.')"
        " or m in ('typer', 'rich', 'httpx')), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for name, item in entry.COMMANDS.items():
        assert name in result.stdout
        assert item.help in result.stdout
    assert result.stderr.strip() == "['keylease.cli.main', 'keylease.cli.output']"


def test_the_help_of_a_command_loads_that_command_only() -> None:
    code = (
        "import sys; from keylease.cli.main import main; main(['doctor', '--help']);"
        "print(sorted(m for m in sys.modules if m.startswith('keylease.cli.')), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "Usage: keylease doctor" in result.stdout
    for other in ("up", "run", "secret", "simulator", "supervisor"):
        assert f"'keylease.cli.{other}'" not in result.stderr


def test_version() -> None:
    assert keylease_command("--version").stdout == f"keylease {keylease.__version__}\n"


def test_a_slip_of_the_pen_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["doctr"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: There is no command `doctr`. Did you mean `doctor`?",
        "hint: `keylease --help` lists the commands.",
    ]


def test_no_command_shows_the_list_and_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([]) == 2
    assert "Commands:" in capsys.readouterr().out


def test_an_unknown_option_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["doctor", "--jsno"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: No such option: --jsno")
    assert "hint: `keylease doctor --help`" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "zzz"], "A trace is named by 32 hexadecimal digits."),
        (["show", "A" * 32, "12"], "A span is named by 16 hexadecimal digits."),
        (["history", "a" * 32, "../x"], "A span is named by 16 hexadecimal digits."),
    ],
)
def test_an_identifier_of_a_trace_is_looked_at_before_a_server_is_asked(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["traces", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_mistake_is_said_without_a_librarys_words_and_points_at_its_own_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert entry.main(["lease", "create", "--purpose", "prod"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: Invalid value for '--purpose': 'prod' is not one of 'production'"
    )
    assert said.endswith("hint: `keylease lease create --help` shows how it is used.\n")
    assert entry.main(["lease", "revoke"]) == 2
    assert "Choose from: lease, principal, credential, all" in capsys.readouterr().err


def test_a_key_that_was_typed_by_mistake_is_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = f"sk-proj-{secrets.token_urlsafe(90)}"
    for arguments in (["login", key], ["lease", key], ["calls", f"--{key}"]):
        assert entry.main(arguments) == 2
        assert key not in capsys.readouterr().err


def test_an_error_becomes_message_hint_and_status(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise PortInUse("Somebody listens on port 1.", advice="Choose another.")

    command.command = body  # type: ignore[attr-defined]  # a module made for the test
    assert entry.main(["probe"]) == PortInUse.exit_status
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "error: Somebody listens on port 1.\nhint: Choose another.\n",
    )

    def newer() -> None:
        raise DataFormatTooNew("Too new.")

    command.command = newer  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 65
    assert capsys.readouterr().err == "error: Too new.\n"


def test_a_defect_is_one_line_and_tells_nothing(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        local_value = "kll_of_somebody"
        raise RuntimeError(len(local_value))

    command.command = body  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 70
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "error: RuntimeError (this is a defect)"
    assert "Traceback" not in said
    assert entry.main(["--debug", "probe"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "raise RuntimeError(len(local_value))" in said  # the line of code, not its value
    assert said.count("kll_of_somebody") == 0


def test_an_interrupt_is_quiet(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    command.command = body  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 130
    assert capsys.readouterr().err == ""


def test_a_command_may_give_its_status(command: types.ModuleType) -> None:
    command.command = lambda: 3  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 3

    def leave() -> None:
        raise typer.Exit(4)

    command.command = leave  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 4


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "keylease", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 141


@pytest.mark.parametrize(
    "arguments",
    [["config", "show"], ["nonsense"], ["secret", "check", "sealed://none"], ["scan", "none"]],
)
def test_nor_is_one_that_read_both_streams(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYLEASE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KEYLEASE_CONFIG_DIR", str(tmp_path / "config"))
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "keylease", *arguments], stdout=writer, stderr=writer, check=False
    )
    os.close(writer)
    assert result.returncode == 141


def test_a_full_disk_under_the_output_is_no_defect(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command.command = body  # type: ignore[attr-defined]  # a module made for the test
    assert entry.main(["probe"]) == StorageFull.exit_status
    assert capsys.readouterr().err.startswith("error: There is no space to write standard output.")


def test_a_connection_that_broke_is_not_taken_for_a_reader_that_left(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    command.command = body  # type: ignore[attr-defined]  # as above
    assert entry.main(["probe"]) == 70
    assert "this is a defect" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["secret", "inventory", "traces", "policy"])
def test_a_list_of_commands_has_whole_sentences(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main([name, "--help"]) == 0
    _, _, commands = capsys.readouterr().out.partition("Commands:")
    assert commands
    assert "..." not in commands


def test_the_first_sentence_of_a_help_text() -> None:
    assert entry.first_sentence("One\nof two. And more.\n\nRest.") == "One of two."
    assert entry.first_sentence("One, without an end") == "One, without an end"
