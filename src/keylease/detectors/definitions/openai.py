"""OpenAI: legacy, project, service account and administration keys, and the plain ``sk-`` of many.

``T3BlbkFJ`` is base64 of ``OpenAI`` and stands in the middle of every key. Several providers issue
``sk-`` keys without it (DeepSeek, Stability, Braintrust, LiteLLM, Moonshot ...): their form does
not tell them apart, so what stands near decides; a mask calls all of them ``openai``.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape, prefixed
from keylease.detectors.randomness import is_random

MARK: Final = "T3Blbk" + "FJ"

DEFINITIONS: Final = (
    prefixed(
        "openai-project-key",
        "OpenAI project key",
        ("sk-proj-",),
        provider="openai",
        form=rf"sk-proj-(?:[\w-]{{20}}|[\w-]{{58}}|[\w-]{{74}}){MARK}[\w-]{{20,74}}",
        random=False,
        boundary=False,
        names=(r"open_?ai", r"gpt"),
        examples=("sk-proj-{d:74}{openai}{d:74}", "sk-proj-{w:20}{openai}{w:20}"),
    ),
    prefixed(
        "openai-service-account-key",
        "OpenAI service account key",
        ("sk-svcacct-",),
        provider="openai",
        form=rf"sk-svcacct-(?:[\w-]{{20}}|[\w-]{{58}}|[\w-]{{74}}){MARK}[\w-]{{20,74}}",
        random=False,
        boundary=False,
        examples=("sk-svcacct-{d:74}{openai}{d:74}",),
    ),
    prefixed(
        "openai-admin-key",
        "OpenAI administration key",
        ("sk-admin-",),
        provider="openai",
        form=rf"sk-admin-(?:[\w-]{{20}}|[\w-]{{58}}|[\w-]{{74}}){MARK}[\w-]{{20,74}}",
        random=False,
        boundary=False,
        examples=("sk-admin-{d:58}{openai}{d:58}",),
    ),
    Definition(
        kind="openai-legacy-key",
        title="OpenAI key of the old form",
        provider="openai",
        literals=("sk-",),
        pattern=re.compile(rf"sk-(?:None-)?[A-Za-z0-9]{{20}}{MARK}[A-Za-z0-9]{{20}}"),
        trigger=rf"sk-(?:None-)?[A-Za-z0-9]{{20}}{MARK}[A-Za-z0-9]{{20}}",
        form=re.compile(rf"sk-(?:None-)?[A-Za-z0-9]{{20}}{MARK}[A-Za-z0-9]{{20}}"),
        reads_on=False,
        examples=("sk-{w:20}{openai}{w:20}",),
    ),
    Definition(
        kind="sk-key",
        title="key that begins with sk-, of one of several providers",
        label="openai",
        literals=("sk-",),
        pattern=re.compile(r"sk-[A-Za-z0-9_-]{16,}"),
        trigger=r"sk-[A-Za-z0-9_-]{16}",
        accept=is_random,
        generic=True,
        examples=("sk-{w:48}", "sk-{h:32}"),
        counter_examples=("sk-learn-contrib-with-2-numbers", "sk-{a:1}-and-so-on-2-3-4"),
    ),
)

SHAPES: Final = (
    Shape(
        kind="openai-oldest-key",
        title="OpenAI key of the oldest form",
        provider="openai",
        form=re.compile(r"sk-[A-Za-z0-9]{48}"),
        names=(r"open_?ai",),
        examples=("sk-{w:48}",),
    ),
)
