"""A value that was generated, next to a name that says it is secret.

Catches keys without a form of their own (Azure, Mistral, Together, passwords) in assignments,
JSON, YAML, headers and query strings. The name decides first: ``api_key``, ``token`` and the like
are telling, ``token_id``, ``max_tokens`` and ``secret_name`` are not.
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.definition import Definition
from keylease.detectors.randomness import is_random

_TELLING: Final = re.compile(
    r"apikey|accesskey|secret|token|passw|passphrase|pwd|credential|privatekey|accountkey"
    r"|subscriptionkey|authkey|masterkey|signingkey|encryptionkey|servicekey|sharedkey"
    r"|[a-z]pat$|authorization"
)
_NOT_SECRET: Final = re.compile(
    r"(?:ids?|names?|uri|url|path|file|files|reference|type|count|limit|usage|budget|version"
    r"|field|pattern|details|tokens|secrets|policy|length|size|endpoint|expir(?:y|es|esin|esat))$"
)
_NAME_BEFORE: Final = re.compile(r"[A-Za-z0-9_.-]{0,40}\Z")
_NAME_AFTER: Final = re.compile(r"[A-Za-z0-9_.-]{0,40}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME: Final = r"[A-Za-z0-9_.-]{1,40}"
_ASSIGNED: Final = (
    _NAME
    + r"""["'`\\\])]{0,6}\s{0,4}(?:=>|:=|==|=|:|,|>|\?\?|\|\||%3D|%3A)\s{0,8}["'`\\(\[]{0,6}"""
)
"""``NAME = ``, ``"name": "``, ``NAME", "``, ``<name>``, ``NAME ?? "``."""
_NAMED: Final = (
    _NAME
    + r"""["'`\\]{0,4}(?:\s|\\n|[,;<>{/-]){1,24}["'`\\]{0,4}(?:[vV]alue|VALUE|default|content)"""
    + r"""["'`\\]{0,4}\s{0,8}[:=>]{1,2}\s{0,4}["'`\\]{0,4}"""
)
"""``name: NAME`` and, beside it, ``value: ``."""
_BLOCK: Final = _NAME + r"""["']\s{0,4}\{[^{}]{0,160}?\bdefault\s{0,8}=\s{0,4}["']"""
"""``variable "NAME" { type = string, default = "``."""
_FLAGGED: Final = _NAME + r"""\s{1,2}["'`\\]{0,4}"""
"""``--name VALUE``, ``ENV NAME VALUE``."""
_FLAG_BEFORE: Final = re.compile(r"(?:--|(?:ENV|ARG|setx|set)\s{1,2})[A-Za-z0-9_.-]{0,40}\Z")
_MINIMUM_RANDOM: Final = 16
_CLASSES_OF_A_PASSWORD: Final = 3
_REST: Final = re.compile(r"""[^\s"'`\\,;<>{}\[\]()|&$]*""")


def _words(*words: str) -> tuple[str, ...]:
    return tuple(form for word in words for form in (word, word.upper(), word.capitalize()))


def name_at(text: str, start: int) -> str:
    """The whole name around a telling word."""
    before = _NAME_BEFORE.search(text[max(0, start - 40) : start])
    after = _NAME_AFTER.match(text, start)
    return (before[0] if before else "") + (after[0] if after else "")


def is_telling(name: str) -> bool:
    """Whether a value under this name is a secret."""
    plain = re.sub(r"[_.-]", "", name).lower()
    if _NOT_SECRET.search(plain):
        return False
    return _TELLING.search(plain) is not None or (name.isupper() and name.endswith("_KEY"))


def _telling(text: str, start: int) -> bool:
    return is_telling(name_at(text, start))


def is_generated(value: str) -> bool:
    """Whether no person wrote the value."""
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


def _flag(text: str, start: int) -> bool:
    before = text[max(0, start - 60) : start]
    return _FLAG_BEFORE.search(before) is not None and _telling(text, start)


def _trigger(*words: str) -> str:
    """Whatever the three ways of assigning have in common, in a form that costs little.

    Longer than they can be: unbounded runs are cheaper for the matcher than counted ones, and
    what the reach does not cover is not looked at.
    """
    between = (
        r"[^A-Za-z0-9_.-][^A-Za-z0-9]*"
        r"(?:(?:[vV]alue|VALUE|default|content|3D|3A|n)[^A-Za-z0-9]*)?"
    )
    return f"(?:{'|'.join(_words(*words))})[A-Za-z0-9_.-]*{between}"


