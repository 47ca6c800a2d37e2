"""Alibaba's DashScope (Qwen): ``sk-`` and 32 hexadecimal digits, told by names."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final[tuple[Definition, ...]] = ()

SHAPES: Final = (
    Shape(
        kind="dashscope-api-key",
        title="DashScope API key",
        provider="dashscope",
        form=re.compile(r"sk-[0-9a-f]{32}"),
        names=(r"dash_?scope", r"qwen", r"aliyun", r"bailian"),
        examples=("sk-{h:32}",),
    ),
)
