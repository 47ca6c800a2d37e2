"""What is kept about how people sign in. No password, code or link is in here that would open."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)

SETTINGS: Final = Table(
    "sign_in_settings",
    METADATA,
    identifier("organization_id", primary_key=True),
    Column("second_factor_required", Boolean, nullable=False),
    Column("passwords_allowed", Boolean, nullable=False),
    document("domains"),
    Column("maximum_key_days", Integer, nullable=False),
    version(),
)
"""How an organization's people may sign in, and how long their API keys may live."""

PASSWORDS: Final = Table(
    "passwords",
    METADATA,
    identifier("user_id", primary_key=True),
    organization(),
    label("hash", length=300),
    moment("set_at"),
)
"""Argon2id in its PHC text, with the parameters it was made with."""

PASSKEYS: Final = Table(
    "passkeys",
    METADATA,
    identifier(primary_key=True),
    organization(),
    identifier("user_id"),
    label("credential_digest", length=64),
    Column("credential_id", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    label("name"),
    label("aaguid", length=36),
    label("transports"),
    Column("backed_up", Boolean, nullable=False),
    moment("created_at"),
    moment("used_at", nullable=True),
    version(),
    Index("uq_passkeys_credential_digest", "credential_digest", unique=True),
    Index("ix_passkeys_organization_id_user_id", "organization_id", "user_id"),
)
"""Public keys only. The digest is of the credential id, which may be over a thousand bytes."""

ONE_TIME_CODES: Final = Table(
    "one_time_codes",
    METADATA,
    identifier("user_id", primary_key=True),
    organization(),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("confirmed", Boolean, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    moment("created_at"),
)
"""TOTP (RFC 6238): the secret sealed, and the last time step that was used."""

RECOVERY_CODES: Final = Table(
    "recovery_codes",
    METADATA,
    identifier("user_id", primary_key=True),
    Column("digest", String(64), primary_key=True),
    organization(),
    moment("made_at"),
)
"""Digests of codes that were not used yet."""

LINKS: Final = Table(
    "sign_in_links",
    METADATA,
    identifier(primary_key=True),
    organization(),
    identifier("user_id"),
    label("digest", length=64),
    moment("created_at"),
    moment("expires_at"),
    Index("uq_sign_in_links_digest", "digest", unique=True),
    Index("ix_sign_in_links_organization_id_user_id", "organization_id", "user_id"),
)
"""One-time links that were not used yet; a used one is gone."""

STEPS: Final = Table(
    "sign_in_steps",
    METADATA,
    Column("digest", String(64), primary_key=True),
    label("kind", length=32),
    organization(),
    label("user_id", length=36),
    document("data"),
    moment("expires_at"),
    Index("ix_sign_in_steps_expires_at", "expires_at"),
)
"""Sign-ins under way: a challenge, a password that was right, a visit to an issuer. Used once.

``organization_id`` and ``user_id`` are empty while nobody is known."""

ATTEMPTS: Final = Table(
    "sign_in_attempts",
    METADATA,
    Column("bucket", String(64), primary_key=True),
    moment("full_at"),
    Column("skipped", BigInteger, nullable=False),
    Index("ix_sign_in_attempts_full_at", "full_at"),
)
"""Buckets of attempts: the moment at which all of a bucket is there again (GCRA)."""

KNOWN_BROWSERS: Final = Table(
    "known_browsers",
    METADATA,
    Column("digest", String(64), primary_key=True),
    organization(),
    identifier("user_id"),
    moment("expires_at"),
    Index("ix_known_browsers_organization_id_user_id", "organization_id", "user_id"),
    Index("ix_known_browsers_expires_at", "expires_at"),
)
"""Browsers in which somebody signed in before: their attempts are counted apart."""