_REACH: Final = 320
"""Bytes from the telling word to the end of the longest value: 40 of name, 90 between, 128."""
_PLAIN: Final = "[a-z+/_.~=-]"
_MARKED: Final = "[0-9A-Z]"
_ANY: Final = "[A-Za-z0-9+/_.~=-]"
_GENERATED: Final = (
    f"(?:{_PLAIN}{{0,3}}{_MARKED}{_ANY}{{12}}|{_PLAIN}{{4,7}}{_MARKED}{_ANY}{{8}}"
    f"|{_PLAIN}{{8,11}}{_MARKED}{_ANY}{{4}}|{_PLAIN}{{12}}{_PLAIN}*{_MARKED}|[a-f]{{8}}-[a-f]{{4}}-)"
)
"""Of ``is_generated`` what a matcher can tell cheaply: sixteen characters, of which one is a digit
or a capital, or a UUID of letters. Told by where the first of those stands. Ordinary words
beside ``key`` and ``token``, as in the attributes of a span, end here and not in Python."""
_LOWER: Final = r"""[^\s"'`\\,;<>{}\[\]()|&$0-9A-Z\x80-\xff]"""
_UPPER: Final = r"[0-9A-Z\x80-\xff]"
_MIXED: Final = (
    f"(?:{_LOWER}{{0,3}}{_UPPER}"
    r"""[^\s"'`\\,;<>{}\[\]()|&$]{4}"""
    f"|{_LOWER}{{4}}{_LOWER}*{_UPPER})"
)
"""The same of ``_password``: three classes of four, so that one is a digit or a capital."""
_WORDS: Final = ("key", "secret", "token", "credential", "authorization")
_VALUE: Final = r"(?P<secret>[A-Za-z0-9+/_.~=-]{8,128})"

DEFINITIONS: Final = (
    Definition(
        kind="generic-secret",
        title="generated value under a telling name",
        label="generic",
        literals=_words(*_WORDS),
        pattern=re.compile(f"(?:{_ASSIGNED}|{_NAMED}){_VALUE}"),
        trigger=_trigger(*_WORDS) + _GENERATED,
        trigger_reach=_REACH,
        boundary=False,
        at=_telling,
        at_late=True,
        accept=is_generated,
        reads_on=False,
        extend=_to_the_end_of_the_value,
        generic=True,
        examples=("api_key = '{w:32}'", "client-secret: {h:40}", "access_token={u}"),
        counter_examples=(
            "max_tokens: 4096",
            "token_id={h:32}",
            "api_key = settings.key",
            'reference = "vault://secret/{a:6}#api_key"',
        ),
    ),
    Definition(
        kind="generic-flag-secret",
        title="generated value behind a telling flag",
        label="generic",
        literals=_words(*_WORDS),
        pattern=re.compile(_FLAGGED + _VALUE),
        trigger=_trigger(*_WORDS) + _GENERATED,
        trigger_reach=_REACH,
        boundary=False,
        at=_flag,
        at_late=True,
        accept=is_generated,
        reads_on=False,
        extend=_to_the_end_of_the_value,
        generic=True,
        scan_only=True,
        examples=("tool --api-key {w:32}", "ENV SERVICE_TOKEN {w:40}"),
        counter_examples=("tool --token-file /run/secrets/service/{w:32}",),
    ),
    Definition(
        kind="generic-block-secret",
        title="generated value in the block of a telling name",
        label="generic",
        literals=_words(*_WORDS),
        pattern=re.compile(_BLOCK + _VALUE),
        trigger=(
            f"(?:{'|'.join(_words(*_WORDS))})"
            r"""[A-Za-z0-9_.-]{0,40}["']\s{0,4}\{[^{}]{0,160}default\s{0,8}=\s{0,4}["']"""
            f"{_GENERATED}"
        ),
        trigger_reach=448,
        boundary=False,
        at=_telling,
        at_late=True,
        accept=is_generated,
        reads_on=False,
        extend=_to_the_end_of_the_value,
        generic=True,
        scan_only=True,
        examples=('variable "api_key" {\n  type = string\n  default = "{w:32}"\n}',),
        counter_examples=('variable "api_key" {\n  type = string\n  default = ""\n}',),
    ),
    Definition(
        kind="password",
        title="password under a telling name",
        label="password",
        literals=_words("passw", "passphrase", "pwd"),
        pattern=re.compile(
            f"(?:{_ASSIGNED}|{_NAMED})" + r"""(?P<secret>[^\s"'`\\,;<>{}\[\]()|&$]{8,128})"""
        ),
        trigger=_trigger("passw", "passphrase", "pwd") + _MIXED,
        trigger_reach=_REACH,
        boundary=False,
        at=_telling,
        at_late=True,
        accept=_password,
        reads_on=False,
        extend=_to_the_end_of_the_value,
        generic=True,
        examples=("db_password = '{w:10}-{w:6}1'",),
        counter_examples=("password: required",),
    ),
)
