"""The brakes on guessing: how often somebody may try before waiting.

A bucket holds some attempts and gets one back in a fixed time (GCRA: one moment says all of it). An
attempt is taken before the guess is looked at and given back when it was right, so that guesses
at the same moment cannot all pass. Buckets are in the database: a restart does not empty them.

Protects: an account gets ``ACCOUNT`` guesses from browsers nobody knows, one network ``ADDRESS``,
    for all accounts together. An account that does not exist is counted in the same way.
Does not protect: against very many addresses with one guess for each of very many accounts; the
    length and the list of refused passwords have to hold then.
Limits: somebody can keep an account's bucket empty. That does not lock its owner out: a browser in
    which they signed in before has a bucket of its own, and passkeys and links have no guesses to
    count, so that only the address is counted for them.
"""

from __future__ import annotations

import hashlib
import math
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from keylease.errors import TooManyAttempts
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.sign_in.tables import ATTEMPTS
from keylease.primitives.clock import MICROSECONDS

_NETWORK_BITS: Final = 64
"""Of an IPv6 address: one customer has at least that much."""
_FAR: Final = 7 * 24 * 3600 * MICROSECONDS


class Rate(msgspec.Struct, frozen=True):
    """How many attempts at once, and how many seconds bring one back."""

    at_once: int
    seconds: int


ACCOUNT: Final = Rate(6, 60)
"""Guesses for one account from browsers nobody knows."""
BROWSER: Final = Rate(10, 60)
"""Guesses for one account from a browser in which its owner signed in before."""
ADDRESS: Final = Rate(40, 6)
"""Attempts of any kind from one network."""
USER_CODE: Final = Rate(10, 60)
"""Codes of devices that one signed-in person may enter."""
WRITTEN: Final = Rate(60, 30)
"""Refusals that get an audit entry of their own."""


class Bucket(msgspec.Struct, frozen=True):
    """What is counted: a rate, and for whom."""

    name: str
    rate: Rate


def account(kind: str, subject: str, *, browser: str = "") -> Bucket:
    """The bucket for guesses at one account's secret of a kind."""
    if browser:
        return Bucket(_name(kind, subject, browser), BROWSER)
    return Bucket(_name(kind, subject), ACCOUNT)


def address(text: str) -> Bucket:
    """The bucket for everything that one network tries."""
    return Bucket(_name("address", network_of(text)), ADDRESS)


def user_codes(user_id: str) -> Bucket:
    """The bucket for codes of devices that one person enters."""
    return Bucket(_name("user_code", user_id), USER_CODE)


def written() -> Bucket:
    """The bucket for audit entries about refusals."""
    return Bucket(_name("written"), WRITTEN)


async def take(tx: Transaction, *buckets: Bucket) -> None:
    """Take an attempt from each; raises ``TooManyAttempts`` and takes none when one is empty.

    Must be committed before the attempt is looked at.
    """
    # In one order, so that two requests that need the same buckets do not wait for each other.
    ordered = sorted(buckets, key=lambda bucket: bucket.name)
    moments = {bucket: await _full_at(tx, bucket) for bucket in ordered}
    for bucket, full_at in moments.items():
        start = max(full_at, tx.now)
        wait = start + _cost(bucket) - tx.now - bucket.rate.at_once * _cost(bucket)
        if wait > 0:
            raise TooManyAttempts(
                "Too many attempts.",
                retry_after=max(1, math.ceil(wait / MICROSECONDS)),
                advice="Wait, or sign in with a passkey, or in a browser where you did before.",
            )
    for bucket, full_at in moments.items():
        await _change(tx, bucket, full_at=max(full_at, tx.now) + _cost(bucket))


async def give_back(tx: Transaction, *buckets: Bucket) -> None:
    """The attempt was right: it does not count."""
    for bucket in sorted(buckets, key=lambda bucket: bucket.name):
        full_at = await _full_at(tx, bucket)
        await _change(tx, bucket, full_at=max(0, full_at - _cost(bucket)))


async def may_be_written(tx: Transaction) -> int | None:
    """Whether a refusal gets an audit entry: how many had none before it, or ``None`` for no."""
    bucket = written()
    try:
        await take(tx, bucket)
    except TooManyAttempts:
        await _change(tx, bucket, skipped=ATTEMPTS.c.skipped + 1)
        return None
    row = await tx.row(select(ATTEMPTS.c.skipped).where(ATTEMPTS.c.bucket == bucket.name))
    await _change(tx, bucket, skipped=0)
    return int(row["skipped"]) if row else 0


async def forget_old(tx: Transaction) -> None:
    """Remove buckets that have been full for long."""
    await tx.execute(
        delete(ATTEMPTS).where(ATTEMPTS.c.full_at < tx.now - _FAR, ATTEMPTS.c.skipped == 0)
    )


def network_of(text: str) -> str:
    """The address, or the network that one customer has of IPv6; what is no address as it is."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return text
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{int(parsed) >> (128 - _NETWORK_BITS):x}"
    return str(parsed)


def _name(*parts: str) -> str:
    # A digest, so that the table holds neither addresses nor what was typed into the form.
    return hashlib.sha256("\n".join(("keylease/attempts", *parts)).encode()).hexdigest()


def _cost(bucket: Bucket) -> int:
    return bucket.rate.seconds * MICROSECONDS


async def _full_at(tx: Transaction, bucket: Bucket) -> int:
    table = ATTEMPTS
    # Made first and then locked: a row that is not there cannot be locked.
    make = (sqlite if tx.connection.dialect.name == "sqlite" else postgresql).insert(table)
    await tx.execute(make.values(bucket=bucket.name, full_at=0, skipped=0).on_conflict_do_nothing())
    row = await tx.row(
        select(table.c.full_at).where(table.c.bucket == bucket.name).with_for_update()
    )
    return int(row["full_at"]) if row else 0


async def _change(tx: Transaction, bucket: Bucket, **values: Any) -> None:  # noqa: ANN401 - numbers or expressions
    await tx.execute(update(ATTEMPTS).where(ATTEMPTS.c.bucket == bucket.name).values(**values))
