"""Addresses of people: how they must look, and when two are the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from keylease.errors import InputInvalid
from keylease.platform.identity.directory.tables import EMAIL_LENGTH

_ADDRESS: Final = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)*")


def email_key(email: str) -> str:
    """What two spellings of one address have in common. Raises ``InputInvalid``.

    Compared without case and in Unicode's compatible form (NFKC), the part before the ``@`` too:
    two people whose addresses differ in that only would be taken for each other by their readers.
    """
    key = unicodedata.normalize("NFKC", email).casefold()
    if len(key) > EMAIL_LENGTH or not key.isprintable() or not _ADDRESS.fullmatch(key):
        raise InputInvalid("That is no email address.")
    return key
