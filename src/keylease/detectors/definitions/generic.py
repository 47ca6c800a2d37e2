"""A value that was generated, next to a name that says it is secret.

Catches keys without a form of their own (Azure, Mistral, Together, passwords) in assignments,
JSON, YAML, headers and query strings. The name decides first: ``api_key``, ``token`` and the like
are telling, ``token_id``, ``max_tokens`` and ``secret_name`` are not.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition, is_random

_TELLING: Final = re.compile(
    r"apikey|accesskey|secret|token|passw|passphrase|pwd|credential|privatekey|accountkey"
    r"|subscriptionkey|authkey|masterkey|signingkey|encryptionkey|servicekey|sharedkey"
)
_NOT_SECRET: Final = re.compile(
    r"(?:ids?|names?|uri|url|path|file|files|reference|type|count|limit|usage|budget|version"
    r"|field|pattern|details|tokens|secrets|policy|length|size|endpoint|expir(?:y|es|esin|esat))$"
)
_NAME_BEFORE: Final = re.compile(r"[A-Za-z0-9_.-]{0,40}\Z")
_NAME_AFTER: Final = re.compile(r"[A-Za-z0-9_.-]{0,40}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ASSIGNED: Final = (
    r"""[A-Za-z0-9_.-]{1,40}["'`\\]{0,4}\s{0,4}(?:=>|:=|==|=|:|%3D)\s{0,4}["'`\\]{0,4}"""
)
_MINIMUM_RANDOM: Final = 16
_CLASSES_OF_A_PASSWORD: Final = 3
_REST: Final = re.compile(r"""[^\s"'`\\,;<>{}\[\]()|&$]*""")


def _words(*words: str) -> tuple[str, ...]:
    return tuple(form for word in words for form in (word, word.upper(), word.capitalize()))


def _telling(text: str, start: int) -> bool:
    before = _NAME_BEFORE.search(text[max(0, start - 40) : start])
    after = _NAME_AFTER.match(text, start)
    name = (before[0] if before else "") + (after[0] if after else "")
    plain = re.sub(r"[_.-]", "", name).lower()
    if _NOT_SECRET.search(plain):
        return False
    return _TELLING.search(plain) is not None or (name.isupper() and name.endswith("_KEY"))


def _generated(value: str) -> bool:
    if "://" in value:
        return False  # an address or a reference; passwords in addresses are found elsewhere
    return len(value) >= _MINIMUM_RANDOM and (
        is_random(value) or _UUID.fullmatch(value) is not None
    )


def _password(value: str) -> bool:
    if "://" in value:
        return False
    classes = (
        any(map(str.islower, value)),
        any(map(str.isupper, value)),
        any(map(str.isdigit, value)),
        any(not character.isalnum() for character in value),
    )
    return sum(classes) >= _CLASSES_OF_A_PASSWORD


def _to_the_end_of_the_value(text: str, position: int) -> int:
    match = _REST.match(text, position)
    return position if match is None else match.end()


DEFINITIONS: Final = (
    Definition(
        kind="generic",
        literals=_words("key", "secret", "token", "credential"),
        pattern=re.compile(_ASSIGNED + r"(?P<secret>[A-Za-z0-9+/_.~=-]{8,128})"),
        boundary=False,
        at=_telling,
        accept=_generated,
        reads_on=False,
        extend=_to_the_end_of_the_value,
    ),
    Definition(
        kind="password",
        literals=_words("passw", "passphrase", "pwd"),
        pattern=re.compile(_ASSIGNED + r"""(?P<secret>[^\s"'`\\,;<>{}\[\]()|&$]{8,128})"""),
        boundary=False,
        at=_telling,
        accept=_password,
        reads_on=False,
        extend=_to_the_end_of_the_value,
    ),
)
