"""Keeps a credential out of what goes back to the client.

Protects: the credential's bytes, as they were sent to the provider and in the forms of
    ``secret_forms``, never pass in a header or in the body of an answer, also not when they are cut
    into chunks at any place.
Does not protect: against an upstream that means to pass the credential on: there are more forms
    than anybody can list, and it may use the credential itself. Encoded answers are refused before
    they come here.
Limits: pieces pass one to one and at once; only an end that could be the beginning of the
    credential waits for the next piece.
"""

from __future__ import annotations

from typing import Final

from keylease.errors import CredentialEchoed


class Needle:
    """One form of a secret, ready to be looked for."""

    __slots__ = ("first", "first_two", "size", "text")

    def __init__(self, text: bytes) -> None:
        self.text: Final = text
        self.first: Final = text[:1]
        self.first_two: Final = text[:2]
        self.size: Final = len(text)

    def __repr__(self) -> str:
        return "Needle(***)"

    def begins_in(self, data: bytes) -> int:
        """Where the longest end of ``data`` begins that could be the needle's beginning.

        The length of ``data`` where there is none. Two bytes are found by chance much more seldom
        than one.
        """
        size = len(data)
        position = data.find(self.first_two, max(size - self.size + 1, 0))
        while position >= 0:
            if self.text.startswith(data[position:]):
                return position
            position = data.find(self.first_two, position + 1)
        return size - 1 if data.endswith(self.first) else size


class Needles:
    """All forms of a secret."""

    __slots__ = ("all", "inside", "plain")

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        """``forms``: the secret as it is sent comes first."""
        self.plain: Final = forms[0]
        self.all: Final = tuple(Needle(form) for form in forms)
        begun = frozenset(b"".join(form[:-1] for form in forms))
        self.inside: Final = bytes(code in begun for code in range(256))
        """For each byte, whether something that ends with it could be the beginning of a form."""

    def __repr__(self) -> str:
        return "Needles(***)"


class EchoGuard:
    """Watches the body of one answer."""

    __slots__ = ("_held", "_needles")

    def __init__(self, needles: Needles) -> None:
        self._needles = needles
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what may pass now; raises ``CredentialEchoed``."""
        if self._held:
            data = self._held + data
            self._held = b""
        needles = self._needles
        for needle in needles.all:
            # ``in`` first asks, by way of an exception, whether it was given a number.
            if data.find(needle.text) >= 0:
                raise _echoed()
        # Most pieces end in a line break or a brace, and no form has one of these.
        if not data or not needles.inside[data[-1]]:
            return data
        passing = size = len(data)
        for needle in needles.all:
            passing = min(passing, needle.begins_in(data))
        if passing < size:
            self._held = data[passing:]
            return data[:passing]
        return data

    def finish(self) -> bytes:
        """Give what waited for a next piece that does not come."""
        held = self._held
        self._held = b""
        return held

    def check(self, data: bytes) -> None:
        """Check something whole, such as header fields.

        Names of fields come in lower case, and without its case a secret is still told to whoever
        has a few tries.
        """
        for needle in self._needles.all:
            if needle.text in data:
                raise _echoed()
        if self._needles.plain.lower() in data:
            raise _echoed()


def _echoed() -> CredentialEchoed:
    return CredentialEchoed(
        "The provider's answer contained the gateway's credential and was withheld.",
        advice="The owner of the gateway has been told; rotate the credential.",
    )
