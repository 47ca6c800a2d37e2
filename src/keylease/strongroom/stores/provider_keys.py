"""What can be a provider key: the value of one header line, and nothing that ends or splits it.

Protects: a key from being sent as something else than one header's value.
Limits: whether it is the right key is its provider's to say.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.errors import SecretInvalid
from keylease.strongroom.secrets import Secret

_HEADER_SAFE: Final = re.compile(rb"[\x21-\x7e]{8,8192}")


def provider_key(secret: Secret, *, why: str) -> bytes:
    """The bytes of ``secret``, opened for ``why``; raises ``SecretInvalid``."""
    opened = secret.reveal(why=why)
    if not _HEADER_SAFE.fullmatch(opened):
        raise SecretInvalid(
            "What the store gave cannot be a provider key.",
            advice="A key is 8 to 8192 visible ASCII characters, without white space.",
        )
    return opened
