"""xAI: ``xai-`` and 80 letters and digits."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "xai-api-key",
        "xAI API key",
        ("xai-",),
        provider="xai",
        alphabet=WORD,
        least=20,
        form=r"xai-[A-Za-z0-9]{80}",
        names=(r"\bx_?ai\b", r"xai_", r"grok"),
        examples=("xai-{w:80}",),
    ),
    prefixed(
        "xai-management-key",
        "xAI management key",
        ("xai-token-",),
        provider="xai",
        alphabet=WORD,
        least=20,
        form=r"xai-token-[A-Za-z0-9]{80}",
        examples=("xai-token-{w:80}",),
    ),
)
