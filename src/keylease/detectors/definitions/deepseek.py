"""DeepSeek: ``sk-`` and 32 hexadecimal digits; names tell it from others of that form."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="deepseek-api-key",
        title="DeepSeek API key",
        provider="deepseek",
        form=re.compile(r"sk-[0-9a-f]{32}"),
        names=(r"deep_?seek",),
        examples=("sk-{h:32}",),
    ),
)
