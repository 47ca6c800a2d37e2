"""The egress guard: outbound connections only to addresses that were checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keylease.primitives.egress.addresses import (
    Address,
    Resolver,
    check_address,
    checked_addresses,
    resolve,
)

if TYPE_CHECKING:
    from keylease.primitives.egress.client import guarded_client

__all__ = [
    "Address",
    "Resolver",
    "check_address",
    "checked_addresses",
    "guarded_client",
    "resolve",
]


def __getattr__(name: str) -> object:
    """Load the client when it is asked for: a gateway worker uses the addresses only."""
    if name == "guarded_client":
        from keylease.primitives.egress.client import guarded_client  # noqa: PLC0415 - see above

        return guarded_client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
