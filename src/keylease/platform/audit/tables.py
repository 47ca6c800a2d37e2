"""What is known about the logs and their entries besides the logs themselves.

The log's files are the truth; ``audit_index`` can be made again from them. ``audit_logs`` says how
far the index reaches and which root the tree had then: files that were set back do not fit it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table

from keylease.platform.db.columns import (
    IDENTIFIER_LENGTH,
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
)

LONGEST_TERM: Final = 200
"""Characters of a searchable text that the index keeps; the log has all of it."""
LONGEST_ACTION: Final = 130

AUDIT_LOGS: Final = Table(
    "audit_logs",
    METADATA,
    identifier("log_id", primary_key=True),
    organization(),
    label("origin"),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    moment("last_at"),
    Index("uq_audit_logs_organization_id", "organization_id", unique=True),
)
"""One log for each organization, and one with an empty organization for the installation."""

AUDIT_INDEX: Final = Table(
    "audit_index",
    METADATA,
    Column("log_id", identifier().type, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    identifier("entry_id"),
    moment("at"),
    label("action", length=LONGEST_ACTION),
    label("principal", length=LONGEST_TERM),
    label("object", length=LONGEST_TERM),
    label("reason", length=LONGEST_TERM),
    label("gateway_id", length=IDENTIFIER_LENGTH),
    Column("gateway_sequence", BigInteger, nullable=False),
    Index("ix_audit_index_gateway_id_gateway_sequence", "gateway_id", "gateway_sequence"),
    Index("ix_audit_index_log_id_action_position", "log_id", "action", "position"),
    Index("ix_audit_index_log_id_principal_position", "log_id", "principal", "position"),
    Index("ix_audit_index_log_id_object_position", "log_id", "object", "position"),
    Index("ix_audit_index_log_id_at_position", "log_id", "at", "position"),
)

AUDIT_SOURCES: Final = Table(
    "audit_sources",
    METADATA,
    identifier("gateway_id", primary_key=True),
    organization(),
    Column("sequence", BigInteger, nullable=False),
    identifier("entry_id"),
)
"""How far the spool of each gateway has been taken."""

AUDIT_SET_ASIDE: Final = Table(
    "audit_set_aside",
    METADATA,
    identifier("id", primary_key=True),
    organization(),
    identifier("gateway_id"),
    moment("at"),
    document("data"),
)
"""What a gateway sent that is no entry to this version, unless it looks like a secret."""

AUDIT_CHECKPOINTS: Final = Table(
    "audit_checkpoints",
    METADATA,
    Column("log_id", identifier().type, primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    moment("at"),
    document("note"),
    Column("cosignatures", Integer, nullable=False),
    Index("ix_audit_checkpoints_at", "at"),
)
"""Checkpoints of the last hour, and of those before the cosigned ones, one for each hour."""

AUDIT_WITNESSES: Final = Table(
    "audit_witnesses",
    METADATA,
    Column("log_id", identifier().type, primary_key=True),
    Column("key", String(LONGEST_TERM), primary_key=True),
    identifier("gateway_id"),
    Column("independent", Boolean, nullable=False),
    Column("size", BigInteger, nullable=False),
    moment("at"),
)
"""Who witnesses a log, up to where, and whether it runs on another machine."""
