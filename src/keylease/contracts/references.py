"""References: where a secret lives, as a URI.

    env://NAME
    file:///absolute/path
    sealed://name
    keyring://service/name
    vault://mount/path/to/secret#field
    aws-sm://region/name#json-field

A reference is not a secret. It may be stored, logged and sent to the platform.
"""

from __future__ import annotations

import re
from typing import Final, Self
from urllib.parse import unquote

import msgspec

from keylease.errors import ReferenceInvalid

MAXIMUM_LENGTH: Final = 1024
_SHAPES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "env": (re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}"), "env://NAME"),
    "file": (re.compile(r"(?:/[^/\x00]+)+"), "file:///absolute/path"),
    "sealed": (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"), "sealed://name"),
    "keyring": (re.compile(r"[^/\x00]{1,128}/[^/\x00]{1,128}"), "keyring://service/name"),
    "vault": (re.compile(r"[^/\x00]+(?:/[^/\x00]+)+"), "vault://mount/path#field"),
    "aws-sm": (
        re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d/[^\x00]{1,512}"),
        "aws-sm://region/name#field",
    ),
}
_WITH_FIELD: Final = {"vault": True, "aws-sm": False}
"""Schemes that take a ``#field``, and whether it is required."""
_ADVICE: Final = {
    "env": "A variable's name has letters, digits and underscores.",
    "file": "The path is absolute, so three slashes follow file: and none ends it.",
    "sealed": "A name has letters, digits, dots, hyphens and underscores.",
    "vault": "The mount comes first, then the path in it, then # and the field.",
    "aws-sm": "The region comes first, such as eu-central-1, then the name of the secret.",
}
SCHEMES: Final = tuple(_SHAPES)


class Reference(msgspec.Struct, frozen=True, order=True):
    """A parsed reference. ``str()`` gives back the canonical form."""

    scheme: str
    path: str
    """Everything between ``://`` and ``#``, percent-decoded; for ``file`` it starts with ``/``."""
    field: str = ""
    """The member of a structured secret, or empty."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; raises ``ReferenceInvalid`` with the form that was expected."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _SHAPES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise ReferenceInvalid(
                f"The reference does not start with a known scheme ({known}).",
                advice="A reference says where a secret lives; it is never the secret itself.",
            )
        shape, expected = _SHAPES[scheme]
        raw_path, _, field = rest.partition("#")
        try:
            path = unquote(raw_path, errors="strict")
        except UnicodeDecodeError:
            path = ""  # no shape accepts it: percent-encoded bytes that are no UTF-8
        segments = path.split("/")
        if (
            len(text) > MAXIMUM_LENGTH
            or not (text.isprintable() and path.isprintable())
            or not shape.fullmatch(path)
            or ".." in segments
            or "." in segments
        ):
            raise ReferenceInvalid(
                f"The {scheme} reference is not of the form {expected}.",
                advice=_ADVICE.get(scheme, "Check the part after ://."),
            )
        if scheme in _WITH_FIELD:
            if _WITH_FIELD[scheme] and not field:
                raise ReferenceInvalid(
                    f"The {scheme} reference names no field: {expected}.",
                    advice="Add # and the name of the field that holds the key.",
                )
        elif "#" in rest:
            raise ReferenceInvalid(
                f"A {scheme} reference takes no field: {expected}.",
                advice="Leave out # and what follows; a # in the name itself is %23.",
            )
        reference = cls(scheme=scheme, path=path, field=field)
        if len(str(reference)) > MAXIMUM_LENGTH:
            raise ReferenceInvalid(
                f"The {scheme} reference is over {MAXIMUM_LENGTH} characters.",
                advice="Keep the secret under a shorter name.",
            )
        return reference

    def __str__(self) -> str:
        suffix = f"#{self.field}" if self.field else ""
        path = self.path.replace("%", "%25").replace("#", "%23")
        return f"{self.scheme}://{path}{suffix}"
