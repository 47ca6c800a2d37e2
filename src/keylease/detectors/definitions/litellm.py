"""LiteLLM: virtual keys are ``sk-`` and 22 characters, told by names."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="litellm-key",
        title="LiteLLM virtual or master key",
        provider="litellm",
        form=re.compile(r"sk-[A-Za-z0-9_-]{16,64}"),
        names=(r"lite_?llm",),
        examples=("sk-{d:22}",),
    ),
)
