"""LangSmith: ``lsv2_pt_`` (personal), ``lsv2_sk_`` (service), and ``ls__`` of old."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import WORD, prefixed

DEFINITIONS: Final = (
    prefixed(
        "langsmith-api-key",
        "LangSmith API key",
        ("lsv2_",),
        provider="langsmith",
        alphabet="A-Za-z0-9_",
        least=32,
        form=r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
        names=(r"lang_?smith", r"lang_?chain"),
        examples=("lsv2_pt_{h:32}_{h:10}", "lsv2_sk_{h:32}_{h:10}"),
    ),
    prefixed(
        "langsmith-api-key-old",
        "LangSmith API key of the old form",
        ("ls__",),
        provider="langsmith",
        alphabet=WORD,
        least=32,
        form=r"ls__[0-9a-f]{32}",
        examples=("ls__{h:32}",),
    ),
)
