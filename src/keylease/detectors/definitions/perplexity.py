"""Perplexity: ``pplx-`` and 48 letters and digits. Such a key can mint others."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "perplexity-api-key",
        "Perplexity API key",
        ("pplx-",),
        provider="perplexity",
        alphabet=WORD,
        least=32,
        form=r"pplx-[A-Za-z0-9]{48}",
        names=(r"perplexity", r"pplx"),
        examples=("pplx-{w:48}",),
        counter_examples=("pplx-embedding-model-large",),
    ),
)
