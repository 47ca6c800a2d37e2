"""A reader that leaves, a full disk and a stream that was never there, each in a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from keylease.primitives import standard_streams

def run():
    print("x" * 100)
    {body}
    sys.stdout.flush()
    return 3

sys.exit(standard_streams.answered(run))
"""


def ended(body: str, *, stdout: int, stderr: int) -> int:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        check=False,
        timeout=60,
    ).returncode


@pytest.fixture
def left() -> int:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("body", ["pass", "print('talk', file=sys.stderr)"])
def test_nobody_reads_either_stream(left: int, body: str) -> None:
    assert ended(body, stdout=left, stderr=left) == 141
    os.close(left)


def test_only_talk_is_left(left: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body="pass")],
        stdout=left,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(left)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110 - at import
def test_a_full_disk_under_both() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    assert ended("pass", stdout=full, stderr=full) == 74
    os.close(full)


def test_streams_that_were_closed_are_nothing_and_no_file_takes_their_place() -> None:
    body = "assert open('/dev/null').fileno() > 2; print('talk', file=sys.stderr)"
    script = f"exec 0<&- 1>&- 2>&-; exec '{sys.executable}' -c \"$0\""
    result = subprocess.run(
        ["/bin/sh", "-c", script, PROGRAM.format(body=body)], check=False, timeout=60
    )
    assert result.returncode == 3


@pytest.mark.parametrize("answer", [b"True", b"False"])
def test_whose_pipe_it_was_that_broke(answer: bytes) -> None:
    reader, writer = os.pipe()
    if answer == b"True":
        os.close(reader)
    program = (
        "import sys; from keylease.primitives import standard_streams as s;"
        "print(s.reader_has_gone(), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    os.close(writer)
    if answer == b"False":
        os.close(reader)
    assert result.stderr.strip() == answer
