"""Secrets that were published with standards, emulators and libraries, so that everybody has them.

Each is known by the beginning of the SHA-256 of its text without white space; the list holds none
of them in the clear. Append-only; whoever adds one says where it was published.
"""

from __future__ import annotations

from typing import Final

PUBLISHED: Final[dict[str, str]] = {}
