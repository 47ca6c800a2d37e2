"""Sessions, by the digest of what their holder sends."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Index, Table

from keylease.platform.db.columns import METADATA, identifier, label, moment, organization

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    identifier(primary_key=True),
    organization(),
    identifier("user_id"),
    label("digest", length=64),
    label("previous_digest", length=64),
    moment("previous_until", nullable=True),
    label("kind", length=16),
    label("method", length=32),
    Column("limited", Boolean, nullable=False),
    label("device"),
    label("address", length=64),
    moment("created_at"),
    moment("signed_in_at"),
    moment("renewed_at"),
    moment("seen_at"),
    moment("expires_at"),
    Index("uq_sessions_digest", "digest", unique=True),
    Index("ix_sessions_previous_digest", "previous_digest"),
    Index("ix_sessions_organization_id_user_id", "organization_id", "user_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)
"""Living sessions; an ended one is gone, and the audit log says why."""
