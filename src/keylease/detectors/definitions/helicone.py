"""Helicone: ``sk-helicone-`` and ``pk-helicone-`` (write only), four groups of seven."""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import prefixed

DEFINITIONS: Final = (
    prefixed(
        "helicone-api-key",
        "Helicone API key",
        ("sk-helicone-", "pk-helicone-"),
        provider="helicone",
        alphabet="A-Za-z0-9-",
        least=24,
        form=r"[sp]k-helicone-(?:eu-|cp-)?[a-z0-9]{7}(?:-[a-z0-9]{7}){3}",
        random=False,
        boundary=False,
        names=(r"helicone",),
        examples=("sk-helicone-{a:7}-{a:7}-{a:7}-{a:7}", "pk-helicone-eu-{a:7}-{a:7}-{a:7}-{a:7}"),
    ),
)
