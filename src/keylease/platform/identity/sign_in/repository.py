"""The only user of the tables of passwords, passkeys, codes, links and known browsers."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, func, insert, select, update

from keylease.errors import VersionChanged
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.conflicts import unless_made_meanwhile
from keylease.platform.identity.interfaces import KnownUser
from keylease.platform.identity.one_time import digest_of, random_text
from keylease.platform.identity.reading import shaped
from keylease.platform.identity.sign_in.interfaces import (
    Passkey,
    SignInSettings,
    StoredPasskey,
)
from keylease.platform.identity.sign_in.tables import (
    KNOWN_BROWSERS,
    LINKS,
    ONE_TIME_CODES,
    PASSKEYS,
    PASSWORDS,
    RECOVERY_CODES,
    SETTINGS,
)
from keylease.primitives.clock import MICROSECONDS

_BROWSER_SECONDS = 180 * 24 * 3600
_PASSKEY_COLUMNS = [PASSKEYS.c[name] for name in Passkey.__struct_fields__]


# --- settings ------------------------------------------------------------------------------


async def settings(tx: Transaction, organization_id: str) -> SignInSettings:
    """Those of an organization, or the defaults."""
    row = await tx.row(select(SETTINGS).where(SETTINGS.c.organization_id == organization_id))
    if row is None:
        return SignInSettings()
    values = dict(row)
    values["domains"] = msgspec.json.decode(values["domains"])
    del values["organization_id"]
    return shaped(values, SignInSettings)


async def set_settings(tx: Transaction, organization_id: str, wanted: SignInSettings) -> None:
    """Replace version ``wanted.version - 1``; raises ``VersionChanged``."""
    values = msgspec.structs.asdict(wanted)
    values["domains"] = msgspec.json.encode(wanted.domains)
    if wanted.version == 1:
        with unless_made_meanwhile():
            await tx.execute(insert(SETTINGS).values(organization_id=organization_id, **values))
        return
    statement = update(SETTINGS).where(
        SETTINGS.c.organization_id == organization_id, SETTINGS.c.version == wanted.version - 1
    )
    if not (await tx.execute(statement.values(**values))).rowcount:
        raise VersionChanged("Somebody else has changed the settings.")


# --- passwords -----------------------------------------------------------------------------


async def password_hash(tx: Transaction, user: KnownUser) -> str | None:
    """The stored hash."""
    row = await tx.row(
        select(PASSWORDS.c.hash).where(
            PASSWORDS.c.organization_id == user.organization_id, PASSWORDS.c.user_id == user.id
        )
    )
    return str(row["hash"]) if row else None


async def set_password(tx: Transaction, user: KnownUser, stored: str) -> None:
    """Replace the hash."""
    await remove_password(tx, user)
    with unless_made_meanwhile():
        await tx.execute(
            insert(PASSWORDS).values(
                user_id=user.id, organization_id=user.organization_id, hash=stored, set_at=tx.now
            )
        )


async def remove_password(tx: Transaction, user: KnownUser) -> bool:
    """Remove it; whether there was one."""
    done = await tx.execute(
        delete(PASSWORDS).where(
            PASSWORDS.c.organization_id == user.organization_id, PASSWORDS.c.user_id == user.id
        )
    )
    return bool(done.rowcount)


# --- passkeys ------------------------------------------------------------------------------


async def passkeys(tx: Transaction, user: KnownUser) -> tuple[Passkey, ...]:
    """A user's, oldest first."""
    rows = await tx.rows(
        select(*_PASSKEY_COLUMNS)
        .where(PASSKEYS.c.organization_id == user.organization_id, PASSKEYS.c.user_id == user.id)
        .order_by(PASSKEYS.c.id)
    )
    return tuple(shaped(row, Passkey) for row in rows)


async def credential_ids(tx: Transaction, user: KnownUser) -> list[bytes]:
    """The authenticators' names of a user's passkeys."""
    rows = await tx.rows(
        select(PASSKEYS.c.credential_id).where(
            PASSKEYS.c.organization_id == user.organization_id, PASSKEYS.c.user_id == user.id
        )
    )
    return [row["credential_id"] for row in rows]


