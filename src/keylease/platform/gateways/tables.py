"""The tables of gateways. Only ``repository.py`` uses them."""

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
    version,
)

CODES: Final = Table(
    "enrolment_codes",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("gateway_group", length=64),
    label("digest", length=64),
    label("created_by", length=100),
    moment("created_at"),
    moment("expires_at"),
    moment("used_at", nullable=True),
    moment("withdrawn_at", nullable=True),
    identifier("gateway_id", nullable=True),
    Index("ix_enrolment_codes_organization_id", "organization_id", "created_at"),
)
"""Codes by the SHA-256 of their text; the text is shown once."""

GATEWAYS: Final = Table(
    "gateways",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("gateway_group", length=64),
    label("name"),
    Column("public_key", LargeBinary, nullable=False),
    version(),
    moment("enrolled_at"),
    label("enrolled_with", length=36),
    moment("revoked_at", nullable=True),
    label("revoked_by", length=100),
    moment("last_seen", nullable=True),
    Column("link", BigInteger, nullable=False),
    label("software", length=64),
    Column("policy_version", BigInteger, nullable=False),
    document("report", nullable=True),
    label("witness_key", length=500),
    Index("ix_gateways_organization_id", "organization_id", "gateway_group"),
)
"""Enrolled gateways, revoked ones included. ``report`` is the last poll as it came."""

NONCES: Final = Table(
    "gateway_nonces",
    METADATA,
    identifier("gateway_id"),
    label("nonce", length=64),
    moment("at"),
    PrimaryKeyConstraint("gateway_id", "nonce"),
    Index("ix_gateway_nonces_at", "at"),
)
"""Nonces of signed requests, for as long as their time would be accepted again."""
