"""The secret type.

Protects: a secret that is printed, formatted, logged, put into an exception message, serialised,
    pickled, compared or copied by accident.
Does not protect: against code that calls ``reveal`` and mishandles what it gets, or against a
    reader of this process's memory. See hardening for the latter.
Limits: CPython keeps copies of bytes objects that we cannot reach (parsers, TLS, the allocator);
    ``wipe`` zeroes our own copy only and is best effort.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self, SupportsIndex

from keylease.errors import SecretMisused

STARS: Final = "********"


class Secret:
    """The bytes of a provider key, or of another key that must not be shown.

    ``str``, ``repr`` and ``format`` give stars. Pickling, copying, comparing and hashing raise
    ``SecretMisused``, JSON and MessagePack ``TypeError``. ``reveal`` is the only way to the bytes.
    """

    __slots__ = ("__weakref__", "_buffer")

    def __init__(self, value: bytes | bytearray | str) -> None:
        """Take a private copy of ``value``; a ``str`` is encoded as UTF-8."""
        self._buffer = bytearray(value.encode() if isinstance(value, str) else value)

    def reveal(self, *, why: str) -> bytes:
        """Give the bytes. ``why`` names the use, for the reader of the calling code."""
        if not why:
            raise SecretMisused("A secret was opened without a reason.")
        return bytes(self._buffer)

    def equals(self, other: Secret) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._buffer, other._buffer)

    def wipe(self) -> None:
        """Zero our copy; the secret is empty afterwards. Best effort, see the module's limits."""
        for index in range(len(self._buffer)):
            self._buffer[index] = 0
        self._buffer.clear()

    def __len__(self) -> int:
        return len(self._buffer)

    def __str__(self) -> str:
        return STARS

    def __repr__(self) -> str:
        return f"Secret({STARS})"

    def __format__(self, format_spec: str) -> str:
        return STARS

    def __bytes__(self) -> NoReturn:
        raise SecretMisused("A secret has no bytes() form; reveal() opens it.")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise SecretMisused("A secret cannot be pickled.")

    def __reduce__(self) -> NoReturn:
        raise SecretMisused("A secret cannot be pickled.")

    def __getstate__(self) -> NoReturn:
        # Python's own (3.11) gives what is in the slots, which serialisers of all kinds ask for.
        raise SecretMisused("A secret cannot be serialised.")

    def __copy__(self) -> Self:
        raise SecretMisused("A secret cannot be copied.")

    def __deepcopy__(self, memo: object) -> Self:
        raise SecretMisused("A secret cannot be copied.")

    def __eq__(self, other: object) -> bool:
        raise SecretMisused("Secrets are compared with equals(), in constant time.")

    def __hash__(self) -> NoReturn:
        raise SecretMisused("A secret cannot be a key of a mapping.")
