"""NVIDIA: ``nvapi-`` and 64 characters."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import prefixed

DEFINITIONS: Final = (
    prefixed(
        "nvidia-api-key",
        "NVIDIA API key",
        ("nvapi-",),
        provider="nvidia",
        least=32,
        form=r"nvapi-[A-Za-z0-9_-]{60,70}",
        names=(r"nvidia", r"nvapi", r"\bnim\b", r"\bngc\b"),
        examples=("nvapi-{d:64}",),
    ),
)
