"""AWS Bedrock API keys: ``ABSK`` and base64, or ``bedrock-api-key-`` and a presigned request.

The base64 of a long-term key says ``BedrockAPIKey-NAME-at-ACCOUNT:secret``; the part before the
colon is the name of the service-specific credential, by which IAM lists and deletes it. A
short-term key is base64 of ``bedrock.amazonaws.com/?Action=...`` and good for at most 12 hours
(https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html).
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from keylease.detectors.definition import Checked, Definition

_LONG: Final = "ABSK"
_SHORT: Final = "bedrock-api-key-"


def _decoded(text: str, prefix: str) -> bytes:
    body = text.removeprefix(prefix).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(body[: len(body) // 4 * 4])
    except binascii.Error:
        return b""


def _user(text: str) -> str:
    user, colon, _ = _decoded(text, _LONG).partition(b":")
    return user.decode("ascii", "ignore") if colon and user.startswith(b"BedrockAPIKey-") else ""


def _long_term(text: str) -> Checked:
    return Checked.HOLDS if _user(text) else Checked.UNKNOWN


def _short_term(text: str) -> Checked:
    asks = _decoded(text, _SHORT).startswith(b"bedrock.amazonaws.com")
    return Checked.HOLDS if asks else Checked.UNKNOWN


DEFINITIONS: Final = (
    Definition(
        kind="bedrock-long-term-key",
        title="Bedrock long-term API key",
        provider="bedrock",
        literals=(_LONG,),
        pattern=re.compile(r"ABSK[A-Za-z0-9+/]{60,}={0,2}"),
        trigger=r"ABSK[A-Za-z0-9+/]{16}",
        form=re.compile(r"ABSK[A-Za-z0-9+/]{100,280}={0,2}"),
        check=_long_term,
        key_id=_user,
        names=(r"bedrock",),
        examples=("ABSK{bedrock}{b:100}==", "ABSK{b:128}"),
    ),
    Definition(
        kind="bedrock-short-term-key",
        title="Bedrock short-term API key",
        provider="bedrock",
        literals=(_SHORT,),
        pattern=re.compile(r"bedrock-api-key-[A-Za-z0-9+/_-]{40,}={0,2}"),
        trigger=r"bedrock-api-key-[A-Za-z0-9+/_-]{16}",
        check=_short_term,
        examples=("bedrock-api-key-{presigned}{b:400}",),
        counter_examples=("bedrock-api-key-and-what-it-is",),
    ),
)