async def passkey_by_digest(tx: Transaction, digest: str) -> StoredPasskey | None:
    """Of any organization: who signs in is not known yet."""
    query = select(PASSKEYS).where(PASSKEYS.c.credential_digest == digest)
    row = await tx.row(tx.locked(query))
    return shaped(row, StoredPasskey) if row else None


async def add_passkey(tx: Transaction, passkey: StoredPasskey) -> None:
    """Keep a new one; raises ``ResourceConflict`` when somebody has it already."""
    with unless_made_meanwhile():
        await tx.execute(insert(PASSKEYS).values(**msgspec.structs.asdict(passkey)))


async def passkey_used(
    tx: Transaction, passkey: StoredPasskey, *, sign_count: int, backed_up: bool
) -> None:
    """Note a sign-in."""
    await tx.execute(
        update(PASSKEYS)
        .where(PASSKEYS.c.id == passkey.id)
        .values(sign_count=sign_count, backed_up=backed_up, used_at=tx.now)
    )


async def remove_passkey(tx: Transaction, user: KnownUser, passkey_id: str) -> bool:
    """Remove one; whether there was one."""
    done = await tx.execute(
        delete(PASSKEYS).where(
            PASSKEYS.c.organization_id == user.organization_id,
            PASSKEYS.c.user_id == user.id,
            PASSKEYS.c.id == passkey_id,
        )
    )
    return bool(done.rowcount)


# --- one-time and recovery codes -----------------------------------------------------------


class StoredCodes(msgspec.Struct, frozen=True):
    """A user's TOTP."""

    sealed_secret: bytes
    confirmed: bool
    last_step: int


async def one_time_codes(tx: Transaction, user: KnownUser) -> StoredCodes | None:
    """A user's, confirmed or not; locked until the transaction ends."""
    query = select(
        ONE_TIME_CODES.c.sealed_secret, ONE_TIME_CODES.c.confirmed, ONE_TIME_CODES.c.last_step
    ).where(
        ONE_TIME_CODES.c.organization_id == user.organization_id,
        ONE_TIME_CODES.c.user_id == user.id,
    )
    row = await tx.row(tx.locked(query))
    return shaped(row, StoredCodes) if row else None


async def set_one_time_codes(tx: Transaction, user: KnownUser, codes: StoredCodes) -> None:
    """Replace them."""
    await remove_one_time_codes(tx, user)
    with unless_made_meanwhile():
        await tx.execute(
            insert(ONE_TIME_CODES).values(
                user_id=user.id,
                organization_id=user.organization_id,
                created_at=tx.now,
                **msgspec.structs.asdict(codes),
            )
        )


async def use_step(tx: Transaction, user: KnownUser, step: int) -> bool:
    """Use a time step up; whether nobody has before."""
    done = await tx.execute(
        update(ONE_TIME_CODES)
        .where(
            ONE_TIME_CODES.c.organization_id == user.organization_id,
            ONE_TIME_CODES.c.user_id == user.id,
            ONE_TIME_CODES.c.last_step < step,
        )
        .values(last_step=step, confirmed=True)
    )
    return bool(done.rowcount)


async def remove_one_time_codes(tx: Transaction, user: KnownUser) -> bool:
    """Remove them; whether there were any."""
    done = await tx.execute(
        delete(ONE_TIME_CODES).where(
            ONE_TIME_CODES.c.organization_id == user.organization_id,
            ONE_TIME_CODES.c.user_id == user.id,
        )
    )
    return bool(done.rowcount)


async def set_recovery_codes(tx: Transaction, user: KnownUser, digests: list[str]) -> None:
    """Replace them; an empty list removes them."""
    await tx.execute(
        delete(RECOVERY_CODES).where(
            RECOVERY_CODES.c.organization_id == user.organization_id,
            RECOVERY_CODES.c.user_id == user.id,
        )
    )
    if digests:
        await tx.execute(
            insert(RECOVERY_CODES),
            [
                {
                    "user_id": user.id,
                    "digest": digest,
                    "organization_id": user.organization_id,
                    "made_at": tx.now,
                }
                for digest in digests
            ],
        )


