"""Sign-ins under way: what was asked or shown so far, behind a random text that is used once."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

import msgspec
from sqlalchemy import delete, insert, select

from keylease.errors import SignInRefused
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.one_time import digest_of, random_text
from keylease.platform.identity.sign_in.tables import STEPS
from keylease.primitives.clock import MICROSECONDS

SECONDS: Final = 600
T = TypeVar("T")


class StepKind(StrEnum):
    """What is under way. Stored: values are never renamed."""

    PASSKEY_SIGN_IN = "passkey_sign_in"
    PASSKEY_REGISTRATION = "passkey_registration"
    SECOND_FACTOR = "second_factor"
    OUTSIDE = "outside"


class Step(msgspec.Struct, frozen=True):
    """One sign-in under way."""

    user_id: str
    data: bytes

    def read(self, kind: type[T]) -> T:
        """What was kept."""
        return msgspec.json.decode(self.data, type=kind)


async def begin(
    tx: Transaction, kind: StepKind, data: object, *, user: KnownUser | None = None
) -> str:
    """Keep something until the next request; gives the text it is behind."""
    await tx.execute(delete(STEPS).where(STEPS.c.expires_at <= tx.now))
    text = random_text()
    await tx.execute(
        insert(STEPS).values(
            digest=digest_of(text, purpose=f"step-{kind}"),
            kind=kind.value,
            organization_id=user.organization_id if user else "",
            user_id=user.id if user else "",
            data=msgspec.json.encode(data),
            expires_at=tx.now + SECONDS * MICROSECONDS,
        )
    )
    return text


async def look(tx: Transaction, kind: StepKind, text: str) -> Step:
    """What is behind the text, without using it up; raises ``SignInRefused``."""
    row = await tx.row(
        select(STEPS.c.user_id, STEPS.c.data).where(
            STEPS.c.digest == digest_of(text, purpose=f"step-{kind}"),
            STEPS.c.kind == kind.value,
            STEPS.c.expires_at > tx.now,
        )
    )
    if row is None:
        raise _gone()
    return Step(user_id=row["user_id"], data=row["data"])


async def use(tx: Transaction, kind: StepKind, text: str) -> Step:
    """What is behind the text, and nothing for whoever comes next; raises ``SignInRefused``."""
    step = await look(tx, kind, text)
    digest = digest_of(text, purpose=f"step-{kind}")
    # The row is deleted by one of two requests at the same moment, whatever both have seen.
    if not (await tx.execute(delete(STEPS).where(STEPS.c.digest == digest))).rowcount:
        raise _gone()
    return step


def _gone() -> SignInRefused:
    return SignInRefused(
        "This sign-in has taken too long, or was finished already.", advice="Begin it again."
    )
