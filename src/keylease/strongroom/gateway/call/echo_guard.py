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


class EchoGuard:
    """Watches the body of one answer."""

    __slots__ = ("_held", "_needles")

    def __init__(self, needles: tuple[Needle, ...]) -> None:
        """``needles``: the secret as it was sent comes first."""
        self._needles = needles
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what may pass now; raises ``CredentialEchoed``."""
        if self._held:
            data = self._held + data
            self._held = b""
        passing = size = len(data)
        for needle in self._needles:
            # ``in`` first asks, by way of an exception, whether it was given a number.
            if data.find(needle.text) >= 0:
                raise _echoed()
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
        for needle in self._needles:
            if needle.text in data:
                raise _echoed()
        if self._needles[0].text.lower() in data:
            raise _echoed()


def _echoed() -> CredentialEchoed:
    return CredentialEchoed(
        "The provider's answer contained the gateway's credential and was withheld.",
        advice="The owner of the gateway has been told; rotate the credential.",
    )
