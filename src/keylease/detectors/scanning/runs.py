"""Runs of base64 characters, found at memory speed: translate every byte, search one constant."""

from __future__ import annotations

from typing import Final

SHORTEST_RUN: Final = 27
"""Characters of base64, padding not counted: 20 bytes, the length of an AWS access key id."""
SHORTEST_HEX: Final = 40
"""Hexadecimal digits: the same 20 bytes."""
RUNS: Final = bytes(
    ord("x") if chr(code).isascii() and (chr(code).isalnum() or chr(code) in "+/") else ord(" ")
    for code in range(256)
)
"""For ``bytes.translate``: base64 characters become ``x``, others a space."""
BASE64_RUN: Final = b"x" * SHORTEST_RUN
