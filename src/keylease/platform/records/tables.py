"""The tables of call records. Only ``repository.py`` uses them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, PrimaryKeyConstraint, Table

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
)

CALLS: Final = Table(
    "call_records",
    METADATA,
    organization(),
    identifier(),
    identifier("gateway_id"),
    moment("started_at"),
    label("principal", length=220),
    label("credential_id", length=36),
    label("model"),
    label("purpose", length=32),
    label("environment", length=64),
    Column("failed", BigInteger, nullable=False),
    document("record"),
    PrimaryKeyConstraint("organization_id", "id"),
    Index("ix_call_records_started_at", "organization_id", "started_at", "id"),
    Index("ix_call_records_principal", "organization_id", "principal", "started_at"),
    Index("ix_call_records_credential", "organization_id", "credential_id", "started_at"),
)
"""``record`` is ``contracts.call_records.CallRecord`` in JSON."""

TOTALS: Final = Table(
    "call_totals",
    METADATA,
    organization(),
    Column("day", BigInteger, nullable=False),
    label("principal", length=220),
    label("credential_id", length=36),
    label("model"),
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("cost_unknown", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "day", "principal", "credential_id", "model"),
)
"""Sums over what was taken; they outlive the records. ``day`` counts UTC days from 1970; ``cost``
is micro-USD; ``cost_unknown`` counts calls whose cost nobody knows."""

VERSIONS: Final = Table(
    "credential_versions_seen",
    METADATA,
    organization(),
    label("credential_id", length=36),
    label("fingerprint"),
    moment("first_seen"),
    moment("last_seen"),
    Column("calls", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "credential_id", "fingerprint"),
)
"""Versions of credentials' secrets, as gateways fetched and used them."""

SPOOLS: Final = Table(
    "call_spools",
    METADATA,
    identifier("gateway_id", primary_key=True),
    organization(),
    label("spool_id", length=36),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)
"""How far each gateway's spool was taken."""

SET_ASIDE: Final = Table(
    "call_records_set_aside",
    METADATA,
    identifier(primary_key=True),
    organization(),
    identifier("gateway_id"),
    moment("at"),
    Column("record", LargeBinary, nullable=False),
)
"""What was taken and is not understood: a newer gateway wrote it."""
