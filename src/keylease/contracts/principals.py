"""Principals: who acts, after authentication.

Append-only. What is stored and sent is the kind and an opaque identifier; names and addresses are
personal data and stay in a table of their own that can be erased.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec

from keylease.errors import PrincipalInvalid


class PrincipalKind(StrEnum):
    """What sort of principal it is."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    WORKLOAD = "workload"
    GATEWAY = "gateway"
    """A gateway that speaks to the platform for itself."""


class Principal(msgspec.Struct, frozen=True, order=True):
    """Who acts. ``str()`` gives ``kind:id``, which ``parse`` reads."""

    kind: PrincipalKind
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind:id``; raises ``PrincipalInvalid``."""
        kind, separator, identifier = text.partition(":")
        if not separator or not identifier or kind not in set(PrincipalKind):
            raise PrincipalInvalid(
                "That is no principal.",
                advice=f"A principal is KIND:ID, and KIND is one of {', '.join(PrincipalKind)}.",
            )
        return cls(kind=PrincipalKind(kind), id=identifier)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.id}"
