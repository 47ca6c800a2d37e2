"""stdout is data, stderr is talk, and neither needs colour."""

from __future__ import annotations

import json

import pytest

from keylease.cli import output
from keylease.errors import KeyleaseError


def test_a_table_is_aligned_and_cannot_be_broken_by_what_is_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.emit_table(["NAME", "N"], [["a", 1], ["\x1b[31mred\n", None]])
    assert capsys.readouterr().out.splitlines() == [
        "NAME       N",
        "a          1",
        "?[31mred?  -",
    ]
    output.emit_table(["NAME"], [])
    assert capsys.readouterr().out == ""


def test_talk_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.warn("mind the gap")
    output.hint("jump")
    output.emit("data")
    said = capsys.readouterr()
    assert said.out == "data\n"
    assert said.err == "warning: mind the gap\nhint: jump\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"a": [1]}, indent=0)
    assert capsys.readouterr().out == '{"a":[1]}\n'


def test_json_moves_no_cursor_and_keeps_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "response_model": "a\x9b31m\u202eb\x7f",
        "word": "Größe 🙂",
        "tag": "\U000e0041",
        "n": "\n",
    }
    for indent in (0, 2):
        output.emit_json(value, indent=indent)
        written = capsys.readouterr().out
        assert json.loads(written) == value
        assert "Größe 🙂" in written
        assert all(c.isprintable() or c == "\n" for c in written)


def test_an_error_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_error(KeyleaseError("one\x1b[2J\ntwo", advice="three\x9bA"))
    written = capsys.readouterr().err
    assert written.splitlines() == ["error: one?[2J", "two", "hint: three?A"]


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_on_a_terminal_unless_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    *,
    coloured: bool,
) -> None:
    for name in ("NO_COLOR", "KEYLEASE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    output._color.cache_clear()
    output.hint("here")
    assert ("\x1b[" in capsys.readouterr().err) is coloured
    output._color.cache_clear()


def test_no_line_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = "a\x1b[2J\x9b1A\u202eb\rc\x07"
    for write in (output.emit, output.say, output.warn, output.hint):
        write(f"{foreign}\n\tnext")
    said = capsys.readouterr()
    for line in (said.out + said.err).splitlines():
        assert line == "\tnext" or line.endswith("a?[2J?1A?b?c?")
    assert (said.out + said.err).count("\tnext") == 4
