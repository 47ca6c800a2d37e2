"""The tables that belong to no domain."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
)

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    # A sequence of the database: entries are taken in this order. Gaps are rolled-back changes.
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    organization(),
    moment("at"),
    document("entry"),
    sqlite_autoincrement=True,  # a number is never given twice, also after the table was emptied
)
"""Audit entries of committed changes that the audit log has not taken yet."""

IDEMPOTENT_CREATES: Final = Table(
    "idempotent_creates",
    METADATA,
    organization(),
    label("principal", length=100),
    label("key"),
    label("request_digest", length=64),
    label("kind", length=64),
    identifier("object_id"),
    moment("at"),
    Index("uq_idempotent_creates", "organization_id", "principal", "key", unique=True),
    Index("ix_idempotent_creates_at", "at"),
)
"""Which object a create with an ``Idempotency-Key`` made. Kept for a day."""
