"""Braintrust: ``bt-st-`` service tokens; API keys are ``sk-`` and 48, which names tell."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import WORD, Shape, prefixed

DEFINITIONS: Final = (
    prefixed(
        "braintrust-service-token",
        "Braintrust service token",
        ("bt-st-",),
        provider="braintrust",
        alphabet=WORD,
        least=32,
        form=r"bt-st-[A-Za-z0-9]{48}",
        names=(r"brain_?trust",),
        examples=("bt-st-{w:48}",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="braintrust-api-key",
        title="Braintrust API key",
        provider="braintrust",
        form=re.compile(r"sk-[A-Za-z0-9]{48}"),
        names=(r"brain_?trust",),
        examples=("sk-{w:48}",),
    ),
)
