"""Private keys in PEM armour, also with their line breaks escaped; to the end when cut off."""

from __future__ import annotations

import binascii
import re
from typing import Final

from keylease.detectors.checks import canonical_pem
from keylease.detectors.definition import Checked, Definition

_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")
_NO_BASE64: Final = re.compile(r"\\[nrt]|[^A-Za-z0-9+/=]")
_SHORTEST: Final = 40
"""Characters of base64; an Ed25519 key has 64, and 44 as bare bytes."""


def _to_the_end(text: str, position: int) -> int:
    match = _END.search(text, position)
    return len(text) if match is None else match.end()


def _body(text: str) -> Checked:
    """Whether there is a key between the lines: DER, or what OpenSSH and OpenPGP write."""
    lines = text.partition("-----")[2].partition("-----")[2].rpartition("-----END")[0]
    *_, body = re.split(r":[^\n\\]*(?:\n|\\n)", lines)  # behind headers such as Proc-Type
    body = _NO_BASE64.sub("", body)
    if len(body) < _SHORTEST:
        return Checked.BROKEN
    try:
        start = binascii.a2b_base64(body[: len(body) // 4 * 4][:64])
    except binascii.Error:
        return Checked.BROKEN
    if start[:1] == b"0" or start.startswith(b"openssh-key-v1\0"):
        return Checked.HOLDS
    return Checked.UNKNOWN  # encrypted bodies and OpenPGP packets


DEFINITIONS: Final = (
    Definition(
        kind="private-key",
        title="private key",
        label="private-key",
        literals=("-----BEGIN ",),
        pattern=re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----"),
        trigger=r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY",
        boundary=False,
        extend=_to_the_end,
        check=_body,
        least_entropy=2.0,
        canonical=canonical_pem,
        examples=("{private_key}",),
        counter_examples=("-----BEGIN CERTIFICATE-----\n{b:64}\n-----END CERTIFICATE-----",),
    ),
)
