"""Cerebras: ``csk-`` and 48 lower-case letters and digits."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "cerebras-api-key",
        "Cerebras API key",
        ("csk-",),
        provider="cerebras",
        alphabet=WORD,
        least=32,
        form=r"csk-[a-z0-9]{48}",
        names=(r"cerebras",),
        examples=("csk-{a:48}",),
    ),
)
