"""Private keys in PEM armour, also with their line breaks escaped; to the end when cut off."""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors import checks
from keylease.detectors.definition import Definition

_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")


def _to_the_end(text: str, position: int) -> int:
    match = _END.search(text, position)
    return len(text) if match is None else match.end()


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
        check=checks.pem_body,
        least_entropy=2.0,
        canonical=checks.canonical_pem,
        examples=("{private_key}",),
        counter_examples=("-----BEGIN CERTIFICATE-----\n{b:64}\n-----END CERTIFICATE-----",),
    ),
)
