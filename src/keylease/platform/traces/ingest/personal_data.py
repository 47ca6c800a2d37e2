r"""A project's rules for personal data: what they name is taken out before a span is written.

Protects: e-mail addresses, telephone numbers, IBANs, payment cards, IP addresses, US social
    security numbers, and what a project's own expressions match, in every text of a span, also in
    bytes that are text in UTF-8.
Does not protect: what is encoded (base64, gzip), other bytes, numbers sent as numbers, names of
    people.
Limits: time is linear in the length of the text. Own expressions run in vectorscan, which knows no
    backtracking; where that is not installed, only expressions are taken that cannot be slow.

JSON in a text stays JSON: an escape such as ``\n`` is never cut in two.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from keylease.errors import InputInvalid
from keylease.platform.traces.ingest.own_expressions import OwnExpressions, Span

LONGEST_EXPRESSION: Final = 500
MOST_EXPRESSIONS: Final = 20
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class PersonalData(StrEnum):
    """What can be looked for. Stored: values are never renamed."""

    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    CARD = "card"
    """Payment cards: 13 to 19 digits with a check digit that fits (ISO/IEC 7812)."""
    IP_ADDRESS = "ip_address"
    US_SSN = "us_ssn"


class OwnRule(msgspec.Struct, frozen=True, kw_only=True):
    """An expression of the project's own."""

    name: str
    """Stands in the mask: lower-case letters, digits, ``-`` and ``_``."""
    expression: str


class PersonalDataRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a project wants out of its spans. Empty wants nothing."""

    kinds: tuple[PersonalData, ...] = ()
    own: tuple[OwnRule, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is to be looked for."""
        return not (self.kinds or self.own)


_ESCAPE: Final = re.compile(r"""\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])""")
_PATTERNS: Final[dict[PersonalData, str]] = {
    PersonalData.EMAIL: (
        r"(?<![A-Za-z0-9.!#$&'*+/=?^_{|}~-])[A-Za-z0-9.!#$&'*+/=?^_{|}~-]{1,64}@"
        r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
    ),
    PersonalData.IBAN: (
        r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?"
        r"(?![A-Za-z0-9])"
    ),
    PersonalData.CARD: r"(?<![0-9.])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])",
    PersonalData.US_SSN: r"(?<![0-9-])[0-9]{3}([- ])[0-9]{2}\1[0-9]{4}(?![0-9-])",
    PersonalData.IP_ADDRESS: (
        r"(?<![0-9A-Za-z.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
        r"|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4})(?![0-9A-Za-z.:])"
    ),
    PersonalData.PHONE: (
        r"(?<![0-9A-Za-z+.,-])(?:\+[1-9]|00[1-9]|\([0-9]{2,5}\)|0[1-9]|[2-9][0-9]{2}[-. ])"
        r"(?:[ ()./-]{0,3}[0-9]){6,13}(?![0-9])"
    ),
}
"""Every repetition is bounded. In the order in which they are tried at a place."""
_FEWEST_DIGITS: Final = 8
_FEWEST_PARTS: Final = 3
"""Of an IPv6 address; with fewer it is as likely a name in a program."""
_IBAN_LETTERS: Final = {chr(ord("A") + n): str(10 + n) for n in range(26)}
_SSN_NEVER: Final = frozenset({"000", "666"})
_SSN_FIRST_OF_OTHERS: Final = "9"


class PersonalDataMasker:
    """Applies the rules of one project. Make one when the rules change; it may be shared."""

    def __init__(self, rules: PersonalDataRules) -> None:
        """Raise ``InputInvalid`` for rules that cannot be applied, and say which."""
        _check(rules)
        wanted = [kind for kind in _PATTERNS if kind in rules.kinds]
        self._kinds = wanted
        parts = [f"(?P<{kind.value}>{_own_group(_PATTERNS[kind], kind)})" for kind in wanted]
        self._pattern = re.compile("|".join(parts)) if parts else None
        self._own = OwnExpressions([(rule.name, rule.expression) for rule in rules.own])

    def suspects(self, text: str) -> bool:
        """Whether ``masked`` would change anything in a text that contains this one."""
        return bool(self._built_in(text)) or bool(self._own.spans(text))

    def masked(self, text: str) -> str:
        """The text with ``[email]``, ``[card]`` ... in place of what the rules name."""
        spans = sorted([*self._built_in(text), *self._own.spans(text)])
        if not spans:
            return text
        parts: list[str] = []
        position = 0
        for span in spans:
            if span.end <= position:
                continue
            parts += [text[position : max(position, span.start)], f"[{span.name}]"]
            position = span.end
        return "".join([*parts, text[position:]])

    def _built_in(self, text: str) -> list[Span]:
        if self._pattern is None:
            return []
        found: list[Span] = []
        if "\\" in text:  # an escape ends a word, as the character does that it stands for
            text = _ESCAPE.sub(_blank, text)
        for match in self._pattern.finditer(text):
            kind = match.lastgroup
            if kind is not None and _ACCEPTED[PersonalData(kind)](match[0]):
                found.append(Span(match.start(), match.end(), kind))
        return found


def _own_group(pattern: str, kind: PersonalData) -> str:
    """A reference to the pattern's own first group, by a name that is unique."""
    return pattern.replace("([- ])", f"(?P<_{kind.value}>[- ])").replace(
        r"\1", f"(?P=_{kind.value})"
    )


def _check(rules: PersonalDataRules) -> None:
    if len(rules.own) > MOST_EXPRESSIONS:
        raise InputInvalid(f"A project has {MOST_EXPRESSIONS} expressions of its own at most.")
    for rule in rules.own:
        if not _NAME.fullmatch(rule.name):
            raise InputInvalid(
                "The name of an expression is lower-case letters, digits, - and _.",
                advice="It stands in the text in place of what was found: [customer-number].",
            )
        if not 0 < len(rule.expression) <= LONGEST_EXPRESSION:
            raise InputInvalid(
                f"The expression {rule.name} is empty or over {LONGEST_EXPRESSION} characters."
            )


def _blank(escape: re.Match[str]) -> str:
    return "\n" * len(escape[0])


# --- what a pattern alone cannot tell ------------------------------------------------------


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = _digits(text)
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character) * (1 + place % 2)
        total += digit - 9 if digit > 9 else digit  # noqa: PLR2004 - the sum of its two digits
    return total % 10 == 0 and len(set(digits)) > 1


def _iban(text: str) -> bool:
    """ISO 13616-1, section 6: the number with its beginning behind it leaves 1 modulo 97."""
    compact = text.replace(" ", "").upper()
    turned = compact[4:] + compact[:4]
    return int("".join(_IBAN_LETTERS.get(c, c) for c in turned)) % 97 == 1


def _ssn(text: str) -> bool:
    area, group, serial = text[:3], text[4:6], text[7:]
    return (
        area not in _SSN_NEVER
        and not area.startswith(_SSN_FIRST_OF_OTHERS)
        and group != "00"
        and serial != "0000"
    )


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "." in text or len(list(filter(None, text.split(":")))) >= _FEWEST_PARTS


def _phone(text: str) -> bool:
    return len(_digits(text)) >= _FEWEST_DIGITS


def _any(text: str) -> bool:
    del text
    return True


_ACCEPTED: Final[dict[PersonalData, Callable[[str], bool]]] = {
    PersonalData.EMAIL: _any,
    PersonalData.IBAN: _iban,
    PersonalData.CARD: _luhn,
    PersonalData.US_SSN: _ssn,
    PersonalData.IP_ADDRESS: _address,
    PersonalData.PHONE: _phone,
}
