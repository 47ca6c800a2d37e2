"""What a secret looks like: patterns, checksums, entropy, context. Pure functions, no I/O."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, order=True):
    """Where something that looks like a secret stands in a text."""

    start: int
    end: int
    kind: str
    """``openai``, ``aws``, ... as in the replacement ``[secret:openai]``."""


def find(text: str) -> list[Finding]:
    """Every secret in the text, in order, not overlapping."""
    raise NotImplementedError


def mask(text: str) -> tuple[str, list[Finding]]:
    """Replace every secret by ``[secret:kind]``; the findings refer to the original text."""
    raise NotImplementedError
