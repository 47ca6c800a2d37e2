"""Groq: ``gsk_`` and 52 letters and digits."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "groq-api-key",
        "Groq API key",
        ("gsk_",),
        provider="groq",
        alphabet=WORD,
        least=20,
        form=r"gsk_[A-Za-z0-9]{52}",
        names=(r"groq",),
        examples=("gsk_{w:20}WGdyb3FY{w:24}", "gsk_{w:52}"),
        counter_examples=("gsk_application_window_new",),
    ),
)
