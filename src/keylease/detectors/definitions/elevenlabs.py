"""ElevenLabs: ``sk_`` and 48 hexadecimal digits, and the 32 digits of old, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final = (
    Definition(
        kind="elevenlabs-api-key",
        title="ElevenLabs API key",
        provider="elevenlabs",
        literals=("sk_",),
        pattern=re.compile(r"sk_[0-9a-f]{48}(?![A-Za-z0-9])"),
        trigger=r"sk_[0-9a-f]{48}",
        form=re.compile(r"sk_[0-9a-f]{48}"),
        reads_on=False,
        names=(r"eleven_?labs", r"xi_?api_?key", r"\bxi\b"),
        examples=("sk_{h:48}",),
        counter_examples=("sk_{h:47}", "sk_{h:49}"),
    ),
)

SHAPES: Final = (
    Shape(
        kind="elevenlabs-api-key-32",
        title="ElevenLabs API key of 32 digits",
        provider="elevenlabs",
        form=re.compile(r"[0-9a-f]{32}"),
        names=(r"eleven_?labs", r"\beleven_?(?:api|key|token)", r"xi_?api_?key"),
        bare=True,
        examples=("{h:32}",),
    ),
)
