"""AWS: access key ids, the secret keys that belong to them, and session tokens.

Forms: IAM user guide, "Unique identifiers" (AKIA long-term, ASIA temporary); after the four letters
an id has base32 characters only, in which the account's number is written. A secret access key is
40 characters of base64; nothing in it says so, and a git hash has 40 characters, too.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, Shape
from keylease.detectors.randomness import is_random

_KEY_ID: Final = re.compile(r"(?<![A-Za-z0-9])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9])")
_SECRET: Final = re.compile(r"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")


def _is_secret_key(text: str) -> bool:
    # A secret key that is all hexadecimal is one in 10^24.
    return any(map(str.isupper, text)) and any(map(str.islower, text)) and is_random(text)


DEFINITIONS: Final = (
    Definition(
        kind="aws-access-key-id",
        title="AWS access key id",
        provider="aws",
        literals=("AKIA", "ASIA"),
        pattern=re.compile(r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
        trigger=r"A[KS]IA[A-Z0-9]{16}",
        form=re.compile(r"A[KS]IA[A-Z2-7]{16}"),
        nearby=_SECRET,
        nearby_accept=_is_secret_key,
        key_id=lambda text: text,
        public=True,
        least_entropy=2.5,  # of 16 characters; one id in 300 has less than 3
        names=(r"aws", r"amazon"),
        examples=("AKIA{2:16}", "ASIA{2:16}"),
        counter_examples=("AKIA{2:15}", "AKIA{2:16}A", "XAKIA{2:16}"),
    ),
)

SHAPES: Final = (
    Shape(
        kind="aws-secret-access-key",
        title="AWS secret access key",
        provider="aws",
        form=re.compile(r"(?=[^/]*[A-Z])(?=[^a-z]*[a-z])[A-Za-z0-9/+]{40}"),
        names=(r"aws", r"secret_?access_?key", r"a[ks]ia[a-z2-7]{16}"),
        least_entropy=4.0,
        id_near=_KEY_ID,
        examples=("{b:40}",),
    ),
    Shape(
        kind="aws-session-token",
        title="AWS session token",
        provider="aws",
        form=re.compile(r"(?:IQoJ|FwoG|FQoG)[A-Za-z0-9/+]{100,}={0,2}"),
        id_near=_KEY_ID,
        names=(r"aws", r"session_?token", r"security_?token"),
        examples=("IQoJ{b:300}==",),
    ),
)
