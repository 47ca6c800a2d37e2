"""How a secret gets in: typed or pasted at a terminal without echo, or piped.

Protects: never from an argument or a variable; nothing is echoed; a slip of the clipboard is
    refused with one clear error that does not repeat it.
Does not protect: the clipboard, the terminal's own scroll-back of other programs, or the file or
    program that was piped in.
Limits: 16 KiB; printable ASCII without spaces, which is what fits into an HTTP header.
"""

from __future__ import annotations

import os
import select
import termios
from typing import Final

from keylease.errors import ProcessError, SecretInvalid
from keylease.strongroom.secrets import Secret

LONGEST: Final = 16 * 1024
TERMINAL: Final = "/dev/tty"
_LOCAL_FLAGS: Final = 3
_CONTROL_CHARACTERS: Final = 6
"""Places in what ``termios.tcgetattr`` gives."""
_PASTE_SECONDS: Final = 0.15
"""After the end of a line, the rest of a paste of several lines is there within this time."""
_TAIL_FROM: Final = 24
_TAIL: Final = 4
_ERASE: Final = (b"\x7f", b"\x08")
_KILL_LINE: Final = b"\x15"
_END_OF_FILE: Final = b"\x04"


def read_secret(prompt: str, *, stdin: int = 0) -> Secret:
    """From the terminal when ``stdin`` is one, from the pipe or file that it is otherwise.

    Raises ``SecretInvalid`` or ``ProcessError``.
    """
    if os.isatty(stdin):
        return ask_terminal(prompt)
    return checked(read_pipe(stdin))


def ask_terminal(prompt: str) -> Secret:
    """Ask on the terminal of this process, whatever its standard streams are, without echo.

    Shows the length and the last characters of a long secret, so that a wrong paste is seen.
    """
    terminal = _open_terminal()
    try:
        secret = checked(_read_without_echo(terminal, f"{prompt}: "))
        tail = ""
        if len(secret) >= _TAIL_FROM:
            shown = secret.reveal(why="show its tail to the person who typed it")[-_TAIL:]
            tail = f", ending in ...{shown.decode('ascii')}"
        os.write(terminal, f"Read {len(secret)} characters{tail}.\n".encode())
    finally:
        os.close(terminal)
    return secret


def ask_passphrase(prompt: str) -> Secret:
    """Ask on the terminal without echo. Anything goes but an empty answer."""
    terminal = _open_terminal()
    try:
        answer = _read_without_echo(terminal, f"{prompt}: ")
    finally:
        os.close(terminal)
    if not answer or b"\n" in answer:
        raise SecretInvalid(
            "That is no passphrase: it is empty, or has a line break in it.",
            advice="Type it on one line. Nothing was changed.",
        )
    return Secret(answer)


def read_pipe(descriptor: int, *, maximum: int = LONGEST) -> bytes:
    """All there is, up to a little over ``maximum``; one newline at the end is cut."""
    content = bytearray()
    while len(content) <= maximum + 2 and (chunk := os.read(descriptor, maximum + 2)):
        content += chunk
    return bytes(content).removesuffix(b"\n").removesuffix(b"\r")


def checked(content: bytes) -> Secret:
    """Refuse what cannot be a provider key. Raises ``SecretInvalid``, which repeats nothing."""
    problem = ""
    if not content:
        problem = "Nothing was entered."
    elif len(content) > LONGEST:
        problem = f"That is over {LONGEST} bytes."
    elif any(byte in b" \t\r\n\v\f" for byte in content):
        problem = "That has a space or a line break in it."
    elif not all(0x21 <= byte <= 0x7E for byte in content):  # noqa: PLR2004 - printable ASCII
        problem = "That has characters in it that cannot be printed or are not ASCII."
    if problem:
        raise SecretInvalid(
            problem, advice="Enter the provider key alone, on one line. Nothing was stored."
        )
    return Secret(content)


def _open_terminal() -> int:
    try:
        return os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        raise ProcessError(
            "There is no terminal to ask on.",
            advice="Pipe the secret into standard input, a passphrase into --passphrase-fd.",
        ) from None


def _read_without_echo(terminal: int, prompt: str) -> bytes:
    """Read one line. Not in the terminal's line mode, which cuts lines at 4096 characters."""
    before = termios.tcgetattr(terminal)
    silent = termios.tcgetattr(terminal)
    silent[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
    silent[_CONTROL_CHARACTERS][termios.VMIN] = 1
    silent[_CONTROL_CHARACTERS][termios.VTIME] = 0
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        os.write(terminal, prompt.encode())
        line = _line(terminal)
        os.write(terminal, b"\n")
    finally:
        # TCSAFLUSH also drops what is left of a paste, which a shell would otherwise run.
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    return line


def _line(terminal: int) -> bytes:
    line = bytearray()
    while True:
        character = os.read(terminal, 1)
        if character in {b"\n", b"\r"}:
            if select.select([terminal], [], [], _PASTE_SECONDS)[0]:
                line += b"\n"  # more lines follow: refused as a line break, in one place
            return bytes(line)
        if character in {b"", _END_OF_FILE}:
            return bytes(line)
        if character in _ERASE:
            del line[-1:]
        elif character == _KILL_LINE:
            line.clear()
        elif len(line) <= LONGEST:
            line += character
