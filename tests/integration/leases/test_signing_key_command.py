"""``python -I -m keylease.strongroom signing-key``, as its documentation says it is used."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.secrets import Secret

COMMAND = [sys.executable, "-I", "-m", "keylease.strongroom", "signing-key"]


def test_keys_are_piped_and_rotated() -> None:
    made = subprocess.run(COMMAND, capture_output=True, check=True).stdout
    rotated = subprocess.run(
        [*COMMAND, "--rotate"], input=made, capture_output=True, check=True
    ).stdout
    keys = SigningKeys.from_secret(Secret(rotated))
    assert SigningKeys.from_secret(Secret(made)).kid in keys.public_keys()


def test_what_is_no_key_set_is_refused_and_not_repeated() -> None:
    result = subprocess.run(
        [*COMMAND, "--rotate"], input=b"sk-test-nonsense", capture_output=True, check=False
    )
    assert result.returncode != 0
    assert result.stdout == b""
    assert b"error:" in result.stderr
    assert b"sk-test" not in result.stderr


def test_a_terminal_is_refused() -> None:
    ours, theirs = pty.openpty()
    try:
        result = subprocess.run(COMMAND, stdout=theirs, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(theirs)
        os.close(ours)
    assert result.returncode == 64
    assert b"terminal" in result.stderr
