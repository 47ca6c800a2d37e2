"""Replicate: ``r8_`` and 37 letters and digits."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "replicate-api-token",
        "Replicate API token",
        ("r8_",),
        provider="replicate",
        alphabet=WORD,
        least=24,
        form=r"r8_[A-Za-z0-9]{37}",
        names=(r"replicate",),
        examples=("r8_{w:37}",),
    ),
)
