"""Keeps a credential out of what goes back to the client.

Protects: the credential's bytes, as they were sent to the provider, never pass in a header or in
    the body of an answer, also not when they are cut into chunks at any place.
Does not protect: against an upstream that sends the credential in another form (base64, escaped,
    reversed, compressed). Encoded answers are refused before they come here.
Limits: pieces pass one to one and at once; only an end that could be the beginning of the
    credential waits for the next piece.
"""

from __future__ import annotations

from keylease.errors import CredentialEchoed


class EchoGuard:
    """Watches the body of one answer."""

    __slots__ = ("_first", "_first_two", "_held", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._first = secret[:1]
        self._first_two = secret[:2]
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what may pass now; raises ``CredentialEchoed``."""
        if self._held:
            data = self._held + data
            self._held = b""
        secret = self._secret
        # ``in`` first asks, by way of an exception, whether it was given a number.
        if data.find(secret) >= 0:
            raise _echoed()
        # The longest end of data that is a beginning of the secret has to wait. Two bytes are
        # found by chance much more seldom than one.
        position = data.find(self._first_two, max(len(data) - len(secret) + 1, 0))
        while position >= 0:
            if secret.startswith(data[position:]):
                self._held = data[position:]
                return data[:position]
            position = data.find(self._first_two, position + 1)
        if data.endswith(self._first):
            self._held = self._first
            return data[:-1]
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
        if self._secret in data or self._secret.lower() in data:
            raise _echoed()


def _echoed() -> CredentialEchoed:
    return CredentialEchoed(
        "The provider's answer contained the gateway's credential and was withheld.",
        advice="The owner of the gateway has been told; rotate the credential.",
    )
