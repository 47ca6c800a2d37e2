"""How often the token endpoint refuses before it stops looking, and stops writing each one down.

The endpoint is open to everybody, and every refusal is an audit entry that is fsynced. Without a
bound anybody could fill the audit spool, and with a full one no lease is issued.

Protects: one address gets ``PEER`` refusals and then few; all addresses together get no more
    attempts than the gateway can look at; single audit entries for refusals grow by about 1 MB a
    day at most, and what has none is counted in one entry a minute.
Does not protect: somebody with very many addresses can use up what all of them have together, and
    exchanges are then refused for seconds at a time. Leases that were issued go on working.
Limits: counted per coordinator and forgotten with it; callers behind one address share its bound.
    An attempt that ends in a lease costs nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

from keylease.errors import LimitReached
from keylease.primitives.clock import Clock


class Rate(msgspec.Struct, frozen=True):
    """A bucket: how many at once, and how many come back in a second."""

    at_once: int
    per_second: float


PEER: Final = Rate(30, 0.5)
EVERYBODY: Final = Rate(400, 200.0)
WRITTEN: Final = Rate(60, 1 / 30)
"""Refusals that get an audit entry of their own."""
SUMMARY_SECONDS: Final = 60.0
_PEERS: Final = 10_000
_NETWORK_BITS: Final = 64
"""Of an IPv6 address: one customer has at least that much."""


class Counted(msgspec.Struct, frozen=True):
    """Refusals that have no audit entry of their own."""

    refused: int
    """Looked at and refused."""
    limited: int
    """Answered with 429, unread."""
    seconds: int
    """Since the first of them."""


class RefusalLimits:
    """Counts what was tried and did not end in a lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._everybody = _Bucket(EVERYBODY, clock)
        self._written = _Bucket(WRITTEN, clock)
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()
        self._refused = 0
        self._limited = 0
        self._since: float | None = None

    def begin(self, peer: str) -> None:
        """Count an attempt before anything is done for it; raises ``LimitReached``."""
        bucket = self._bucket_of(peer)
        if bucket.take():
            if self._everybody.take():
                return
            bucket.give_back()
            bucket = self._everybody
        self._note()
        self._limited += 1
        raise LimitReached(
            "Too many token exchanges were refused.",
            retry_after=bucket.seconds_to_next(),
            advice="Correct the request or the trust rule before you try again.",
        )

    def succeeded(self, peer: str) -> None:
        """The attempt ended in a lease: it does not count."""
        self._bucket_of(peer).give_back()
        self._everybody.give_back()

    def may_be_written(self) -> bool:
        """Whether a refusal gets an audit entry of its own; otherwise it is counted."""
        if self._written.take():
            return True
        self._note()
        self._refused += 1
        return False

    def take_counted(self, *, at_once: bool = False) -> Counted | None:
        """What was counted, a minute after the first of it or ``at_once``; then it is forgotten."""
        now = self._clock.monotonic()
        if self._since is None or (not at_once and now - self._since < SUMMARY_SECONDS):
            return None
        counted = Counted(self._refused, self._limited, int(now - self._since))
        self._refused = self._limited = 0
        self._since = None
        return counted

    def put_back(self, counted: Counted) -> None:
        """The entry could not be written: count them again."""
        self._note()
        self._refused += counted.refused
        self._limited += counted.limited

    def _note(self) -> None:
        if self._since is None:
            self._since = self._clock.monotonic()

    def _bucket_of(self, peer: str) -> _Bucket:
        name = _network_of(peer)
        bucket = self._peers.get(name)
        if bucket is None:
            if len(self._peers) >= _PEERS:
                self._peers.popitem(last=False)
            bucket = self._peers[name] = _Bucket(PEER, self._clock)
        else:
            self._peers.move_to_end(name)
        return bucket


class _Bucket:
    __slots__ = ("_at", "_clock", "_left", "_rate")

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate.at_once)
        self._at = clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        refilled = self._left + (now - self._at) * self._rate.per_second
        self._left = min(float(self._rate.at_once), refilled)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        self._left = min(float(self._rate.at_once), self._left + 1)

    def seconds_to_next(self) -> int:
        return max(1, math.ceil((1 - self._left) / self._rate.per_second))


def _network_of(peer: str) -> str:
    """What one caller can choose freely is one caller's: an IPv6 /64."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{int(address) >> _NETWORK_BITS:x}"
    return str(address)
