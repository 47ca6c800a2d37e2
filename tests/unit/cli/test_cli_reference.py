"""docs/reference/cli.md is what each command says of itself, and no command is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keylease.cli import main as entry

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
SECTIONS = dict(
    re.findall(
        r"^## (keylease[^\n]*)\n\n```text\n(.*?)```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
)


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert entry.main([*command.split()[1:], "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return "\n".join(line.rstrip() for line in said.out.strip().splitlines()) + "\n"


def subcommands(text: str) -> list[str]:
    _, _, section = text.partition("\nCommands:\n")
    return re.findall(r"^  ([a-z][a-z-]*)  ", section, re.MULTILINE)


@pytest.fixture(autouse=True)
def same_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_the_reference_says_what_the_command_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pending = [f"keylease {name}"]
    while pending:
        command = pending.pop()
        said = helped(command, capsys)
        assert said.startswith(f"Usage: {command}")
        assert "\x1b" not in said
        assert SECTIONS.get(command) == said, "run `make docs`"
        pending += [f"{command} {below}" for below in subcommands(said)]


def test_nor_does_it_know_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert SECTIONS["keylease"] == helped("keylease", capsys)
    for command in SECTIONS:
        *above, name = command.split()
        if above:
            assert name in subcommands(SECTIONS[" ".join(above)])
