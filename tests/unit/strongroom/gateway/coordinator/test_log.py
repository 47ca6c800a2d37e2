"""The coordinator's log: one safe line for each event."""

from __future__ import annotations

import json

import pytest

from keylease.strongroom.gateway.coordinator.log import make_log
from keylease.strongroom.secrets import Secret

HOSTILE = 'a\nlevel=error \x1b[2J"\u202e'


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_can_neither_end_the_line_nor_move_a_cursor(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_log(form=form).info("something_happened", value=HOSTILE)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert "something_happened" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_objects_give_their_type_and_errors_their_name(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_log(form=form).info("e", secret=Secret("sk-test-1"), error=ValueError("sk-test-2"))
    line = capsys.readouterr().err
    assert "<Secret>" in line
    assert "ValueError" in line
    assert "sk-test" not in line


def test_less_important_lines_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log = make_log(level="warning", gateway="local")
    log.info("quiet")
    log.warning("loud", number=1)
    entry = json.loads(capsys.readouterr().err)
    assert (entry["event"], entry["level"], entry["gateway"]) == ("loud", "warning", "local")


def test_text_begins_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    make_log(form="text").error("it_broke", reason="a b")
    moment, level, event, rest = capsys.readouterr().err.strip().split(" ", 3)
    assert moment.endswith("Z")
    assert (level, event, rest) == ("error", "it_broke", 'reason="a b"')
