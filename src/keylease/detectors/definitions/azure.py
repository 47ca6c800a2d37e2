"""Azure OpenAI: the 32 hexadecimal digits of old, and the 84 characters of now.

The long form carries marks at fixed places (https://github.com/microsoft/security-utilities): 52
random characters, ``JQQJ99``, where and when it was made, ``ACOG`` for Cognitive Services, and a
checksum of four characters whose seed is not published for this service.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape

DEFINITIONS: Final = (
    Definition(
        kind="azure-openai-key",
        title="Azure OpenAI key of 84 characters",
        provider="azure",
        literals=("JQQJ99",),
        offset=52,
        pattern=re.compile(
            r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}ACOG[A-Za-z0-9]{4}(?![A-Za-z0-9])"
        ),
        trigger=r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}ACOG[A-Za-z0-9]{4}",
        form=re.compile(r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{18}ACOG[A-Za-z0-9]{4}"),
        names=(r"azure", r"cognitive_?services"),
        examples=("{w:52}JQQJ99BDACYeBjFXJ3w3AAABACOG{w:4}",),
        counter_examples=("{w:52}JQQJ99{w:18}XXXX{w:4}",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="azure-openai-key-32",
        title="Azure OpenAI key of 32 digits",
        provider="azure",
        form=re.compile(r"[0-9a-f]{32}"),
        names=(r"azure", r"cognitive_?services", r"aoai"),
        examples=("{h:32}",),
    ),
)
