"""OpenRouter: ``sk-or-v1-`` and 64 hexadecimal digits."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "openrouter-api-key",
        "OpenRouter API key",
        ("sk-or-v1-",),
        provider="openrouter",
        alphabet=WORD,
        least=32,
        form=r"sk-or-v1-[0-9a-f]{64}",
        random=False,
        boundary=False,
        names=(r"open_?router",),
        examples=("sk-or-v1-{h:64}",),
        counter_examples=("sk-or-v1-",),
    ),
)
