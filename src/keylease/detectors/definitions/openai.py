"""OpenAI: project, service account and admin keys, and the plain ``sk-`` of many others.

Several OpenAI-compatible providers (DeepSeek, Moonshot, LiteLLM) issue ``sk-`` keys too; their
form does not tell them apart, so they carry this name.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

DEFINITIONS: Final = (
    Definition(
        kind="openai",
        literals=("sk-proj-", "sk-svcacct-", "sk-admin-"),
        pattern=re.compile(r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{16,}"),
        boundary=False,
    ),
    Definition(
        kind="openai",
        literals=("sk-",),
        pattern=re.compile(r"sk-[A-Za-z0-9_-]{16,}"),
        accept=is_random,
    ),
)
