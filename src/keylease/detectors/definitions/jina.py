"""Jina: ``jina_``, 32 hexadecimal digits, 28 characters."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import prefixed

DEFINITIONS: Final = (
    prefixed(
        "jina-api-key",
        "Jina API key",
        ("jina_",),
        provider="jina",
        least=40,
        form=r"jina_[0-9a-f]{32}[A-Za-z0-9_-]{28}",
        names=(r"\bjina",),
        examples=("jina_{h:32}{d:28}",),
        counter_examples=("jina_embeddings_v3_a_model_of_many_words_in_a_row",),
    ),
)
