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

_TRIES: Final = 8
_BYTES_PER_TRY: Final = 2048
"""A probe that is met more often than this costs more than a search for each form."""
_PER_THOUSAND: Final = {
    code: often
    for letters, often in (
        (b" etaonirs", 50.0),
        (b'hldcumfpgwybvk"', 15.0),
        (b"0123456789,.\\:{}[]", 8.0),
        (b"ABCDEFGHILMNOPRST-_/", 2.5),
        (b"JKQUVWXYZjqxz", 0.7),
    )
    for code in letters
}
"""About how often bytes are met in the answers of models: prose, code, JSON."""
_ELSE: Final = 1.5
_A_HIT: Final = 1.25
"""What one hit in a thousand bytes costs, in searches of a thousand bytes for one byte."""


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


class Probe:
    """A byte that some forms of a secret have, and few texts: where it is not, they are not.

    The system's search for one byte is ten times as fast as one for a text, and many forms share
    their probe, so that most of what passes is looked through once and not once for each form.
    """

    __slots__ = ("_behind", "_byte", "_forms")

    def __init__(self, code: int, forms: list[bytes]) -> None:
        """``forms`` have the byte ``code``, and another one behind it."""
        self._byte: Final = bytes((code,))
        self._forms: Final = [(form.index(self._byte), form) for form in forms]
        behind = {form[place + 1] for place, form in self._forms}
        self._behind: Final = bytes(each in behind for each in range(256))
        """For each byte, whether a form has it behind the probe."""

    def __repr__(self) -> str:
        return "Probe(***)"

    def finds(self, data: bytes) -> bool:
        """Whether one of the forms is in ``data``."""
        byte, behind = self._byte, self._behind
        position = data.find(byte)
        if position < 0:
            return False
        last = len(data) - 1
        tries = _TRIES + len(data) // _BYTES_PER_TRY
        while 0 <= position < last:
            if behind[data[position + 1]]:
                for place, form in self._forms:
                    if position >= place and data.startswith(form, position - place):
                        return True
            tries -= 1
            if tries < 0:  # a text full of it, such as base64: each form by itself is faster
                return any(
                    data.find(form, max(position - place, 0)) >= 0 for place, form in self._forms
                )
            position = data.find(byte, position + 1)
        return False


class Needles:
    """All forms of a secret."""

    __slots__ = ("all", "inside", "plain", "probes")

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        """``forms``: the secret as it is sent comes first. Each has two bytes at least."""
        self.plain: Final = forms[0]
        self.all: Final = tuple(Needle(form) for form in forms)
        self.probes: Final = _probes(forms)
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
        for probe in needles.probes:
            if probe.finds(data):
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


def _probes(forms: tuple[bytes, ...]) -> tuple[Probe, ...]:
    """Few bytes, and such as are seldom met, of which every form has one in front of its end."""
    left = list(forms)
    probes = []
    while left:
        holders: dict[int, list[bytes]] = {}
        for form in left:
            for code in set(form[:-1]):
                holders.setdefault(code, []).append(form)
        best = min(
            holders,
            key=lambda code: (_cost(code) / len(holders[code]), code),
        )
        probes.append(Probe(best, holders[best]))
        left = [form for form in left if form not in holders[best]]
    return tuple(probes)


def _cost(code: int) -> float:
    return 1 + _A_HIT * _PER_THOUSAND.get(code, _ELSE)
