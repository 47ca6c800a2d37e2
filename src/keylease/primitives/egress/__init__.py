"""The egress guard: outbound connections only to addresses that were checked."""

from keylease.primitives.egress.addresses import (
    Address,
    Resolver,
    check_address,
    checked_addresses,
    resolve,
)
from keylease.primitives.egress.client import guarded_client

__all__ = [
    "Address",
    "Resolver",
    "check_address",
    "checked_addresses",
    "guarded_client",
    "resolve",
]
