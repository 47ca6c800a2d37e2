"""AWS: access key ids with the secret key near them, and Bedrock API keys.

Forms: IAM user guide, "Unique identifiers" (AKIA long-term, ASIA temporary); a secret access key
is 40 characters of base64. A Bedrock key is ``ABSK`` and base64, or ``bedrock-api-key-`` and a
base64 presigned request.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random


def _is_secret_key(text: str) -> bool:
    # A git hash has 40 characters, too; a secret key that is all hexadecimal is one in 10^24.
    return any(map(str.isupper, text)) and any(map(str.islower, text)) and is_random(text)


DEFINITIONS: Final = (
    Definition(
        kind="aws",
        literals=("AKIA", "ASIA"),
        pattern=re.compile(r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
        nearby=re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"),
        nearby_accept=_is_secret_key,
    ),
    Definition(
        kind="aws-bedrock",
        literals=("ABSK",),
        pattern=re.compile(r"ABSK[A-Za-z0-9+/]{60,}={0,2}"),
    ),
    Definition(
        kind="aws-bedrock",
        literals=("bedrock-api-key-",),
        pattern=re.compile(r"bedrock-api-key-[A-Za-z0-9+/_-]{40,}={0,2}"),
    ),
)
