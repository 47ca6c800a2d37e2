"""The end of a process whose standard output or standard error nobody reads any more.

A reader that leaves (``keylease calls | head``) is in its right. Python finds out when it flushes,
at the latest at interpreter exit, complains there and ends with the status 120. So a process
flushes while it can still answer for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Final, TextIO

READER_GONE_STATUS: Final = 128 + signal.SIGPIPE
"""What a shell says of a program that the signal ended."""
UNWRITABLE_STATUS: Final = 74
"""EX_IOERR of sysexits.h."""


def answered(run: Callable[[], int]) -> int:
    """The exit status of ``run``, or ``READER_GONE_STATUS`` when nobody reads what it says.

    ``run`` handles its own errors, but for a ``BrokenPipeError`` of one of the two streams, and
    flushes stdout before it says that it has succeeded.
    """
    _open_closed()
    try:
        status = run()
    except BrokenPipeError:
        status = READER_GONE_STATUS
    except OSError:
        status = UNWRITABLE_STATUS  # not even the error could be said
    _discard_unwritten()
    return status


def reader_has_gone() -> bool:
    """Whether one of the two streams is a pipe that nobody reads any more.

    A ``BrokenPipeError`` may also come from a connection to somebody else.
    """
    looks = select.poll()
    for stream in _streams():
        with contextlib.suppress(OSError):  # no descriptor: nothing that could break
            looks.register(stream.fileno(), select.POLLERR)
    return any(found & select.POLLERR for _, found in looks.poll(0))


def _discard_unwritten() -> None:
    """Point streams that cannot be written at nothing, so that no later flush fails.

    See the note on SIGPIPE in the documentation of ``signal``.
    """
    for stream in _streams():
        try:
            stream.flush()
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
            with contextlib.suppress(OSError):  # what was buffered goes into nothing, too
                stream.flush()


def _open_closed() -> None:
    """Put nothing into the place of a stream that the process was started without.

    Python has ``None`` there, and the first file that is opened would take the descriptor.
    """
    nothing = {
        number: os.open(os.devnull, os.O_RDWR)
        for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr))
        if stream is None
    }
    if 0 in nothing:
        sys.stdin = os.fdopen(nothing[0])
    if 1 in nothing:
        sys.stdout = os.fdopen(nothing[1], "w")
    if 2 in nothing:  # noqa: PLR2004 - the number of standard error
        sys.stderr = os.fdopen(nothing[2], "w")


def _streams() -> tuple[TextIO, TextIO]:
    return sys.stdout, sys.stderr