async def use_recovery_code(tx: Transaction, user: KnownUser, digest: str) -> bool:
    """Use one up; whether it was there."""
    done = await tx.execute(
        delete(RECOVERY_CODES).where(
            RECOVERY_CODES.c.organization_id == user.organization_id,
            RECOVERY_CODES.c.user_id == user.id,
            RECOVERY_CODES.c.digest == digest,
        )
    )
    return bool(done.rowcount)


async def recovery_codes_left(tx: Transaction, user: KnownUser) -> int:
    """How many were not used."""
    counted = await tx.execute(
        select(func.count())
        .select_from(RECOVERY_CODES)
        .where(
            RECOVERY_CODES.c.organization_id == user.organization_id,
            RECOVERY_CODES.c.user_id == user.id,
        )
    )
    return int(counted.scalar_one())


# --- links ---------------------------------------------------------------------------------


async def set_link(tx: Transaction, user: KnownUser, digest: str, *, seconds: int) -> str:
    """Make a link the only one of a user; gives its identifier."""
    await remove_links(tx, user)
    link_id = tx.new_id()
    await tx.execute(
        insert(LINKS).values(
            id=link_id,
            organization_id=user.organization_id,
            user_id=user.id,
            digest=digest,
            created_at=tx.now,
            expires_at=tx.now + seconds * MICROSECONDS,
        )
    )
    return link_id


async def use_link(tx: Transaction, digest: str) -> str | None:
    """Use a link up; gives whose it was, if it is still good."""
    row = await tx.row(
        select(LINKS.c.user_id).where(LINKS.c.digest == digest, LINKS.c.expires_at > tx.now)
    )
    # Of two requests at the same moment, one deletes the row.
    done = await tx.execute(delete(LINKS).where(LINKS.c.digest == digest))
    return str(row["user_id"]) if row and done.rowcount else None


async def remove_links(tx: Transaction, user: KnownUser) -> None:
    """Remove a user's links."""
    await tx.execute(
        delete(LINKS).where(
            LINKS.c.organization_id == user.organization_id, LINKS.c.user_id == user.id
        )
    )


# --- known browsers ------------------------------------------------------------------------


async def remember_browser(tx: Transaction, user: KnownUser) -> str:
    """Make the text by which a browser is recognised."""
    text = random_text()
    await tx.execute(delete(KNOWN_BROWSERS).where(KNOWN_BROWSERS.c.expires_at <= tx.now))
    await tx.execute(
        insert(KNOWN_BROWSERS).values(
            digest=digest_of(text, purpose="browser"),
            organization_id=user.organization_id,
            user_id=user.id,
            expires_at=tx.now + _BROWSER_SECONDS * MICROSECONDS,
        )
    )
    return text


async def known_browser(tx: Transaction, user: KnownUser, text: str) -> str:
    """What a browser's attempts are counted by, if the user signed in with it; else empty."""
    if not text:
        return ""
    digest = digest_of(text, purpose="browser")
    row = await tx.row(
        select(KNOWN_BROWSERS.c.digest).where(
            KNOWN_BROWSERS.c.digest == digest,
            KNOWN_BROWSERS.c.organization_id == user.organization_id,
            KNOWN_BROWSERS.c.user_id == user.id,
            KNOWN_BROWSERS.c.expires_at > tx.now,
        )
    )
    return digest if row else ""


async def forget_browsers(tx: Transaction, user: KnownUser) -> None:
    """After a password was changed, nobody's browser is trusted any more."""
    await tx.execute(
        delete(KNOWN_BROWSERS).where(
            KNOWN_BROWSERS.c.organization_id == user.organization_id,
            KNOWN_BROWSERS.c.user_id == user.id,
        )
    )


async def remove_everything(tx: Transaction, user: KnownUser) -> None:
    """Forget every way in of a user who has left."""
    for table in (PASSWORDS, PASSKEYS, ONE_TIME_CODES, RECOVERY_CODES, LINKS, KNOWN_BROWSERS):
        await tx.execute(
            delete(table).where(
                table.c.organization_id == user.organization_id, table.c.user_id == user.id
            )
        )
