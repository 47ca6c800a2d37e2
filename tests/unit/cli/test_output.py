"""stdout is data, stderr is talk, and neither needs colour."""

from __future__ import annotations

import pytest

from keylease.cli import output


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
